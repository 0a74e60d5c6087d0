"""Fill and search a real PostgreSQL server: it decides as the embedded index does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.catalogue.catalogue import Catalogue, Retriever
from engine.catalogue.postgres import PostgresCatalogue, fill_postgres, is_address
from engine.core.errors import CatalogueError
from engine.core.types import Product, Status
from engine.prompts import QUESTION_FORMS
from scripts import index as build_index
from tests.engine.catalogue.conftest import TITLES, products

pytest.importorskip("psycopg", reason="the extra scale is not installed")
server = pytest.importorskip("pgserver", reason="pgserver is not installed")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    running = server.get_server(tmp_path_factory.mktemp("postgres"))
    yield running.get_uri()
    running.cleanup()


@pytest.fixture
def remote(address: str) -> Iterator[Retriever]:
    assert fill_postgres(products(), address) == len(products())
    opened = PostgresCatalogue(address)
    yield opened
    opened.close()


QUESTIONS = [
    *(title for title in TITLES.values() if title),
    *(form.format(title="1001 Knots") for form in QUESTION_FORMS),
    "marmelades seven kittens",
    "Marmalade's Sevn Kitens",
    "lost lighthouses ledger",
    "dance skirt neon pink",
    "a day on the isle of",
    "archivist tallies beacons swallowed by fog",
    "voyage to ombrosa a cartographers diary vol 3",
    "The Clockmaker's Second Umbrella",
    "hello",
    "000000009x",
    "",
]


def test_it_decides_like_the_embedded_index(remote: Retriever, catalogue: Catalogue) -> None:
    for question in QUESTIONS:
        here, there = catalogue.find(question), remote.find(question)
        assert there.status is here.status, question
        assert {hit.product.uid for hit in there.hits} == {hit.product.uid for hit in here.hits}


def test_every_product_is_found_by_uid(remote: Retriever) -> None:
    assert len(remote) == len(products())
    assert [remote.get(one.uid) for one in products()] == products()
    assert remote.get("nothing") is None
    assert remote.find("nul \0 here").status is Status.NONE


def test_it_does_not_complete_titles(remote: Retriever, catalogue: Catalogue) -> None:
    assert catalogue.complete("marmal")
    assert remote.complete("marmal") == ()


def test_filling_again_replaces_at_once(remote: Retriever, address: str) -> None:
    odd = Product("1", "Only One", "a & b", "a &amp; b")
    fill_postgres([odd], address)
    assert remote.find("only one").product == odd
    assert remote.find("1001 knots").status is Status.NONE


def test_a_failure_leaves_the_previous_catalogue(remote: Retriever, address: str) -> None:
    twice = Product("1", "Twice", "x", "x")
    with pytest.raises(CatalogueError):
        fill_postgres([twice, twice], address)
    assert remote.find("1001 knots").status is Status.EXACT


def test_the_error_of_a_missing_server_hides_the_password() -> None:
    with pytest.raises(CatalogueError, match="Cannot connect") as caught:
        PostgresCatalogue("postgresql://me:secret@127.0.0.1:9/shop?connect_timeout=2")
    assert "secret" not in str(caught.value)
    assert "127.0.0.1:9/shop" in caught.value.message


def test_an_empty_server_names_the_fill_command(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    empty = server.get_server(tmp_path_factory.mktemp("empty"))
    try:
        with pytest.raises(CatalogueError) as caught:
            PostgresCatalogue(empty.get_uri())
    finally:
        empty.cleanup()
    assert "balcao index" in caught.value.remedy


def test_the_command(address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"uid": "7", "title": "From the Command", "content": "Text."}\n')
    assert build_index.main([str(rows), "--to", address, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["kept"] == 1
    opened = PostgresCatalogue(address)
    assert opened.find("from the command").status is Status.EXACT
    opened.close()
    assert build_index.main([str(rows), "--to", "/some/folder"]) == 2


def test_addresses() -> None:
    assert is_address("postgresql://host/shop")
    assert not is_address("catalogue/folder")


def test_it_browses_like_the_embedded_index(remote: Retriever, catalogue: Catalogue) -> None:
    for text in ("", "ledger lost", "marm", "eclipse", "zebra quagga"):
        here, there = catalogue.browse(text, 0, 50), remote.browse(text, 0, 50)
        assert sorted(there.entries) == sorted(here.entries), text
        assert there.count == here.count
    first = remote.browse("", 0, 7)
    assert [*first.entries, *remote.browse("", first.next, 50).entries] == list(TITLES.items())
