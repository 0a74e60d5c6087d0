"""Builds the index of a catalogue, or changes one; the products come from the caller."""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from engine.catalogue import records as layout
from engine.catalogue.folding import FOLD_VERSION, fold, key, words
from engine.catalogue.records import FILE
from engine.core.errors import CatalogueError, why
from engine.core.files import Manifest, atomic_folder, folder_lock, locked, write_manifest
from engine.core.i18n import tr
from engine.core.types import Product
from engine.prompts import PROMPT_VERSION

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
            tr("The products cannot be written: {error}.", error=error),
            tr("Make room, or name another folder."),
        ) from error


_HEAP = 200_000_000
"""Bytes for each writer: few, large segments, which need little merging."""
_SMALL_HEAP = 20_000_000


class WordsWriter:
    """One index of folded words by row, new or to be added to."""

    def __init__(self, folder: Path, schema: Any = None) -> None:  # noqa: ANN401 - imported late
        """With a schema the index is made new in `folder`, without one it is opened."""
        import tantivy

        self._document = tantivy.Document
        with _explained():
            if schema is None:
                index = tantivy.Index.open(str(folder))
            else:
                folder.mkdir()
                index = tantivy.Index(schema, path=str(folder))
            self._index = layout.with_tokeniser(index)
            self._writer = self._index.writer(_HEAP if schema else _SMALL_HEAP, 1)

    def add(self, row: int, folded: str) -> None:
        """Add the folded words of one product."""
        with _explained():
            self._writer.add_document(self._document(row=row, words=folded))

    def remove(self, rows: Iterable[int]) -> None:
        """Forget these rows."""
        with _explained():
            for row in rows:
                self._writer.delete_documents_by_term("row", row)

    def commit(self) -> None:
        """Make what was done last: after a crash it is there, before it none of it."""
        with _explained():
            self._writer.commit()

    def close(self) -> None:
        """Commit, and wait until the index is in its final shape."""
        with _explained():
            self._writer.commit()
            self._writer.wait_merging_threads()

    def known(self, words: Iterable[str]) -> list[str]:
        """Those of `words` that were in the index when it was opened."""
        searcher = self._index.searcher()
        return [word for word in words if searcher.doc_freq("words", word)]

    def vocabulary(self) -> list[str]:
        """Every word there is."""
        with _explained():
            self._index.reload()
            return [word for word, _ in self._index.searcher().terms_with_prefix("words", "")]


def write_vocabulary(folder: Path, words: Iterable[str]) -> None:
    """Make the vocabulary in `folder`, or add to it."""
    import tantivy

    with _explained():
        if folder.exists():
            index = tantivy.Index.open(str(folder))
        else:
            folder.mkdir()
            index = tantivy.Index(layout.word_schema(), path=str(folder))
        writer = index.writer(_HEAP, 1)
        for word in words:
            writer.add_document(tantivy.Document(word=word))
        writer.commit()
        writer.wait_merging_threads()


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except (ValueError, OSError) as error:
        raise CatalogueError(
            tr("The index cannot be written: {error}.", error=why(error))
        ) from error


_BATCH = 2_000
_BODY_LIMIT = 2_000
"""Characters of a description that are searched: 95 % of all are shorter than 1,728."""


def build(
    products: Iterable[Product],
    out: Path,
    describe: Callable[[], Manifest] | None = None,
    add_more: Callable[[Path], None] | None = None,
) -> Manifest:
    """Write the index of `products` (no number twice) to `out` and return its manifest.

    When all products were read, `add_more` may write other files into the folder that is to be
    published, and `describe` gives the manifest's inputs and counts.
    The folder appears whole: a crash leaves the one of before, or none. Raises CatalogueError if
    it cannot be written, UsageError if `out` holds something else.
    """
    with atomic_folder(out, layout.KIND) as draft:
        count = _fill(products, draft)
        if add_more:
            add_more(draft)
        made = _manifest(describe() if describe else None, count)
        write_manifest(draft, made)
    return made


