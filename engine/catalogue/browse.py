"""Browse a catalogue: its titles in their order, or those that match a few words."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from engine.catalogue.complete import Completer
from engine.catalogue.folding import STOP_WORDS, tokenise
from engine.catalogue.records import SqliteProducts
from engine.catalogue.search import TantivyIndex

MOST = 1_000
"""Matches that are found and counted; a longer text finds the others."""
_MIN_PREFIX = 3
"""Letters from which a word of a description is completed: two begin too many."""
_MAX_ENDINGS = 24


class Listing(Struct, frozen=True):
    """A page of products, by uid and title."""

    entries: tuple[tuple[str, str], ...] = ()
    next: int = 0
    """Where the next page starts, 0 after the last one."""
    count: int = 0
    """The number of matches, at most MOST; without a text that of all products."""


class Browser:
    """Page through an open index, without reading more of it. Safe to use from several threads."""

    def __init__(
        self, products: SqliteProducts, completer: Completer, bodies: TantivyIndex
    ) -> None:
        self._products, self._completer, self._bodies = products, completer, bodies

    def page(self, text: str, start: int, limit: int) -> Listing:
        """List products from `start`: those with all words of `text`, the last one unfinished.

        Matching titles come before matching descriptions.
        """
        rows = self._matching(text)
        if rows is None:
            found = self._products.listed_from(start, limit)
            more = found[-1][0] + 1 if len(found) == limit else 0
            return Listing(tuple(one[1:] for one in found), more, self._products.count())
        chosen = rows[start : start + limit]
        by_row = {row: (uid, title) for row, uid, title in self._products.listed(chosen)}
        more = start + limit if start + limit < len(rows) else 0
        entries = tuple(by_row[row] for row in chosen if row in by_row)
        return Listing(entries, more, len(rows))

    def _matching(self, text: str) -> list[int] | None:
        """Return the rows of the matches, best first; None if `text` has no word to search for."""
        in_titles = self._completer.matching(text, MOST)
        if in_titles is None:
            return None
        groups = list(self._body_groups(tokenise(text), unfinished=text[-1:].isalnum()))
        in_bodies = self._bodies.rows_with(groups, (), MOST) if groups else []
        return list(dict.fromkeys([*in_titles, *in_bodies]))[:MOST]

    def _body_groups(self, tokens: list[str], *, unfinished: bool) -> Iterable[list[str]]:
        last = len(tokens) - 1
        for place, token in enumerate(tokens):
            if place == last and unfinished and len(token) >= _MIN_PREFIX:
                yield self._bodies.starting_with(token, _MAX_ENDINGS) or [token]
            elif token not in STOP_WORDS:
                yield [token]
