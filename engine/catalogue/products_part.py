"""Rows of the data set turned into products."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from engine.catalogue.clean import clean
from engine.catalogue.counts_part import Counts
from engine.catalogue.reader_part import RawRow
from engine.core.types import Product


def products(rows: Iterable[RawRow], counts: Counts) -> Iterator[Product]:
    """A product for each row that has a title or a description left after cleaning."""
    for row in rows:
        product = to_product(row, counts.changed)
        if not row.uid:
            counts.rejected["no uid"] += 1
        elif not product.title and not product.description:
            counts.rejected["no title and no description"] += 1
        else:
            counts.kept += 1
            yield product


def to_product(row: RawRow, changed: Counter[str]) -> Product:
    """The row with title and content cleaned; the content as it was stays beside."""
    content = row.content or ""
    title = clean(row.title or "", changed)
    return Product(row.uid, title, clean(content, changed), content)
