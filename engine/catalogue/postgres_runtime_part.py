"""Asks a catalogue on PostgreSQL; deciding is the same as over the embedded index."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rapidfuzz.distance import OSA

from engine.catalogue.decide import Decider
from engine.catalogue.matching_part import slips_allowed
from engine.catalogue.postgres_schema_runtime_part import SCHEMA, check, connect, told
from engine.core.errors import CatalogueError
from engine.core.i18n import tr
from engine.core.types import Completion, Decision, Product

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
