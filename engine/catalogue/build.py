"""Builds the index of a catalogue, or changes one; the products come from the caller."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from engine.catalogue import layout_part as layout
from engine.catalogue.folding import FOLD_VERSION, fold, key, words
from engine.catalogue.records_writer_part import Changer, Numbered, Writer
from engine.catalogue.words_writer_part import WordsWriter, write_vocabulary
from engine.core import manifest_part as manifest
from engine.core.files import one_at_a_time, whole_folder
from engine.core.manifest_part import Manifest
from engine.core.types import Product

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
    with whole_folder(out, layout.KIND) as draft:
        count = _fill(products, draft)
        if add_more:
            add_more(draft)
        made = _manifest(describe() if describe else None, count)
        manifest.write(draft, made)
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
    with one_at_a_time(folder):
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
        manifest.write(folder, made)
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
    )


def _changed_manifest(before: Manifest, given: Manifest | None) -> Manifest:
    changes = [*before.settings.get("changes", []), given.counts if given else {}]
    return Manifest(
        kind=before.kind,
        version=before.version,
        inputs=[*before.inputs, *(given.inputs if given else [])],
        counts=before.counts,
        settings=before.settings | {"changes": changes},
    )
