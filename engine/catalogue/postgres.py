"""The catalogue on a PostgreSQL server, for those who run one: filled and opened by its address.

Behind the extra `scale` (psycopg). The embedded index is the default and serves a whole copy of the
data set on a laptop; a server is for several machines that ask one catalogue.
"""

from __future__ import annotations

import contextlib
import functools
import math
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import psycopg
from psycopg import sql
from rapidfuzz.distance import OSA

from engine.catalogue.catalogue import Retriever
from engine.catalogue.decide import Decider
from engine.catalogue.folding import FOLD_VERSION, key, words
from engine.catalogue.search import slips_allowed
from engine.core.errors import CatalogueError
from engine.core.i18n import tr
from engine.core.types import Completion, Decision, Product

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
            tr("The catalogue at {shown} cannot be reached.", shown=shown(address)),
            tr("See that the server runs and lets you in."),
        ) from error
    except psycopg.Error as error:
        raise CatalogueError(
            tr(
                "The catalogue at {shown} cannot be used: {name}.",
                shown=shown(address),
                name=type(error).__name__,
            ),
            tr("Fill it: balcao index trn.json.gz --to {shown}", shown=shown(address)),
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
            tr(
                "The catalogue at {shown} was filled by another version of Balcão.",
                shown=shown(address),
            ),
            tr("Fill it: balcao index trn.json.gz --to {shown}", shown=shown(address)),
        )


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


_READ_AT_MOST = 20_000
"""Rows whose words are compared for one question: words are taken from the rarest on, up to it."""
_MOST_WORDS = 24
_NEIGHBOURS = 12
_LONGEST = 40
_BY_ROW = """
SELECT id, uid, title, description, coalesce(original, description)
FROM product WHERE id = ANY(%s)
"""
_BY_UID = """
SELECT uid, title, description, coalesce(original, description) FROM product WHERE uid = ANY(%s)
"""
_FREQUENCY = {
    "title": "SELECT titles FROM word WHERE word = %s",
    "body": "SELECT bodies FROM word WHERE word = %s",
}
_RANKED = """
SELECT id FROM (SELECT id, {column} AS held FROM product WHERE {column} && %(rare)s) AS found,
LATERAL (SELECT sum(weight) AS score
         FROM unnest(%(words)s::text[], %(weights)s::float8[]) AS asked(word, weight)
         WHERE word = ANY(held)) AS matched
ORDER BY score / (10 + cardinality(held)) * 10 DESC, id LIMIT %(limit)s
"""


class PostgresCatalogue:
    """A Retriever over a server. Safe to use from several threads."""

    def __init__(self, address: str) -> None:
        """Raises CatalogueError if the server cannot be reached or holds no catalogue."""
        self._server = _Server(address)
        try:
            about = self._server.ask("SELECT version, fold_version, products FROM about")
            check(about[0][:2] if about else None, address)
        except CatalogueError:
            self._server.close()
            raise
        self._count = int(about[0][2])
        self._products = _Products(self._server)
        self._decider = Decider(
            self._products,
            _Words(self._server, "title", self._count),
            _Words(self._server, "body", self._count),
            _Neighbours(self._server),
        )

    def find(self, question: str) -> Decision:
        """What the catalogue makes of `question`. Raises CatalogueError if it cannot be asked."""
        return self._decider.decide(question.replace("\0", " "))

    def get(self, uid: str) -> Product | None:
        """The product with this number, if there is one."""
        found = self._products.by_uid([uid])
        return found[0] if found else None

    def related(self, uid: str, limit: int = 10) -> tuple[tuple[str, str], ...]:
        """None: a server is filled with the products alone."""
        del uid, limit
        return ()

    def complete(self, typed: str, limit: int = 20) -> tuple[Completion, ...]:
        """None: a server has no words in order, and each key would be a journey to it."""
        del typed, limit
        return ()

    def __len__(self) -> int:
        return self._count

    def close(self) -> None:
        """Leave the server. Safe to call again."""
        self._server.close()


class _Server:
    def __init__(self, address: str) -> None:
        self._address = address
        with told(address):
            self._connection = connect(address)
            self._connection.execute(f"SET search_path TO {SCHEMA}")
            self._connection.execute("SET default_transaction_read_only TO on")

    def ask(self, statement: str, values: Any = None) -> list[tuple[Any, ...]]:  # noqa: ANN401 - psycopg's
        """All rows. psycopg lets one thread at a time use the connection."""
        if self._connection.closed:
            raise CatalogueError(tr("The catalogue is closed."))
        with told(self._address):
            return self._connection.execute(statement, values).fetchall()

    def close(self) -> None:
        self._connection.close()


