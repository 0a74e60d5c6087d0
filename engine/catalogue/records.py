"""The products themselves, in SQLite: by row, by number, by the key of the whole title.

Read with plain reads and not mapped into memory, so that serving a large catalogue stays small.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path

from engine.core.errors import CatalogueError
from engine.core.i18n import tr
from engine.core.types import Product

FILE = "products.db"

_PRODUCT = (
    "SELECT p.uid, p.title, t.description, coalesce(t.original, t.description)"
    " FROM product p JOIN text t USING (id)"
)
_KEYED = "SELECT key, id, title FROM product"
_TITLES = "SELECT id, title FROM product"


class Records:
    """Reads the file. One connection, used by one thread at a time."""

    def __init__(self, folder: Path) -> None:
        self._lock = threading.Lock()
        try:
            try:
                self._connection = _opened(folder / FILE, "ro")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_READONLY_ROLLBACK:
                    raise
                # A change of the catalogue was killed: who may write takes back what it had begun.
                _opened(folder / FILE, "rw").close()
                self._connection = _opened(folder / FILE, "ro")
        except sqlite3.Error as error:
            raise CatalogueError(
                tr("{folder} cannot be opened: {error}.").format(folder=folder / FILE, error=error)
            ) from error

    def count(self) -> int:
        """How many products there are."""
        return int(self._ask("SELECT products FROM total", ())[0][0])

    def by_row(self, rows: Sequence[int]) -> dict[int, Product]:
        """The products of these rows; a row that is gone is left out."""
        found = self._ask(
            f"{_PRODUCT.replace('SELECT', 'SELECT p.id,')} WHERE p.id IN ({_marks(rows)})", rows
        )
        return {int(row[0]): Product(*row[1:]) for row in found}

    def by_uid(self, uids: Sequence[str]) -> list[Product]:
        """The products with these numbers."""
        return [
            Product(*row) for row in self._ask(f"{_PRODUCT} WHERE p.uid IN ({_marks(uids)})", uids)
        ]

    def rows_by_key(self, keys: Sequence[int], limit: int) -> list[tuple[int, int, str]]:
        """(key, row, title) of the products whose title has one of these keys, lowest row first."""
        return self._ask(f"{_KEYED} WHERE key IN ({_marks(keys)}) LIMIT {limit}", keys)

    def titles(self, rows: Sequence[int]) -> dict[int, str]:
        """The titles of these rows."""
        return dict(self._ask(f"{_TITLES} WHERE id IN ({_marks(rows)})", rows))

    def close(self) -> None:
        """Close the file. Safe to call again."""
        with self._lock:
            self._connection.close()

    def _ask(self, statement: str, values: Sequence[object]) -> list[tuple]:  # type: ignore[type-arg]
        try:
            with self._lock:
                return self._connection.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise CatalogueError(
                tr("The catalogue cannot be read: {error}.").format(error=error)
            ) from error


def _opened(file: Path, mode: str) -> sqlite3.Connection:
    uri = f"{file.resolve().as_uri()}?mode={mode}"
    connection = sqlite3.connect(uri, uri=True, check_same_thread=False)
    try:
        connection.execute("PRAGMA query_only=1")
        connection.execute("SELECT products FROM total")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _marks(values: Sequence[object]) -> str:
    return ",".join("?" * len(values))
