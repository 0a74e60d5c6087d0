"""Related products: read their names from the data set, store them, look them up.

They are stored in a separate file of the index folder, which is missing without known names.
"""

from __future__ import annotations

import sqlite3
import threading
from array import array
from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import chain, islice
from pathlib import Path

import msgspec

from engine.catalogue import records
from engine.catalogue.clean import clean
from engine.catalogue.read import STDIN, Counts, read_lines, zip_members
from engine.core.errors import DataError
from engine.core.files import UNDECODABLE

_FILE = "related.db"
_LABELS = "lbl.json"
_MAX_RELATED = 25
"""Products stored for each one: the list is one of "also bought", and the first are enough."""
_BATCH = 10_000
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
        with (
            records.writing_sqlite(),
            closing(sqlite3.connect(file, isolation_level=None)) as connection,
        ):
            connection.executescript(_TABLES)
            _insert(connection, "INSERT INTO label VALUES (?, ?, ?)", _read_labels(labels))
            targets = _read_targets(source)
            _insert(connection, "INSERT OR IGNORE INTO related VALUES (?, ?)", targets)
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


def _insert(
    connection: sqlite3.Connection, statement: str, rows: Iterable[tuple[object, ...]]
) -> None:
    stream = iter(rows)
    while batch := list(islice(stream, _BATCH)):
        connection.execute("BEGIN")
        connection.executemany(statement, batch)
        connection.execute("COMMIT")


class RelatedProducts:
    """Look up related products. Safe to use from several threads."""

    def __init__(self, folder: Path) -> None:
        """Open the file in `folder` if there is one."""
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        file = folder / _FILE
        if file.exists():
            self._connection = sqlite3.connect(
                f"{file.resolve().as_uri()}?mode=ro", uri=True, check_same_thread=False
            )

    def find(self, uid: str, limit: int) -> tuple[tuple[str, str], ...]:
        """Return the uid and title of at most `limit` related products."""
        if self._connection is None:
            return ()
        with self._lock:
            found = self._connection.execute(
                "SELECT labels FROM related WHERE uid = ?", [uid]
            ).fetchone()
            numbers = array("I", found[0] if found else b"")[:limit]
            titles = (
                self._connection.execute(
                    "SELECT uid, title FROM label WHERE id = ?", [number]
                ).fetchone()
                for number in numbers
            )
            return tuple((str(label[0]), str(label[1])) for label in titles if label)

    def close(self) -> None:
        """Close the file. Safe to call more than once."""
        if self._connection is not None:
            with self._lock:
                self._connection.close()
