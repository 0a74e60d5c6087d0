"""Related products by name, in a file of its own beside the index; absent where none are known."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from array import array
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from engine.core.errors import CatalogueError
from engine.core.i18n import tr

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
            tr("The related products cannot be used: {error}.").format(error=error)
        ) from error
