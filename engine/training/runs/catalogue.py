"""Find the catalogue of the products that an adapter was trained on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path

from engine.catalogue import records
from engine.catalogue.catalogue import Catalogue
from engine.config import paths
from engine.config.settings import load
from engine.core.errors import BalcaoError, DataError, UsageError
from engine.core.files import read_manifest
from engine.core.i18n import tr
from engine.core.trained_products import read_trained_products

_TITLES = 5
"""Titles that are looked up in each catalogue."""
_FOLDERS = 200
"""Folders that are looked at, near the run and the user."""


def find_catalogue(adapter: Path) -> Path | None:
    """Return the catalogue with the adapter's products: the default one, or the latest nearby."""
    titles = _titles(adapter)
    near = sorted(set(_near(adapter)), key=lambda folder: -_built(folder))
    found = (folder for folder in (*_default(), *near) if titles and _has(folder, titles))
    return next(found, None)


def check_catalogue(folder: Path, adapter: Path) -> Path:
    """Return the absolute folder. Raise UsageError for the catalogue of other products."""
    folder = folder.expanduser().resolve()
    records.read_manifest(folder)
    titles = _titles(adapter)
    if titles and not _has(folder, titles):
        raise UsageError(
            tr("{folder} holds none of the products of {run}.", folder=folder, run=adapter),
            tr("Build it from the same file: balcao index FILE --out DIR"),
        )
    return folder


def _titles(adapter: Path) -> list[str]:
    trained = read_trained_products(adapter)
    return list(islice(trained.titles, _TITLES)) if trained else []


def _default() -> Iterator[Path]:
    """Yield the catalogue of the settings, or else the sample, if it is a folder that is there."""
    chosen = load().catalogue
    folder = paths.expand(chosen) if chosen else paths.sample_catalogue_dir()
    if _built(folder):
        yield folder.resolve()


def _near(adapter: Path) -> Iterator[Path]:
    """Yield the catalogues beside the run, two folders up, and in the working folder."""
    run = adapter.resolve()
    for place in dict.fromkeys((Path.cwd(), run.parent, run.parent.parent)):
        for pattern in ("*", "*/*"):
            for folder in islice(place.glob(f"{pattern}/{records.PRODUCTS}"), _FOLDERS):
                if _built(folder.parent):
                    yield folder.parent


def _built(folder: Path) -> float:
    try:
        is_one = read_manifest(folder).kind == records.KIND
        return (folder / records.PRODUCTS).stat().st_mtime if is_one else 0.0
    except (DataError, OSError):
        return 0.0


def _has(folder: Path, titles: Sequence[str]) -> bool:
    wanted = [title.casefold().split() for title in titles]
    try:
        with closing(Catalogue.open(folder)) as catalogue:
            hits = [hit for title in titles for hit in catalogue.find(title).hits]
    except BalcaoError:
        return False
    return any(hit.product.title.casefold().split() in wanted for hit in hits)
