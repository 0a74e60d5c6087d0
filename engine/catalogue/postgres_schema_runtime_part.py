"""The tables of a catalogue on PostgreSQL, and the way in; imported only when one is used."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import psycopg

from engine.catalogue.folding import FOLD_VERSION
from engine.core.errors import CatalogueError
from engine.core.i18n import tr

SCHEMA = "balcao"
VERSION = 1
TABLES = """
CREATE TABLE about (version int NOT NULL, fold_version int NOT NULL, products bigint NOT NULL);
CREATE TABLE product (id bigint NOT NULL, uid text NOT NULL, title text NOT NULL,
    key bigint NOT NULL, description text NOT NULL, original text,
    title_words text[] NOT NULL, body_words text[] NOT NULL);
CREATE TABLE word (word text NOT NULL, titles bigint NOT NULL, bodies bigint NOT NULL);
CREATE TABLE slip (rest text NOT NULL, word text NOT NULL);
"""
INDEXES = """
ALTER TABLE product ADD PRIMARY KEY (id);
CREATE UNIQUE INDEX ON product (uid);
CREATE INDEX ON product (key);
CREATE INDEX ON product USING gin (title_words);
CREATE INDEX ON product USING gin (body_words);
INSERT INTO word
    SELECT word, sum(titles), sum(bodies) FROM (
        SELECT unnest(title_words) AS word, 1 AS titles, 0 AS bodies FROM product
        UNION ALL SELECT unnest(body_words), 0, 1 FROM product) AS both_kinds GROUP BY word;
ALTER TABLE word ADD PRIMARY KEY (word);
INSERT INTO slip
    SELECT DISTINCT overlay(word placing '' from place for 1), word
    FROM word, generate_series(1, length(word)) AS place
    WHERE titles > 0 AND length(word) BETWEEN 3 AND 40;
CREATE INDEX ON slip (rest);
ANALYZE;
"""


@contextlib.contextmanager
def told(address: str) -> Iterator[None]:
    """A failure of the server's as ours; the address is shown without its password."""
    try:
        yield
    except psycopg.OperationalError as error:
        raise CatalogueError(
            tr("The catalogue at {shown} cannot be reached.").format(shown=shown(address)),
            tr("See that the server runs and lets you in."),
        ) from error
    except psycopg.Error as error:
        raise CatalogueError(
            tr("The catalogue at {shown} cannot be used: {name}.").format(
                shown=shown(address), name=type(error).__name__
            ),
            tr("Fill it: balcao index trn.json.gz --to {shown}").format(shown=shown(address)),
        ) from error


def connect(address: str) -> psycopg.Connection:
    """A connection on which every statement counts by itself."""
    return psycopg.connect(address, autocommit=True, connect_timeout=10)


def shown(address: str) -> str:
    """The address as it may be shown: no user, no password, no options."""
    scheme, _, rest = address.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}"


def check(about: tuple[int, int] | None, address: str) -> None:
    """Raises CatalogueError if the tables are of another version."""
    if about != (VERSION, FOLD_VERSION):
        raise CatalogueError(
            tr("The catalogue at {shown} was filled by another version of Balcão.").format(
                shown=shown(address)
            ),
            tr("Fill it: balcao index trn.json.gz --to {shown}").format(shown=shown(address)),
        )
