"""Build an index atomically, refuse a damaged one, update one in place."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from engine.catalogue import records
from engine.catalogue.catalogue import Catalogue
from engine.catalogue.index import build_catalogue, build_index, update_index
from engine.config import paths
from engine.core.errors import BalcaoError, CatalogueError, UsageError
from engine.core.files import MANIFEST, read_manifest
from engine.core.types import Product, Progress, Status
from tests.engine.catalogue.conftest import products


def product(uid: str, title: str, text: str = "Some text.") -> Product:
    return Product(uid, title, text, text)


def test_the_manifest_records_the_tokeniser(folder: Path) -> None:
    made = read_manifest(folder)
    assert (made.kind, made.version) == (records.KIND, records.INDEX_VERSION)
    assert "folding" in made.settings["tokeniser"]
    assert made.counts == {"kept": len(products())}


def test_every_product_is_found_by_uid(catalogue: Catalogue) -> None:
    assert len(catalogue) == len(products())
    assert [catalogue.get(one.uid) for one in products()] == products()
    assert catalogue.get("nothing") is None


def test_the_original_text_is_stored(tmp_path: Path) -> None:
    odd = Product("1", "T", "a & b", "a &amp; b")
    build_index([odd], tmp_path / "index")
    assert Catalogue.open(tmp_path / "index").get("1") == odd


@pytest.mark.parametrize("damage", ["missing", "version", "fold", "kind", "json", "db", "titles"])
def test_a_damaged_index_names_the_command_that_rebuilds_it(tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "index"
    if damage != "missing":
        build_index(products()[:3], folder)
        _damage(folder, damage)
    with pytest.raises(CatalogueError) as caught:
        Catalogue.open(folder)
    assert f"balcao index trn.json.gz --out {folder}" in caught.value.remedy


def _damage(folder: Path, how: str) -> None:
    file = folder / MANIFEST
    made = json.loads(file.read_text())
    if how == "version":
        made["version"] = 1
    elif how == "fold":
        made["settings"]["fold_version"] = 0
    elif how == "kind":
        made["kind"] = "training-data"
    if how == "json":
        file.write_text("{")
    elif how == "db":
        (folder / "products.db").write_bytes(b"no database")
    elif how == "titles":
        (folder / "titles" / "meta.json").write_text("{}")
    else:
        file.write_text(json.dumps(made))


def test_a_folder_with_other_content_is_refused(tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("Dear")
    with pytest.raises(UsageError, match="is not empty and was not written"):
        build_index(products(), tmp_path / "letters")
    with pytest.raises(UsageError, match="is a file"):
        build_index(products(), tmp_path / "letters" / "dear.txt")
    assert [path.name for path in (tmp_path / "letters").iterdir()] == ["dear.txt"]


def test_a_failed_build_leaves_the_previous_index(tmp_path: Path) -> None:
    out = tmp_path / "index"
    build_index([product("1", "Old")], out)

    def broken() -> Iterator[Product]:
        yield product("2", "New")
        raise CatalogueError("the disk is full")

    with pytest.raises(CatalogueError, match="disk is full"):
        build_index(broken(), out)
    with pytest.raises(CatalogueError):
        build_index([product("2", "New"), product("2", "Twice")], out)
    assert Catalogue.open(out).find("old").status is Status.EXACT
    assert sorted(path.name for path in tmp_path.iterdir()) == [".index.lock", "index"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_unwritable_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "shut").mkdir(mode=0o500)
    with pytest.raises(BalcaoError, match="Cannot write"):
        build_index(products(), tmp_path / "shut" / "index")


def test_an_empty_catalogue_answers_none(tmp_path: Path) -> None:
    build_index([], tmp_path / "index")
    opened = Catalogue.open(tmp_path / "index")
    assert len(opened) == 0
    assert opened.find("anything at all").status is Status.NONE


def test_an_update_adds_and_replaces(tmp_path: Path) -> None:
    out = tmp_path / "index"
    build_index(products(), out)
    reader = Catalogue.open(out)
    update_index(
        [
            product("0000000018", "2002 Hitches", "New text."),
            product("0000000099", "Zephyr Almanac of Quiet Harbours"),
            product("0000000099", "Zephyr Almanac of Noisy Harbours"),
        ],
        out,
    )
    # An open reader sees new titles and texts, and no deleted ones.
    assert reader.find("2002 hitches").status is Status.EXACT
    assert reader.find("1001 knots").status is Status.NONE
    reader.close()
    opened = Catalogue.open(out)
    assert len(opened) == len(products()) + 1
    found = opened.find("2002 hitches")
    assert found.product == product("0000000018", "2002 Hitches", "New text.")
    assert opened.find("zehpyr noisy harbours almanac").product == product(
        "0000000099", "Zephyr Almanac of Noisy Harbours"
    )
    assert opened.find("1001 knots").status is Status.NONE
    assert opened.find("knots").status is Status.NONE
    assert read_manifest(out).settings["changes"] == [{}]
    update_index(products(), out)
    again = Catalogue.open(out)
    assert len(again) == len(products()) + 1
    assert [again.get(one.uid) for one in products()] == products()


def test_updating_a_missing_catalogue_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match="no catalogue"):
        update_index(products(), tmp_path / "index")


_BUILDER = """
import sys
from pathlib import Path
from engine.catalogue.index import build_index, update_index
from engine.core.types import Product
rows = [Product(f"{n:010d}", f"Killed Title {n}", f"text {n} " * 20) for n in range(4000)]
if sys.argv[2] == "update":
    update_index(rows[:400], Path(sys.argv[1]))
