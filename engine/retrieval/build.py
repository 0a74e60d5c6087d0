"""Builds the index of a catalogue; the products come from the caller."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from engine import manifest
from engine.errors import CatalogueError
from engine.manifest import Manifest
from engine.retrieval import layout
from engine.retrieval.folding import FOLD_VERSION, key, words
from engine.retrieval.publish import one_at_a_time, whole_folder
from engine.retrieval.records import Writer
from engine.types import Product

_BATCH = 2_000
_HEAP = 200_000_000
"""Bytes for each of the two writers: fewer, larger segments to merge."""
_BODY_LIMIT = 2_000
"""Characters of a description that are searched: 95 % of all are shorter than 1,728."""


def build(
    products: Iterable[Product],
    out: Path,
    describe: Callable[[], Manifest] | None = None,
) -> Manifest:
    """Write the index of `products` to `out` and return its manifest.

    `describe` is called when all products were read and gives the manifest's inputs and counts.
    The folder appears whole: a crash leaves the one of before, or none. Raises CatalogueError if
    it cannot be written, UsageError if `out` holds something else.
    """
    with one_at_a_time(out), whole_folder(out, layout.KIND) as draft:
        count = _fill(products, draft)
        made = _manifest(describe() if describe else None, count)
        manifest.write(draft, made)
    return made


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
    )


def _fill(products: Iterable[Product], draft: Path) -> int:
    records = Writer(draft)
    titles = _Index(draft / layout.TITLES, layout.title_schema())
    bodies = _Index(draft / layout.BODIES, layout.body_schema())
    count = 0
    try:
        for batch in _batches(products):
            numbered = []
            for row, product in enumerate(batch, count):
                folded = words(product.title)
                numbered.append((row, product, key(folded, product.title)))
                titles.add(row, " ".join(folded))
                if product.description:
                    bodies.add(row, " ".join(words(product.description[:_BODY_LIMIT])))
            records.add(numbered)
            count += len(batch)
        vocabulary = titles.close()
        bodies.close()
        _write_words(draft / layout.WORDS, vocabulary)
        records.close()
    except BaseException:
        records.abandon()
        raise
    return count


def _batches(products: Iterable[Product]) -> Iterator[list[Product]]:
    stream = iter(products)
    while batch := list(itertools.islice(stream, _BATCH)):
        yield batch


class _Index:
    """One tantivy index that is being written."""

    def __init__(self, folder: Path, schema: Any) -> None:  # noqa: ANN401 - imported late
        import tantivy

        folder.mkdir()
        self._document = tantivy.Document
        self._index = layout.with_tokeniser(tantivy.Index(schema, path=str(folder)))
        self._writer = self._index.writer(_HEAP, 1)

    def add(self, row: int, text: str) -> None:
        """Add the folded words of one product."""
        try:
            self._writer.add_document(self._document(row=row, words=text))
        except ValueError as error:
            raise CatalogueError(f"The index cannot be written: {error}.") from error

    def close(self) -> list[str]:
        """Write out, and return every word there is."""
        try:
            self._writer.commit()
            self._writer.wait_merging_threads()
        except ValueError as error:
            raise CatalogueError(f"The index cannot be written: {error}.") from error
        self._index.reload()
        return [word for word, _ in self._index.searcher().terms_with_prefix("words", "")]


def _write_words(folder: Path, vocabulary: Iterable[str]) -> None:
    import tantivy

    folder.mkdir()
    index = layout.with_tokeniser(tantivy.Index(layout.word_schema(), path=str(folder)))
    writer = index.writer(_HEAP, 1)
    for word in vocabulary:
        writer.add_document(tantivy.Document(word=word))
    writer.commit()
    writer.wait_merging_threads()
