"""Build, update or upload a catalogue from a data set, as `balcao index` and the first start do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from engine.catalogue.build import build_index, update_index
from engine.catalogue.clean import clean_rows
from engine.catalogue.folding import FOLD_VERSION
from engine.catalogue.postgres import fill_postgres
from engine.catalogue.read import Counts, read_rows
from engine.catalogue.records import INDEX_VERSION, KIND
from engine.catalogue.related import labels_file, write_related
from engine.config import paths
from engine.core.errors import DataError
from engine.core.files import Manifest, describe_file, folder_lock, locked, read_manifest
from engine.core.i18n import tr
from engine.core.types import Product, Progress

OnProgress = Callable[[Progress], None]


def build_catalogue(source: Path, out: Path, on_progress: OnProgress | None = None) -> Manifest:
    """Index the data set `source` (`-` is standard input) into the folder `out`.

    Related products are stored if `lbl.json` is in the same folder or zip. Raise DataError if
    `source` is not a data set, CatalogueError if the index cannot be written, UsageError if `out`
    contains something else.
    """
    counts = Counts()
    labels = labels_file(source)

    def add_related(draft: Path) -> None:
        if labels:
            _report(on_progress, tr("names of related products"))
            write_related(draft, labels, source)

    products = _read_products(source, counts, on_progress)
    return build_index(products, out, (source, counts), add_related)


def update_catalogue(source: Path, out: Path, on_progress: OnProgress | None = None) -> Manifest:
    """Add the data set `source` to the catalogue in `out`, replacing products by uid.

    Raise DataError if `source` is not a data set, CatalogueError if the catalogue is missing or
    cannot be written.
    """
    counts = Counts()
    return update_index(_read_products(source, counts, on_progress), out, (source, counts))


def fill_server(source: Path, address: str, on_progress: OnProgress | None = None) -> int:
    """Fill the server at `address` with the data set `source`, and return the number of products.

    Raise DataError if `source` is not a data set, CatalogueError if the server fails.
    """
    return fill_postgres(_read_products(source, Counts(), on_progress), address)


def ensure_sample() -> Path:
    """Return the folder of the sample catalogue; build it if it is missing or outdated.

    Safe if two processes start at once: the second waits for the first. Raise CatalogueError or
    DataError as `build_catalogue` does.
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
        manifest = read_manifest(folder)
        checksum = describe_file(source).sha256
    except (DataError, OSError):
        return False
    return (
        manifest.kind == KIND
        and manifest.version == INDEX_VERSION
        and manifest.settings.get("fold_version") == FOLD_VERSION
        and [made_from.sha256 for made_from in manifest.inputs] == [checksum]
    )


def _read_products(
    source: Path, counts: Counts, on_progress: OnProgress | None
) -> Iterator[Product]:
    def report_rows() -> None:
        if on_progress:
            on_progress(counts.progress())

    yield from clean_rows(read_rows(source, counts, report_rows), counts)
    label = tr("{count:,} products, writing the index", count=counts.kept)
    _report(on_progress, label, 1.0)


def _report(on_progress: OnProgress | None, label: str, share: float | None = None) -> None:
    if on_progress:
        on_progress(Progress(label, share))
