"""Fills a catalogue on PostgreSQL: into new tables, which take the old ones' place at once."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator

import psycopg
from psycopg import sql

from engine.catalogue.folding import FOLD_VERSION, key, words
from engine.catalogue.postgres_schema_runtime_part import (
    INDEXES,
    SCHEMA,
    TABLES,
    VERSION,
    connect,
    told,
)
from engine.core.types import Product

_LOCK = 0x62616C63616F
"""The advisory lock of those who fill: "balcao" in ASCII."""
_BODY_LIMIT = 2_000
_DRAFT = f"{SCHEMA}_filling_"


def fill(products: Iterable[Product], address: str) -> int:
    """Write all products and swap; returns how many."""
    with told(address), connect(address) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", [_LOCK])
        _sweep(connection)
        draft = f"{_DRAFT}{uuid.uuid4().hex[:8]}"
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(draft)))
        connection.execute(sql.SQL("SET search_path TO {}").format(sql.Identifier(draft)))
        connection.execute(TABLES)
        count = 0
        with connection.cursor().copy("COPY product FROM STDIN") as copy:
            for row in _rows(products):
                copy.write_row(row)
                count += 1
        connection.execute(INDEXES)
        connection.execute("INSERT INTO about VALUES (%s, %s, %s)", [VERSION, FOLD_VERSION, count])
        _swap(connection, draft)
    return count


def _rows(products: Iterable[Product]) -> Iterator[tuple[object, ...]]:
    for row, product in enumerate(products):
        titled = words(product.title)
        yield (
            row,
            product.uid,
            product.title,
            key(titled, product.title),
            product.description,
            None if product.original == product.description else product.original.replace("\0", ""),
            titled,
            list(dict.fromkeys(words(product.description[:_BODY_LIMIT]))),
        )


def _sweep(connection: psycopg.Connection) -> None:
    """Drop what those who were killed left; the lock says that nobody is at it."""
    left = connection.execute(
        "SELECT nspname FROM pg_namespace WHERE starts_with(nspname, %s)", [_DRAFT]
    ).fetchall()
    for (name,) in left:
        connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(name)))


def _swap(connection: psycopg.Connection, draft: str) -> None:
    ours = sql.Identifier(SCHEMA)
    with connection.transaction():
        connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(ours))
        connection.execute(
            sql.SQL("ALTER SCHEMA {} RENAME TO {}").format(sql.Identifier(draft), ours)
        )
