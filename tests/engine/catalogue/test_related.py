"""Related products get their names from `lbl.json`, in the same folder or zip."""

from __future__ import annotations

import gzip
import json
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from engine.catalogue import read as reader
from engine.catalogue.catalogue import Catalogue
from engine.catalogue.index import build_catalogue

LABELS = b"".join(
    json.dumps({"uid": f"L{number}", "title": f"Label {number}"}).encode() + b"\n"
    for number in range(40)
).replace(b'{"uid": "L3", "title": "Label 3"}', b"{broken")
ROWS = b"".join(
    json.dumps(
        {"uid": uid, "title": f"Title {uid}", "content": "Text.", "target_ind": targets}
    ).encode()
    + b"\n"
    for uid, targets in (("A", [2, 3, 4, 99, -1]), ("B", []), ("C", list(range(4, 40))))
)


def pack(folder: Path, how: str) -> Path:
    if how == "zip":
        path = folder / "all.zip"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("x/trn.json.gz", gzip.compress(ROWS))
            archive.writestr("x/lbl.json.gz", gzip.compress(LABELS))
        return path
    (folder / "lbl.json.gz").write_bytes(gzip.compress(LABELS))
    (folder / "trn.json.gz").write_bytes(gzip.compress(ROWS))
    return folder / "trn.json.gz"


@pytest.mark.parametrize("how", ["zip", "folder"])
def test_related_products_have_titles(tmp_path: Path, how: str) -> None:
    build_catalogue(pack(tmp_path, how), tmp_path / "index")
    opened = Catalogue.open(tmp_path / "index")
    assert len(opened) == 3
    assert opened.related("A") == (("L2", "Label 2"), ("L4", "Label 4"))
    assert opened.related("B") == opened.related("nothing") == ()
    assert [uid for uid, _ in opened.related("C", 3)] == ["L4", "L5", "L6"]
    assert len(opened.related("C", 100)) == 25


def test_without_labels_nothing_is_related(tmp_path: Path) -> None:
    (tmp_path / "trn.json").write_bytes(ROWS)
    build_catalogue(tmp_path / "trn.json", tmp_path / "index")
    assert Catalogue.open(tmp_path / "index").related("A") == ()


@pytest.mark.parametrize("labels", [b"", b"\x1f\x8b rubbish", None])
def test_without_readable_labels_the_index_is_built(tmp_path: Path, labels: bytes | None) -> None:
    source = tmp_path / "trn.json"
    source.write_bytes(ROWS)
    if labels is None:
        (tmp_path / "lbl.json").symlink_to(tmp_path / "nothing.json")
    else:
        (tmp_path / "lbl.json").write_bytes(labels)
    build_catalogue(source, tmp_path / "index")
    opened = Catalogue.open(tmp_path / "index")
    assert (len(opened), opened.related("A")) == (3, ())


def test_empty_labels_are_reported(tmp_path: Path) -> None:
    (tmp_path / "lbl.json").write_bytes(b"")
    (tmp_path / "trn.json").write_bytes(ROWS)
    made = build_catalogue(tmp_path / "trn.json", tmp_path / "index")
    assert made.counts["rejected"] == {"lbl.json cannot be read": 1}
    assert not (tmp_path / "index" / "related.db").exists()


def test_the_end_mark_of_a_zip_in_a_text_is_not_one(tmp_path: Path) -> None:
    (tmp_path / "lbl.json").write_bytes(LABELS)
    (tmp_path / "trn.json").write_bytes(ROWS + b"PK\x05\x06" + b"\0" * 18)
    build_catalogue(tmp_path / "trn.json", tmp_path / "index")
    assert Catalogue.open(tmp_path / "index").related("A")


def test_rows_and_labels_that_are_nested_deeply_are_skipped(tmp_path: Path) -> None:
    deep = b'{"uid": "D", "title": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n"
    (tmp_path / "lbl.json").write_bytes(LABELS.replace(b"{broken\n", deep))
    (tmp_path / "trn.json").write_bytes(deep + ROWS)
    build_catalogue(tmp_path / "trn.json", tmp_path / "index")
    opened = Catalogue.open(tmp_path / "index")
    assert opened.related("A") == (("L2", "Label 2"), ("L4", "Label 4"))


def test_a_line_over_the_limit_costs_little_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "_MAX_LINE", 1 << 20)
    huge = b'{"uid": "' + b"x" * (24 << 20) + b'"}\n'
    (tmp_path / "lbl.json").write_bytes(huge + LABELS)
    (tmp_path / "trn.json").write_bytes(huge + ROWS)
    tracemalloc.start()
    try:
        build_catalogue(tmp_path / "trn.json", tmp_path / "index")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 12 << 20
    assert Catalogue.open(tmp_path / "index").related("A") == (("L1", "Label 1"), ("L2", "Label 2"))
