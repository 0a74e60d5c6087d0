"""The catalogue on a PostgreSQL server, for those who run one: filled and opened by its address.

Behind the extra `scale` (psycopg). The embedded index is the default and serves a whole copy of the
data set on a laptop; a server is for several machines that ask one catalogue.
"""

from __future__ import annotations

from collections.abc import Iterable

from engine.catalogue.retriever_part import Retriever
from engine.core.errors import CatalogueError
from engine.core.i18n import tr
from engine.core.types import Product

PREFIXES = ("postgresql://", "postgres://")


def is_address(text: str) -> bool:
    """Whether `text` is the address of a server and no folder."""
    return text.startswith(PREFIXES)


def open_postgres(address: str) -> Retriever:
    """The catalogue on the server at `address`. Raises CatalogueError with what to do."""
    _check_extra()
    from engine.catalogue.postgres_runtime_part import PostgresCatalogue

    return PostgresCatalogue(address)


def fill_postgres(products: Iterable[Product], address: str) -> int:
    """Write `products` to the server, in place of the catalogue there; returns how many.

    Those who ask see the old catalogue until the new one is whole. Raises CatalogueError.
    """
    _check_extra()
    from engine.catalogue.postgres_fill_runtime_part import fill

    return fill(products, address)


def _check_extra() -> None:
    from importlib.util import find_spec

    if find_spec("psycopg") is None:
        raise CatalogueError(
            tr("A catalogue on a server needs psycopg."),
            tr("Install it: pip install 'balcao[scale]'"),
        )
