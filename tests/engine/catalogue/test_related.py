"""Related products get their names from `lbl.json`, in the same folder or zip."""

from __future__ import annotations

import gzip
import json
import zipfile
from pathlib import Path

import pytest

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
