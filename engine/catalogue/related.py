"""Related products by name, in a file of its own beside the index; absent where none are known."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import zipfile
from array import array
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import msgspec

from engine.catalogue.clean import clean
from engine.catalogue.read import STDIN, Counts, blocks, read_ahead
from engine.core.errors import CatalogueError
from engine.core.i18n import tr

LABELS = "lbl.json"
_MOST = 25
"""Related products kept for each: the list is one of "also bought", the first are enough."""


class Label(msgspec.Struct, frozen=True, gc=False):
    """A line of `lbl.json`."""

    uid: str = ""
    title: str = ""


class _Row(msgspec.Struct, frozen=True, gc=False):
    uid: str
    target_ind: list[int] = []


def labels_of(source: Path) -> Path | None:
    """The file that holds the labels of `source`: beside it, or the zip itself."""
    if source == STDIN:
        return None
    if zipfile.is_zipfile(source):
        with zipfile.ZipFile(source) as archive:
            names = {name.rsplit("/", 1)[-1] for name in archive.namelist()}
        return source if {LABELS, f"{LABELS}.gz"} & names else None
    found = (source.parent / name for name in (f"{LABELS}.gz", LABELS))
    return next((path for path in found if path.is_file() and path != source), None)


def read_labels(path: Path) -> Iterator[tuple[int, str, str]]:
    """(number, uid, title) of each label that can be read; a bad line keeps its number."""
    decode = msgspec.json.Decoder(Label).decode
    for number, line in enumerate(_lines(path, LABELS)):
        try:
            label = decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
        if label.title:
            yield number, label.uid, clean(label.title)


def read_targets(source: Path) -> Iterator[tuple[str, list[int]]]:
    """(uid, numbers of labels) of each row that has any."""
    decode = msgspec.json.Decoder(_Row).decode
    for line in _lines(source):
        try:
            row = decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
        if row.target_ind:
            yield row.uid, [number for number in row.target_ind[:_MOST] if number >= 0]


def _lines(path: Path, member: str = "trn.json") -> Iterator[bytes]:
    rest = b""
    for block in read_ahead(blocks(path, Counts(), member)):
        lines = (rest + block).split(b"\n")
        rest = lines.pop()
        yield from lines
    if rest:
        yield rest


FILE = "related.db"
_BATCH = 10_000
_LARGEST = 2**32


def write_related(
    folder: Path,
    labels: Iterable[tuple[int, str, str]],
    targets: Iterable[tuple[str, list[int]]],
) -> None:
    """Write (number, uid, title) of labels, and the labels' numbers of each product."""
    with _told():
        connection = sqlite3.connect(folder / FILE, isolation_level=None)
        connection.executescript(
            "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF;"
            "CREATE TABLE label (id INTEGER PRIMARY KEY, uid TEXT NOT NULL, title TEXT NOT NULL);"
            "CREATE TABLE related (uid TEXT PRIMARY KEY, labels BLOB NOT NULL) WITHOUT ROWID;"
        )
        _fill(connection, "INSERT INTO label VALUES (?, ?, ?)", labels)
        packed = (
            (uid, array("I", (one for one in numbers if one < _LARGEST)).tobytes())
            for uid, numbers in targets
        )
        _fill(connection, "INSERT OR IGNORE INTO related VALUES (?, ?)", packed)
        connection.close()


def _fill(
    connection: sqlite3.Connection, statement: str, rows: Iterable[tuple[object, ...]]
) -> None:
    stream = iter(rows)
    while batch := list(islice(stream, _BATCH)):
        connection.execute("BEGIN")
        connection.executemany(statement, batch)
        connection.execute("COMMIT")


class Related:
    """Reads the file, if there is one."""

    def __init__(self, folder: Path) -> None:
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        file = folder / FILE
        if file.exists():
            with _told():
                self._connection = sqlite3.connect(
                    f"{file.resolve().as_uri()}?mode=ro", uri=True, check_same_thread=False
                )

    def of(self, uid: str, limit: int) -> tuple[tuple[str, str], ...]:
        """(uid, title) of at most `limit` products that go with this one."""
        if self._connection is None:
            return ()
        with _told(), self._lock:
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
            return tuple((str(one[0]), str(one[1])) for one in titles if one)

    def close(self) -> None:
        """Close the file. Safe to call again."""
        if self._connection is not None:
            with self._lock:
                self._connection.close()


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise CatalogueError(
            tr("The related products cannot be used: {error}.", error=error)
        ) from error
