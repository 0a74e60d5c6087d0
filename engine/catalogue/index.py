"""From a data set to a catalogue on disk: what `balcao index` and the first start do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from engine.catalogue import records as layout
from engine.catalogue.build import build, change
from engine.catalogue.clean import products
from engine.catalogue.folding import FOLD_VERSION
from engine.catalogue.postgres import fill_postgres
from engine.catalogue.read import Counts, input_of, read_rows
from engine.catalogue.related import labels_of, read_labels, read_targets, write_related
from engine.config import paths
from engine.core.errors import DataError
from engine.core.files import Manifest, describe_file, folder_lock, locked, read_manifest
from engine.core.i18n import tr
from engine.core.types import Product, Progress
from engine.prompts import PROMPT_VERSION


def build_catalogue(
    source: Path, out: Path, on_progress: Callable[[Progress], None] | None = None
) -> Manifest:
    """Index the data set at `source` (`-`: standard input) into the folder `out`.

    Where `lbl.json` lies beside it, or in the same zip, related products get their names. Raises
    DataError if the source is no data set, CatalogueError if the index cannot be written,
    UsageError if `out` holds something else.
    """
    counts = Counts()
    stream = _products(source, counts, on_progress)
    labels = labels_of(source)

    def add_related(draft: Path) -> None:
        if labels:
            _tell(on_progress, tr("names of related products"))
            write_related(draft, read_labels(labels), read_targets(source))

    return build(
        stream,
        out,
        lambda: _described(source, counts),
        add_related,
    )


def change_catalogue(
    source: Path, out: Path, on_progress: Callable[[Progress], None] | None = None
) -> Manifest:
    """Add the data set at `source` to the catalogue in `out`, in place of the same numbers.

    Raises DataError if the source is no data set, CatalogueError if there is no catalogue that
    can be changed.
    """
    counts = Counts()
    stream = _products(source, counts, on_progress)
    return change(stream, out, lambda: _described(source, counts))


def fill_server(
    source: Path, address: str, on_progress: Callable[[Progress], None] | None = None
) -> int:
    """Fill the server at `address` with the data set at `source`; returns how many products.

    Raises DataError if the source is no data set, CatalogueError if the server cannot be filled.
    """
    return fill_postgres(_products(source, Counts(), on_progress), address)


def _described(source: Path, counts: Counts) -> Manifest:
    return Manifest(
        kind=layout.KIND,
        version=0,
        inputs=[input_of(source, counts)],
        counts=counts.as_dict(),
        prompt_version=PROMPT_VERSION,
    )


def ensure_sample() -> Path:
    """The folder of the sample catalogue, built first where it is missing or not current.

    Safe when two processes start at once: the second waits and finds it there. Raises
    CatalogueError or DataError as building does.
    """
    out = paths.sample_catalogue_dir()
    source = paths.sample_source()
    if _is_current(out, source):
        return out
    with locked(folder_lock(out.with_name(f"{out.name}.first"))):
        if not _is_current(out, source):
            build_catalogue(source, out)
    return out


def _is_current(folder: Path, source: Path) -> bool:
    try:
        made = read_manifest(folder)
        wanted = describe_file(source).sha256
    except (DataError, OSError):
        return False
    return (
        made.kind == layout.KIND
        and made.version == layout.INDEX_VERSION
        and made.settings.get("fold_version") == FOLD_VERSION
        and [made_from.sha256 for made_from in made.inputs] == [wanted]
    )


def _products(
    source: Path, counts: Counts, on_progress: Callable[[Progress], None] | None
) -> Iterator[Product]:
    def tell() -> None:
        label = tr("{count:,} rows, {rate:,.0f} a second")
        label = label.format(count=counts.read, rate=counts.rate)
        _tell(on_progress, label, counts.fraction)

    yield from products(read_rows(source, counts, tell), counts)
    label = tr("{count:,} products, writing the index", count=counts.kept)
    _tell(on_progress, label, 1.0)


def _tell(
    on_progress: Callable[[Progress], None] | None, label: str, fraction: float | None = None
) -> None:
    if on_progress:
        on_progress(Progress(label, fraction))