else:
    build_index(rows, Path(sys.argv[1]))
"""


@pytest.mark.parametrize("how", ["build", "update"])
def test_a_kill_leaves_a_complete_index(tmp_path: Path, how: str) -> None:
    out = tmp_path / "index"
    build_index([product(f"{n:010d}", f"Killed Title {n}") for n in range(0, 4000, 10)], out)
    draw = random.Random(9)  # noqa: S311 - not for security
    for _ in range(6):
        running = subprocess.Popen([sys.executable, "-c", _BUILDER, str(out), how])
        time.sleep(draw.uniform(0.1, 0.6))
        running.send_signal(signal.SIGKILL)
        running.wait()
        if out.exists():
            opened = Catalogue.open(out)
            assert len(opened) in ((400, 4000) if how == "build" else range(400, 801))
            assert opened.find("killed title 120").status is Status.EXACT
            assert opened.find("120 title killed").product == opened.get("0000000120")
            opened.close()
    subprocess.run([sys.executable, "-c", _BUILDER, str(out), how], check=True)
    opened = Catalogue.open(out)
    assert len(opened) == (4000 if how == "build" else 400 + 360)
    assert opened.find("killed title 121").status is Status.EXACT
    assert not list(tmp_path.glob(".index.building-*"))


def test_an_update_killed_while_writing_is_rolled_back(folder: Path, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    shutil.copytree(folder, whole)
    with closing(Catalogue.open(whole)) as opened:
        count, one = len(opened), opened.get("0000000002")
    with closing(sqlite3.connect(whole / "products.db", isolation_level=None)) as writing:
        writing.executescript("PRAGMA cache_size=1; BEGIN; UPDATE product SET title = 'x';")
        writing.execute("UPDATE total SET products = 0")
        writing.execute("UPDATE text SET description = description || hex(zeroblob(9000))")
        shutil.copytree(whole, killed)
    assert (killed / "products.db-journal").stat().st_size
    with closing(Catalogue.open(killed)) as opened:
        assert len(opened) == count
        assert opened.get("0000000002") == one is not None
    assert not (killed / "products.db-journal").exists()


def test_progress_rises_to_the_end(tmp_path: Path) -> None:
    source = tmp_path / "rows.jsonl"
    source.write_bytes(paths.sample_source().read_bytes())
    reported: list[Progress] = []
    build_catalogue(source, tmp_path / "index", reported.append)
    fractions = [progress.fraction for progress in reported]
    assert fractions[-1] == 1.0
    assert fractions == sorted(fractions, key=lambda share: share or 0.0)


def _ask(folder: Path, answers: multiprocessing.Queue[list[str]]) -> None:
    opened = Catalogue.open(folder)
    found = [opened.find(f"{one.title}?").status.value for one in products() * 20]
    answers.put(found)


def test_eight_processes_read_one_index(folder: Path) -> None:
    start = multiprocessing.get_context("spawn")
    answers: multiprocessing.Queue[list[str]] = start.Queue()
    readers = [start.Process(target=_ask, args=(folder, answers)) for _ in range(8)]
    for one in readers:
        one.start()
    found = [answers.get(timeout=60) for _ in readers]
    for one in readers:
        one.join()
    assert [one.exitcode for one in readers] == [0] * 8
    assert all(each == found[0] for each in found)


def test_importing_the_catalogue_does_not_load_tantivy() -> None:
    code = (
        "import sys, engine.catalogue.catalogue, engine.catalogue.index;"
        "assert not {'tantivy', 'numpy', 'psycopg'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