def change(
    products: Iterable[Product],
    folder: Path,
    describe: Callable[[], Manifest] | None = None,
) -> Manifest:
    """Add `products` to the index in `folder`, in place of those that have the same numbers.

    Takes effect batch by batch; a crash leaves every product as it was or as it is to be, and
    doing it again ends the same. Those who read the index see new texts and whole titles at once,
    new words when they open it anew. Raises CatalogueError if it cannot be read or written.
    """
    with locked(folder_lock(folder)):
        before = layout.readable(folder)
        changer = Changer(folder)
        titles = WordsWriter(folder / layout.TITLES)
        bodies = WordsWriter(folder / layout.BODIES)
        try:
            for batch in _batches(products):
                _change_batch(batch, changer, titles, bodies, folder)
        finally:
            changer.close()
        titles.close()
        bodies.close()
        made = _changed_manifest(before, describe() if describe else None)
        write_manifest(folder, made)
    return made


def _fill(products: Iterable[Product], draft: Path) -> int:
    records = Writer(draft)
    try:
        titles = WordsWriter(draft / layout.TITLES, layout.title_schema())
        bodies = WordsWriter(draft / layout.BODIES, layout.body_schema())
        count = 0
        for batch in _batches(products):
            records.add(_add_words(batch, count, titles, bodies))
            count += len(batch)
        with ThreadPoolExecutor(2) as threads:
            ends = [
                threads.submit(_end_titles, titles, draft),
                threads.submit(bodies.close),
            ]
            records.close()
            for end in ends:
                end.result()
    except BaseException:
        records.abandon()
        raise
    return count


def _end_titles(titles: WordsWriter, draft: Path) -> None:
    titles.close()
    write_vocabulary(draft / layout.WORDS, titles.vocabulary())


def _add_words(
    batch: list[Product], first: int, titles: WordsWriter, bodies: WordsWriter
) -> list[Numbered]:
    """Index the words of these products, whose rows begin at `first`."""
    numbered = []
    for row, product in enumerate(batch, first):
        folded = words(product.title)
        numbered.append((row, product, key(folded, product.title)))
        titles.add(row, " ".join(folded))
        if product.description:
            bodies.add(row, fold(product.description[:_BODY_LIMIT]))
    return numbered


def _change_batch(
    batch: list[Product], changer: Changer, titles: WordsWriter, bodies: WordsWriter, folder: Path
) -> None:
    last = list({product.uid: product for product in batch}.values())
    # Words before products: a word that leads to no product yet is passed over by the search.
    numbered = _add_words(last, changer.reserve(len(last)), titles, bodies)
    new = {word for _, product, _ in numbered for word in words(product.title)}
    write_vocabulary(folder / layout.WORDS, new - set(titles.known(new)))
    titles.commit()
    bodies.commit()
    gone = changer.replace(numbered)
    titles.remove(gone)
    bodies.remove(gone)


def _batches(products: Iterable[Product]) -> Iterator[list[Product]]:
    stream = iter(products)
    while batch := list(itertools.islice(stream, _BATCH)):
        yield batch


def _manifest(given: Manifest | None, count: int) -> Manifest:
    return Manifest(
        kind=layout.KIND,
        version=layout.INDEX_VERSION,
        inputs=given.inputs if given else [],
        counts=given.counts if given else {"kept": count},
        settings={
            "fold_version": FOLD_VERSION,
            "tokeniser": layout.TOKENISER,
            "body_characters": _BODY_LIMIT,
        },
        prompt_version=PROMPT_VERSION,
    )


def _changed_manifest(before: Manifest, given: Manifest | None) -> Manifest:
    changes = [*before.settings.get("changes", []), given.counts if given else {}]
    return Manifest(
        kind=before.kind,
        version=before.version,
        inputs=[*before.inputs, *(given.inputs if given else [])],
        counts=before.counts,
        settings=before.settings | {"changes": changes},
        prompt_version=PROMPT_VERSION,
    )
