"""What an adapter's manifest says of its knowledge: products, and how likely its answers are."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import msgspec

from engine.core.files import MANIFEST, UNDECODABLE, Manifest, encode_json, read_file
from engine.core.text import one_line
from engine.core.types import Product

FIRST_TOKENS = 8
"""How many tokens of an answer say how sure a model is of it."""
MAX_LISTED = 100_000
_MAX_BYTES = 14_000_000
"""Of the list: a manifest above 16 MB is not read."""


class TrainedProduct(msgspec.Struct, frozen=True):
    """A product as an adapter's manifest lists it."""

    uid: str
    title: str


class Calibration(msgspec.Struct, frozen=True):
    """What the probabilities of an answer from memory say, measured at the end of training.

    The values are means of the natural logarithms of the first `tokens` tokens' probabilities: from
    `learned` on (None: never), what the adapter says was learned, and below `not_taught` it was
    not. `right` and `wrong` count the answers that this was calibrated on.
    """

    learned: float | None
    not_taught: float
    right: int
    wrong: int
    tokens: int = FIRST_TOKENS


class AdapterManifest(Manifest, frozen=True, kw_only=True):
    """A manifest with the products that the adapter answers from memory; empty if unknown.

    `calibration` is None in older manifests, and with too few answers to calibrate on.
    """

    products: tuple[TrainedProduct, ...] = ()
    calibration: Calibration | None = None


def listable(products: Sequence[TrainedProduct]) -> tuple[TrainedProduct, ...]:
    """Return the list as a manifest has it: empty where it is too long.

    Every check of an adapter reads its manifest, and nobody looks through a million titles.
    """
    fits = len(products) <= MAX_LISTED and len(encode_json(products, indent=2)) <= _MAX_BYTES
    return tuple(products) if fits else ()


class TrainedProducts:
    """The products that an adapter was trained on, which are at least one."""

    def __init__(self, products: Sequence[TrainedProduct]) -> None:
        self._titles = {product.uid: one_line(product.title) for product in products}
        self.titles = tuple(dict.fromkeys(filter(None, self._titles.values())))

    def __contains__(self, product: Product) -> bool:
        # Another catalogue may number its products alike.
        return self._titles.get(product.uid) == one_line(product.title)


def read_trained_products(adapter: Path) -> TrainedProducts | None:
    """Return the products in the manifest of an adapter's folder; None if they are unknown."""
    return _read_changed(adapter)[0]


def read_calibration(adapter: Path) -> Calibration | None:
    """Return what the manifest of an adapter's folder says of probabilities; None if nothing."""
    return _read_changed(adapter)[1]


_Read = tuple[TrainedProducts | None, Calibration | None]


def _read_changed(adapter: Path) -> _Read:
    try:
        status = (adapter / MANIFEST).stat()
    except (OSError, ValueError):
        return None, None
    return _read(adapter, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=2)
def _read(adapter: Path, _changed: int, _size: int) -> _Read:
    try:
        found = msgspec.json.decode(read_file(adapter / MANIFEST), type=AdapterManifest)
    except (OSError, *UNDECODABLE):
        return None, None
    # Of a longer list nothing can be said about the rest.
    listed = 0 < len(found.products) <= MAX_LISTED
    return TrainedProducts(found.products) if listed else None, found.calibration
