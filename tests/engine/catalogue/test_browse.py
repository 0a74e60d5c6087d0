"""Browsing pages through the whole catalogue, or through what a few words match."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.catalogue.catalogue import Catalogue
from engine.catalogue.index import build_index, update_index
from engine.core.types import Product
from tests.engine.catalogue.conftest import TITLES, products


def _titles(catalogue: Catalogue, text: str) -> list[str]:
    return [title for _, title in catalogue.browse(text).entries]


def test_its_pages_have_every_product_once(catalogue: Catalogue) -> None:
    entries: list[tuple[str, str]] = []
    start = 0
    while True:
        page = catalogue.browse("", start, 7)
        assert len(page.entries) <= 7
        assert page.count == len(TITLES)
        entries += page.entries
        start = page.next
        if not start:
            break
    assert entries == list(TITLES.items())


def test_words_filter_by_title_the_last_one_unfinished(catalogue: Catalogue) -> None:
    assert set(_titles(catalogue, "ledger lost")) == {
        "The Ledger of Lost Lighthouses",
        "The Ledger of Lost Lighthouses: Second Edition (Harbour Classics)",
    }
    assert _titles(catalogue, "marm") == ["Marmalade's Seven Kittens"]
    assert _titles(catalogue, "marmelade") == ["Marmalade's Seven Kittens"]
    assert catalogue.browse("zebra quagga").count == 0


def test_titles_come_before_descriptions(catalogue: Catalogue) -> None:
    assert _titles(catalogue, "beekeep") == [""]  # in a description alone
    assert _titles(catalogue, "eclipse") == ["Quillfeather"]
    assert _titles(catalogue, "dance").pop(0).startswith("Dance Skirt")


@pytest.mark.parametrize("text", ["", " ", "a", "the"])
def test_too_little_to_search_for_filters_nothing(catalogue: Catalogue, text: str) -> None:
    assert catalogue.browse(text).count == len(TITLES)


def test_matches_have_pages_too(catalogue: Catalogue) -> None:
    first = catalogue.browse("copper kettle", 0, 2)
    second = catalogue.browse("copper kettle", first.next, 2)
    assert [first.count, len(first.entries), len(second.entries), second.next] == [3, 2, 1, 0]
    assert not set(first.entries) & set(second.entries)


def test_gaps_after_an_update_leave_no_product_out(tmp_path: Path) -> None:
    build_index(products(), tmp_path / "index")
    changed = Product("0000000003", "Another Title", "text", "text")
    update_index([changed], tmp_path / "index", meaning=False)
    opened = Catalogue.open(tmp_path / "index")
    page = opened.browse("", 0, 100)
    assert {uid for uid, _ in page.entries} == set(TITLES)
    assert page.entries[-1] == ("0000000003", "Another Title")
    opened.close()