class _Products:
    def __init__(self, server: _Server) -> None:
        self._server = server

    def by_row(self, rows: Sequence[int]) -> dict[int, Product]:
        found = self._server.ask(_BY_ROW, [list(rows)])
        by_id = {int(row[0]): Product(*row[1:]) for row in found}
        return {row: by_id[row] for row in rows if row in by_id}

    def by_uid(self, uids: Sequence[str]) -> list[Product]:
        found = self._server.ask(_BY_UID, [list(uids)])
        return [Product(*row) for row in found]

    def rows_by_key(self, keys: Sequence[int], limit: int) -> list[tuple[int, int, str]]:
        return [
            (int(key), int(row), str(title))
            for key, row, title in self._server.ask(
                "SELECT key, id, title FROM product WHERE key = ANY(%s) ORDER BY id LIMIT %s",
                [list(keys), limit],
            )
        ]

    def titles(self, rows: Sequence[int]) -> dict[int, str]:
        return dict(
            self._server.ask("SELECT id, title FROM product WHERE id = ANY(%s)", [list(rows)])
        )


class _Words:
    def __init__(self, server: _Server, kind: str, count: int) -> None:
        self._server = server
        self._frequency = _FREQUENCY[kind]
        self._ranked = _RANKED.format(column=f"{kind}_words")
        self._count = count
        self._known = functools.lru_cache(maxsize=100_000)(self._ask_one)

    def weights(self, asked: Iterable[str]) -> dict[str, float]:
        return {word: math.log(1 + self._count / (1 + self.frequency(word))) for word in set(asked)}

    def frequency(self, word: str) -> int:
        return self._known(word)

    def rows(self, weights: Mapping[str, float], limit: int) -> list[int]:
        rarest = sorted(weights, key=lambda word: weights[word], reverse=True)[:_MOST_WORDS]
        rare: list[str] = []
        reading = 0
        for word in rarest:
            reading += self.frequency(word)
            if rare and reading > _READ_AT_MOST:
                break
            rare.append(word)
        values = {
            "rare": rare,
            "words": rarest,
            "weights": [weights[word] for word in rarest],
            "limit": limit,
        }
        return [int(row) for (row,) in self._server.ask(self._ranked, values)] if rare else []

    def _ask_one(self, word: str) -> int:
        found = self._server.ask(self._frequency, [word])
        return int(found[0][0]) if found else 0


class _Neighbours:
    def __init__(self, server: _Server) -> None:
        self._server = server

    def near(self, word: str) -> list[str]:
        allowed = slips_allowed(word)
        if not allowed or len(word) > _LONGEST:
            return []
        rests = sorted({word} | {word[:at] + word[at + 1 :] for at in range(len(word))})
        found = self._server.ask(
            "SELECT word FROM slip WHERE rest = ANY(%s)"
            " UNION SELECT word FROM word WHERE word = ANY(%s) AND titles > 0",
            [rests, rests],
        )
        scored = sorted((OSA.distance(word, str(one)), str(one)) for (one,) in found)
        return [one for distance, one in scored if distance <= allowed][:_NEIGHBOURS]


PREFIXES = ("postgresql://", "postgres://")


def is_address(text: str) -> bool:
    """Whether `text` is the address of a server and no folder."""
    return text.startswith(PREFIXES)


def open_postgres(address: str) -> Retriever:
    """The catalogue on the server at `address`. Raises CatalogueError with what to do."""
    _check_extra()

    return PostgresCatalogue(address)


def fill_postgres(products: Iterable[Product], address: str) -> int:
    """Write `products` to the server, in place of the catalogue there; returns how many.

    Those who ask see the old catalogue until the new one is whole. Raises CatalogueError.
    """
    _check_extra()

    return fill(products, address)


def _check_extra() -> None:
    from importlib.util import find_spec

    if find_spec("psycopg") is None:
        raise CatalogueError(
            tr("A catalogue on a server needs psycopg."),
            tr("Install it: pip install 'balcao[scale]'"),
        )
