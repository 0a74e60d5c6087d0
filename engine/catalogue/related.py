"""Related products: read their names from the data set, store them, look them up.

They are stored in a separate file of the index folder, which is missing without known names.
"""

from __future__ import annotations

import sqlite3
from array import array
from collections.abc import Iterator
from contextlib import closing
from itertools import chain
from pathlib import Path

import msgspec

from engine.catalogue import records
from engine.catalogue.clean import clean
from engine.catalogue.formats.archive import STDIN, zip_members
from engine.catalogue.formats.counts import Counts
from engine.catalogue.read import read_lines
from engine.core.errors import DataError
from engine.core.files import UNDECODABLE

_FILE = "related.db"
_LABELS = "lbl.json"
_MAX_RELATED = 25
"""Products stored for each one: the list is one of "also bought", and the first are enough."""
_TABLES = """
PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF;
CREATE TABLE label (id INTEGER PRIMARY KEY, uid TEXT NOT NULL, title TEXT NOT NULL);
CREATE TABLE related (uid TEXT PRIMARY KEY, labels BLOB NOT NULL) WITHOUT ROWID;
"""
_MAX_LABEL = 2**32


class _Label(msgspec.Struct, frozen=True, gc=False):
    uid: str = ""
    title: str = ""


class _TargetRow(msgspec.Struct, frozen=True, gc=False):
    uid: str
    target_ind: list[int] = []


def labels_file(source: Path) -> Path | None:
    """Find the file with the labels of `source`: in the same folder or in the same zip."""
    if source == STDIN:
        return None
    names = zip_members(source)
    if names:
        return source if {_LABELS, f"{_LABELS}.gz"} & names else None
    found = (source.parent / name for name in (f"{_LABELS}.gz", _LABELS))
    return next((path for path in found if path.is_file() and path != source), None)


def write_related(folder: Path, labels: Path, source: Path) -> None:
    """Store the titles in `labels` and each product's references, or nothing on a DataError."""
    file = folder / _FILE
    try:
        with records.writing_sqlite(), closing(sqlite3.connect(file)) as connection:
            connection.executescript(_TABLES)
            connection.executemany("INSERT INTO label VALUES (?, ?, ?)", _read_labels(labels))
            targets = _read_targets(source)
            connection.executemany("INSERT OR IGNORE INTO related VALUES (?, ?)", targets)
            connection.commit()
    except DataError:
        file.unlink()
        raise


def _read_labels(path: Path) -> Iterator[tuple[int, str, str]]:
    """Yield number, uid and title of each label; an invalid line counts as a number too."""
    decode = msgspec.json.Decoder(_Label).decode
    lines = chain.from_iterable(read_lines(path, Counts(), _LABELS))
    for number, line in enumerate(lines):
        try:
            label = decode(line)
        except UNDECODABLE:
            continue
        if label.title:
            yield number, label.uid, clean(label.title)


def _read_targets(source: Path) -> Iterator[tuple[str, bytes]]:
    decode = msgspec.json.Decoder(_TargetRow).decode
    for line in chain.from_iterable(read_lines(source, Counts())):
        try:
            row = decode(line)
        except UNDECODABLE:
            continue
        if row.target_ind:
            numbers = (n for n in row.target_ind[:_MAX_RELATED] if 0 <= n < _MAX_LABEL)
            yield row.uid, array("I", numbers).tobytes()


class RelatedProducts:
    """Look up related products. Safe to use from several threads."""

    def __init__(self, folder: Path) -> None:
        """Open the file in `folder` if there is one."""
        file = folder / _FILE
        self._database = records.Reader(records.connect(file)) if file.exists() else None

    def find(self, uid: str, limit: int) -> tuple[tuple[str, str], ...]:
        """Return the uid and title of at most `limit` related products."""
        if self._database is None:
            return ()
        found = self._database.query("SELECT labels FROM related WHERE uid = ?", [uid])
        numbers = array("I", found[0][0] if found else b"")[:limit]
        by_number = "SELECT uid, title FROM label WHERE id = ?"
        labels = chain.from_iterable(self._database.query(by_number, [one]) for one in numbers)
        return tuple((str(uid), str(title)) for uid, title in labels)

    def close(self) -> None:
        """Close the file. Safe to call more than once."""
        if self._database is not None:
            self._database.close()
