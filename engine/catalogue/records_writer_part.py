"""Writes the products' file: a new one as fast as it goes, or changes to one that is being read."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

from engine.catalogue.records import FILE
from engine.core.errors import CatalogueError
from engine.core.i18n import tr
from engine.core.types import Product

Numbered = tuple[int, Product, int]
"""A product with its row and the key of its title."""

_SCHEMA = """
CREATE TABLE product (id INTEGER PRIMARY KEY, uid TEXT NOT NULL, title TEXT NOT NULL,
                      key INTEGER NOT NULL);
CREATE TABLE text (id INTEGER PRIMARY KEY, description TEXT NOT NULL, original TEXT);
CREATE TABLE total (products INTEGER NOT NULL, next_row INTEGER NOT NULL);
"""
_INDEXES = """
CREATE UNIQUE INDEX product_uid ON product (uid);
CREATE INDEX product_key ON product (key);
INSERT INTO total SELECT count(*), coalesce(max(id) + 1, 0) FROM product;
"""


class Writer:
    """Fills a new file. Nothing is safe until `close`: a build is renamed only when whole."""

    def __init__(self, folder: Path) -> None:
        with _told():
            self._connection = sqlite3.connect(
                folder / FILE, isolation_level=None, check_same_thread=False
            )
            self._connection.executescript(
                "PRAGMA page_size=4096; PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF;"
                f"PRAGMA cache_size=-65536; {_SCHEMA} BEGIN"
            )

    def add(self, products: Sequence[Numbered]) -> None:
        """Add products in order of their rows."""
        with _told():
            _insert(self._connection, products)

    def close(self) -> None:
        """Index, write out, and close. Raises CatalogueError if a number stands twice."""
        with _told():
            self._connection.execute("COMMIT")
            self._connection.executescript(_INDEXES)
            self._connection.close()

    def abandon(self) -> None:
        """Close what will be thrown away."""
        self._connection.close()


class Changer:
    """Adds to and replaces in a file that others may be reading; each step holds or does nothing.

    Rows are never used twice, so that what an index still says of a replaced product leads nowhere.
    """

    def __init__(self, folder: Path) -> None:
        with _told():
            self._connection = sqlite3.connect(folder / FILE, isolation_level=None, timeout=60)

    def reserve(self, count: int) -> int:
        """The first of `count` rows that no product has had."""
        with self._transaction() as connection:
            row = connection.execute("SELECT next_row FROM total").fetchone()[0]
            connection.execute("UPDATE total SET next_row = next_row + ?", [count])
        return int(row)

    def replace(self, products: Sequence[Numbered]) -> list[int]:
        """Put these in, instead of those with the same numbers; returns the rows that went."""
        gone: list[int] = []
        with self._transaction() as connection:
            for _, product, _ in products:
                found = connection.execute(
                    "DELETE FROM product WHERE uid = ? RETURNING id", [product.uid]
                ).fetchall()
                gone.extend(int(row) for (row,) in found)
            connection.executemany("DELETE FROM text WHERE id = ?", [(row,) for row in gone])
            _insert(connection, products)
            connection.execute(
                "UPDATE total SET products = products + ?", [len(products) - len(gone)]
            )
        return gone

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with _told():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")


def _insert(connection: sqlite3.Connection, products: Sequence[Numbered]) -> None:
    connection.executemany(
        "INSERT INTO product VALUES (?, ?, ?, ?)",
        [(row, product.uid, product.title, key) for row, product, key in products],
    )
    connection.executemany(
        "INSERT INTO text VALUES (?, ?, ?)",
        [
            (
                row,
                product.description,
                None if product.original == product.description else product.original,
            )
            for row, product, _ in products
        ],
    )


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise CatalogueError(
            tr("The products cannot be written: {error}.").format(error=error),
            tr("Make room, or name another folder."),
        ) from error
