"""A catalogue on a PostgreSQL server, which several machines share.

It needs the extra `scale` (psycopg). The embedded index is the default and serves a whole copy of
the data set on a laptop.
"""

from __future__ import annotations

import contextlib
import functools
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, LiteralString

from rapidfuzz.distance import OSA

from engine.catalogue import browse
from engine.catalogue.catalogue import Retriever
from engine.catalogue.decide import MAX_HITS, Decider
from engine.catalogue.folding import FOLD_VERSION, title_key, tokenise
from engine.catalogue.rank import ProductStore, Ranker
from engine.catalogue.records import BODY_LIMIT
from engine.catalogue.search import MAX_SIMILAR, TokenIndex, max_edits, query_tokens
from engine.core.errors import CatalogueError
from engine.core.i18n import tr
from engine.core.process import install_command
from engine.core.types import Decision, Product

if TYPE_CHECKING:
    import psycopg

_SCHEMES = ("postgresql://", "postgres://")
_SCHEMA = "balcao"
_DRAFT = f"{_SCHEMA}_filling_"
_VERSION = 1
_LOCK = 0x62616C63616F
"""The advisory lock of those who fill the catalogue: "balcao" in ASCII."""
_MAX_ROWS_READ = 20_000
"""Rows scored for one question. The rarest tokens select them, up to this number."""
_MAX_TOKEN = 40
_MAX_ENDINGS = 24
"""Words that one may become which is still being typed."""
_TABLES = """
CREATE TABLE about (version int NOT NULL, fold_version int NOT NULL, products bigint NOT NULL);
CREATE TABLE product (id bigint NOT NULL, uid text NOT NULL, title text NOT NULL,
    key bigint NOT NULL, description text NOT NULL, original text,
    title_words text[] NOT NULL, body_words text[] NOT NULL);
CREATE TABLE word (word text NOT NULL, titles bigint NOT NULL, bodies bigint NOT NULL);
CREATE TABLE slip (rest text NOT NULL, word text NOT NULL);
"""
_INDEXES = """
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
_PRODUCT = "SELECT uid, title, description, coalesce(original, description), id FROM product"
_RANKED = """
SELECT id FROM (SELECT id, {column} AS held FROM product WHERE {column} && %(rare)s) AS found,
LATERAL (SELECT sum(weight) AS score
         FROM unnest(%(words)s::text[], %(weights)s::float8[]) AS asked(word, weight)
         WHERE word = ANY(held)) AS matched
