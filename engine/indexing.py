"""From a data set to a catalogue on disk: what `balcao index` and the first start do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from engine import manifest, paths
from engine.dataset.counts import Counts
from engine.dataset.products import products
from engine.dataset.reader import read_rows
from engine.dataset.sources import STDIN
from engine.errors import DataError
from engine.manifest import Input, Manifest
from engine.retrieval import layout
from engine.retrieval.build import build
from engine.retrieval.folding import FOLD_VERSION
from engine.retrieval.publish import one_at_a_time
from engine.types import Product, Progress

_EVERY = 5_000
"""Products between two reports."""


def build_catalogue(
    source: Path, out: Path, on_progress: Callable[[Progress], None] | None = None
) -> Manifest:
    """Index the data set at `source` (`-`: standard input) into the folder `out`.

    Raises DataError if the source is no data set, CatalogueError if the index cannot be written,
    UsageError if `out` holds something else.
    """
    counts = Counts()

    def describe() -> Manifest:
        made_from = Input("standard input", "") if source == STDIN else manifest.input_of(source)
        return Manifest(kind=layout.KIND, version=0, inputs=[made_from], counts=counts.as_dict())

    stream = products(read_rows(source, counts), counts)
    return build(_reported(stream, counts, on_progress), out, describe)


def ensure_sample() -> Path:
    """The folder of the sample catalogue, built first where it is missing or not current.

    Safe when two processes start at once: the second waits and finds it there. Raises
    CatalogueError or DataError as building does.
    """
    out = paths.sample_catalogue_dir()
    source = paths.sample_source()
    if _is_current(out, source):
        return out
    with one_at_a_time(out.with_name(f"{out.name}.first")):
        if not _is_current(out, source):
            build_catalogue(source, out)
    return out


def _is_current(folder: Path, source: Path) -> bool:
    try:
        made = manifest.read(folder)
        wanted = manifest.input_of(source).sha256
    except (DataError, OSError):
        return False
    return (
        made.kind == layout.KIND
        and made.version == layout.INDEX_VERSION
        and made.settings.get("fold_version") == FOLD_VERSION
        and [made_from.sha256 for made_from in made.inputs] == [wanted]
    )


def _reported(
    stream: Iterator[Product], counts: Counts, on_progress: Callable[[Progress], None] | None
) -> Iterator[Product]:
    for number, product in enumerate(stream):
        if on_progress and number % _EVERY == 0:
            on_progress(Progress(f"{counts.kept:,} products", counts.fraction))
        yield product
    if on_progress:
        on_progress(Progress(f"{counts.kept:,} products, writing the index", 1.0))
