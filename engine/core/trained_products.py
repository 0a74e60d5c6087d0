"""The list of products that an adapter was trained on, in its manifest."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import msgspec

from engine.core.files import MANIFEST, UNDECODABLE, Manifest, encode_json, read_file
from engine.core.text import one_line
from engine.core.types import Product

MAX_LISTED = 100_000
_MAX_BYTES = 14_000_000
"""Of the list: a manifest above 16 MB is not read."""


class TrainedProduct(msgspec.Struct, frozen=True):
    """A product as an adapter's manifest lists it."""

    uid: str
    title: str


class AdapterManifest(Manifest, frozen=True, kw_only=True):
    """A manifest with the products that the adapter answers from memory; empty if unknown."""

    products: tuple[TrainedProduct, ...] = ()


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
    try:
        status = (adapter / MANIFEST).stat()
    except (OSError, ValueError):
        return None
    return _read(adapter, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=2)
def _read(adapter: Path, _changed: int, _size: int) -> TrainedProducts | None:
    try:
        found = msgspec.json.decode(read_file(adapter / MANIFEST), type=AdapterManifest).products
    except (OSError, *UNDECODABLE):
        return None
    # Of a longer list nothing can be said about the rest.
    return TrainedProducts(found) if 0 < len(found) <= MAX_LISTED else None
