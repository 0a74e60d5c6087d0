"""The products themselves, in SQLite: by row, by number, by the key of the whole title.

Read with plain reads and not mapped into memory, so that serving a large catalogue stays small.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.catalogue.folding import FOLD_VERSION
from engine.core.errors import CatalogueError, DataError
from engine.core.files import Manifest, read_manifest
from engine.core.i18n import tr
from engine.core.types import Product

KIND = "catalogue"
INDEX_VERSION = 2
"""Raise it with any change that makes an index of before unreadable."""
TITLES = "titles"
BODIES = "bodies"
WORDS = "words"
TOKENISER = f"engine.retrieval.folding version {FOLD_VERSION}, cut at blanks"
_BLANKS = "whitespace"


def readable(folder: Path) -> Manifest:
    """The manifest of the catalogue in `folder`.

    Raises CatalogueError, with the command that mends it, where there is no catalogue or none that
    this program can read.
    """
    try:
        made = read_manifest(folder)
    except DataError as error:
        raise CatalogueError(
            tr("There is no catalogue in {folder}.", folder=folder), remedy(folder)
        ) from error
    if made.kind != KIND:
        raise CatalogueError(
            tr("{folder} holds a {kind}, no catalogue.", folder=folder, kind=made.kind),
            remedy(folder),
        )
    if made.version != INDEX_VERSION or made.settings.get("fold_version") != FOLD_VERSION:
        raise CatalogueError(
            tr("The catalogue in {folder} was built by another version of Balcão.", folder=folder),
            remedy(folder),
        )
    return made


def remedy(folder: Path) -> str:
    """The command that builds the catalogue in `folder` anew."""
    return tr("Build it: balcao index trn.json.gz --out {folder}", folder=folder)


def title_schema() -> Any:  # noqa: ANN401 - tantivy is imported late
    """Titles by word: `row` is the number of the product in the records."""
    import tantivy

    builder = tantivy.SchemaBuilder()
    builder.add_integer_field("row", fast=True, indexed=True)
    builder.add_text_field("words", tokenizer_name=_BLANKS, index_option="freq")
    return builder.build()


def body_schema() -> Any:  # noqa: ANN401 - tantivy is imported late
    """Descriptions by word, without counts or places: what matters is which words there are."""
    import tantivy

    builder = tantivy.SchemaBuilder()
    builder.add_integer_field("row", fast=True, indexed=True)
    builder.add_text_field("words", tokenizer_name=_BLANKS, index_option="basic")
    return builder.build()


def word_schema() -> Any:  # noqa: ANN401 - tantivy is imported late
    """Every word of a title once, to find the neighbours of a mistyped one."""
    import tantivy

    builder = tantivy.SchemaBuilder()
    builder.add_text_field("word", tokenizer_name="raw", index_option="basic", stored=True)
    return builder.build()


def with_tokeniser(index: Any) -> Any:  # noqa: ANN401 - tantivy is imported late
    """`index` with the tokeniser that the schemas name."""
    import tantivy

    analyzer = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.whitespace()).build()
    index.register_tokenizer(_BLANKS, analyzer)
    return index


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
                tr("{folder} cannot be opened: {error}.", folder=folder / FILE, error=error)
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
                tr("The catalogue cannot be read: {error}.", error=error)
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