ORDER BY score / (10 + cardinality(held)) * 10 DESC, id LIMIT %(limit)s
"""

_MATCHING = """
SELECT uid, title, id FROM product WHERE ({titles}) OR ({bodies})
ORDER BY ({titles}) DESC, id LIMIT %s
"""


def is_address(text: str) -> bool:
    """Report whether `text` is the address of a server rather than a folder."""
    return text.startswith(_SCHEMES)


def redact_address(address: str) -> str:
    """Remove user, password and options from an address, so that it can be shown."""
    scheme, _, rest = address.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}"


def fill_postgres(products: Iterable[Product], address: str) -> int:
    """Replace the catalogue on the server, all or nothing; return the number of products."""
    with _server_errors(address), _connect(address) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", [_LOCK])
        _drop_drafts(connection)
        draft = f"{_DRAFT}{uuid.uuid4().hex[:8]}"
        _execute(connection, "CREATE SCHEMA {}", draft)
        _execute(connection, "SET search_path TO {}", draft)
        connection.execute(_TABLES)
        count = 0
        with connection.cursor().copy("COPY product FROM STDIN") as copy:
            for row in _rows(products):
                copy.write_row(row)
                count += 1
        connection.execute(_INDEXES)
        connection.execute("INSERT INTO about VALUES (%s, %s, %s)", [_VERSION, FOLD_VERSION, count])
        with connection.transaction():
            _execute(connection, "DROP SCHEMA IF EXISTS {} CASCADE", _SCHEMA)
            _execute(connection, "ALTER SCHEMA {} RENAME TO {}", draft, _SCHEMA)
    return count


def _drop_drafts(connection: psycopg.Connection) -> None:
    """Drop what killed processes left; the lock excludes any that still run."""
    drafts = connection.execute(
        "SELECT nspname FROM pg_namespace WHERE starts_with(nspname, %s)", [_DRAFT]
    ).fetchall()
    for (draft,) in drafts:
        _execute(connection, "DROP SCHEMA {} CASCADE", draft)


def _execute(connection: psycopg.Connection, statement: LiteralString, *names: str) -> None:
    """Execute a statement with quoted identifiers."""
    from psycopg import sql

    connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


def _rows(products: Iterable[Product]) -> Iterator[tuple[object, ...]]:
    for row, product in enumerate(products):
        tokens = tokenise(product.title)
        yield (
            row,
            product.uid,
            product.title,
            title_key(tokens, product.title),
            product.description,
            None if product.original == product.description else product.original.replace("\0", ""),
            tokens,
            list(dict.fromkeys(tokenise(product.description[:BODY_LIMIT]))),
        )


class PostgresCatalogue(Retriever):
    """A Retriever over a server: no completions, since each key would need a round trip."""

    def __init__(self, address: str) -> None:
        """Connect. Raise CatalogueError if the server fails or does not have a catalogue."""
        self._products = products = _PostgresProducts(address)
        try:
            self._count = products.count()
        except CatalogueError:
            products.close()
            raise
        titles = _PostgresIndex(products, "titles", "title_words", self._count)
        bodies = _PostgresIndex(products, "bodies", "body_words", self._count)
        ranker = Ranker(products, titles, bodies, products.similar, lambda _: [])
        self._decider = Decider(ranker)

    def find(self, question: str) -> Decision:
        return self._decider.decide(question.replace("\0", " "))

    def named(self, question: str) -> Decision:
        return self._decider.named(question.replace("\0", " "))

    def described(self, text: str, limit: int = MAX_HITS) -> Sequence[Product]:
        return self._decider.ranker.described(text.replace("\0", " "), limit)

    def get(self, uid: str) -> Product | None:
        found = self._products.by_uid([uid])
        return found[0] if found else None

    def browse(self, text: str = "", start: int = 0, limit: int = 100) -> browse.Listing:
        """List products from `start`; of those that match `text`, words of it may be unfinished."""
        groups = [self._products.starting_with(token) for token in tokenise(text)]
        if not groups:
            found = self._products.listed_from(start, limit)
            more = int(found[-1][2]) + 1 if len(found) == limit else 0
            return browse.Listing(tuple((uid, title) for uid, title, _ in found), more, self._count)
        found = self._products.listed_with(groups, browse.MOST)
        entries = tuple((uid, title) for uid, title, _ in found)
        more = start + limit if start + limit < len(entries) else 0
        return browse.Listing(entries[start : start + limit], more, len(entries))

    def __len__(self) -> int:
        return self._count

    def close(self) -> None:
        self._products.close()


class _PostgresProducts(ProductStore):
    """The products and the vocabulary."""

    def __init__(self, address: str) -> None:
        self._address = address
        with _server_errors(address):
            self._connection = _connect(address)
            self._connection.execute(f"SET search_path TO {_SCHEMA}")
            self._connection.execute("SET default_transaction_read_only TO on")

    def count(self) -> int:
        about = self.query("SELECT version, fold_version, products FROM about")
        if not about or about[0][:2] != (_VERSION, FOLD_VERSION):
            raise CatalogueError(
                tr(
                    "The catalogue at {address} was filled by another version of Balcão.",
                    address=redact_address(self._address),
                ),
                _fill_remedy(self._address),
            )
        return int(about[0][2])

    def query(self, statement: str, values: Any = None) -> list[tuple[Any, ...]]:  # noqa: ANN401 - as in psycopg
        """Fetch all rows. psycopg allows one thread at a time on the connection."""
        if self._connection.closed:
            raise CatalogueError(tr("The catalogue is closed."))
        with _server_errors(self._address):
            return self._connection.execute(statement, values).fetchall()

    def close(self) -> None:
        self._connection.close()

    def by_row(self, rows: Sequence[int]) -> dict[int, Product]:
        found = self.query(f"{_PRODUCT} WHERE id = ANY(%s)", [list(rows)])
        by_id = {int(row[4]): Product(*row[:4]) for row in found}
        return {row: by_id[row] for row in rows if row in by_id}

    def by_uid(self, uids: Sequence[str]) -> list[Product]:
        found = self.query(f"{_PRODUCT} WHERE uid = ANY(%s)", [list(uids)])
        return [Product(*row[:4]) for row in found]

    def rows_by_key(self, keys: Sequence[int], limit: int) -> list[tuple[int, int, str]]:
        sql = "SELECT key, id, title FROM product WHERE key = ANY(%s) ORDER BY id LIMIT %s"
        found = self.query(sql, [list(keys), limit])
        return [(int(key), int(row), str(title)) for key, row, title in found]

    def titles(self, rows: Sequence[int]) -> dict[int, str]:
        return dict(self.query("SELECT id, title FROM product WHERE id = ANY(%s)", [list(rows)]))

    def listed_from(self, row: int, limit: int) -> list[tuple[Any, ...]]:
        sql = "SELECT uid, title, id FROM product WHERE id >= %s ORDER BY id LIMIT %s"
        return self.query(sql, [row, limit])

    def listed_with(self, groups: list[list[str]], limit: int) -> list[tuple[Any, ...]]:
        """Return products with a word of every group in their titles, then in descriptions."""
        titles, bodies = (
            " AND ".join(f"{column} && %s::text[]" for _ in groups)
            for column in ("title_words", "body_words")
        )
        sql = _MATCHING.format(titles=titles, bodies=bodies)
        return self.query(sql, [*groups, *groups, *groups, limit])

    def starting_with(self, prefix: str) -> list[str]:
        sql = "SELECT word FROM word WHERE starts_with(word, %s) ORDER BY titles DESC LIMIT %s"
        return [str(word) for (word,) in self.query(sql, [prefix, _MAX_ENDINGS])] or [prefix]

    def similar(self, token: str) -> list[str]:
        """Return known tokens that equal `token` after deleting a letter from either or both."""
        limit = max_edits(token)
        if not limit or len(token) > _MAX_TOKEN:
            return []
        rests = sorted({token} | {token[:at] + token[at + 1 :] for at in range(len(token))})
        found = self.query(
            "SELECT word FROM slip WHERE rest = ANY(%s)"
            " UNION SELECT word FROM word WHERE word = ANY(%s) AND titles > 0",
            [rests, rests],
        )
        scored = sorted((OSA.distance(token, str(other)), str(other)) for (other,) in found)
        return [other for distance, other in scored if distance <= limit][:MAX_SIMILAR]


class _PostgresIndex(TokenIndex):
    def __init__(self, products: _PostgresProducts, counted: str, words: str, count: int) -> None:
        self._products = products
        self._counted = f"SELECT {counted} FROM word WHERE word = %s"  # noqa: S608 - of two columns
        self._ranked = _RANKED.format(column=words)
        self.count = count
        self._frequency = functools.lru_cache(maxsize=100_000)(self._query_frequency)

    def frequency(self, token: str) -> int:
        return self._frequency(token)

    def rows(self, weights: Mapping[str, float], limit: int) -> list[int]:
        tokens = query_tokens(weights)
        rarest: list[str] = []
        rows_read = 0
        for token in tokens:
            rows_read += self.frequency(token)
            if rarest and rows_read > _MAX_ROWS_READ:
                break
            rarest.append(token)
        weighed = [weights[token] for token in tokens]
        values = {"rare": rarest, "words": tokens, "weights": weighed, "limit": limit}
        return [int(row) for (row,) in self._products.query(self._ranked, values)] if rarest else []

    def _query_frequency(self, token: str) -> int:
        found = self._products.query(self._counted, [token])
        return int(found[0][0]) if found else 0


def _connect(address: str) -> psycopg.Connection:
    import psycopg

    return psycopg.connect(address, autocommit=True, connect_timeout=10)


@contextlib.contextmanager
def _server_errors(address: str) -> Iterator[None]:
    """Raise the server's errors as CatalogueError, without the password in the address."""
    try:
        import psycopg
    except ImportError as error:
        raise CatalogueError(
            tr("A catalogue on a server needs psycopg."),
            tr("Run: {command}", command=install_command("scale")),
        ) from error
    shown = redact_address(address)
    try:
        yield
    except psycopg.OperationalError as error:
        raise CatalogueError(
            tr("Cannot connect to the catalogue at {address}.", address=shown),
            tr("Check that the server is running and accepts your user."),
        ) from error
    except psycopg.Error as error:
        kind = type(error).__name__
        raise CatalogueError(
            tr("Cannot use the catalogue at {address}: {error}.", address=shown, error=kind),
            _fill_remedy(address),
        ) from error


def _fill_remedy(address: str) -> str:
    return tr("Fill it: balcao index trn.json.gz --to {address}", address=redact_address(address))
