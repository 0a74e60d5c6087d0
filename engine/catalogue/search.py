"""Candidates by their words: the index's titles and descriptions, and the neighbours of a typo."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rapidfuzz.distance import OSA

from engine.catalogue import records as layout
from engine.catalogue.folding import ASKING
from engine.core.errors import CatalogueError
from engine.core.i18n import tr

_SHORT = 5
"""Letters up to which another word is one slip away so often that only a rare word is a slip."""
_TWO_SLIPS = 5
_RARER = 4
"""A slip of a short word is at least this many times rarer than what was meant."""
_DOUBT = 2
"""Slips added for a short word that may as well be the word that was meant."""
_SLIP_COST = 0.98


@dataclass(frozen=True, slots=True)
class Match:
    """A title against a question.

    `of_question` and `of_title` are the shares (0..1) of their weight that found a partner in the
    other; rare words weigh more, and words of asking that found none do not count. `words` is the
    share of the title's words by number. `extra` counts the question's own words that the title
    lacks, `missing` the title's words that the question lacks, `own` the question's own words that
    found a partner, `slips` the letters changed.
    """

    of_question: float
    of_title: float
    words: float
    extra: int
    missing: int
    own: int
    slips: int

    @property
    def score(self) -> float:
        """One number to rank by, 0..1: both shares count, a slip costs a little."""
        if not self.of_question or not self.of_title:
            return 0.0
        both = 2 * self.of_question * self.of_title / (self.of_question + self.of_title)
        return float(both * _SLIP_COST**self.slips)


def match(
    asked: Sequence[str],
    title: Sequence[str],
    weights: Mapping[str, float],
    frequency: Callable[[str], int],
) -> Match:
    """Pair each word of `title` with one of `asked`: equal ones, then near ones, then split ones.

    `weights` has every word of both; `frequency` tells in how many titles a word is.
    """
    left = list(asked)
    missing: list[str] = []
    for word in title:
        if word in left:
            left.remove(word)
        else:
            missing.append(word)
    slips = 0
    if missing and left:
        slips = _pair_near(left, missing, frequency) + _pair_split(left, missing)
    return _measured(asked, title, left, missing, weights, slips)


def _measured(
    asked: Sequence[str],
    title: Sequence[str],
    left: list[str],
    missing: list[str],
    weights: Mapping[str, float],
    slips: int,
) -> Match:
    extra = [word for word in left if word not in ASKING]
    idle = sum(weights[word] for word in left if word in ASKING)
    lost = sum(weights[word] for word in extra)
    absent = sum(weights[word] for word in missing)
    total = sum(weights[word] for word in asked) - idle
    whole = sum(weights[word] for word in title)
    return Match(
        of_question=(total - lost) / total if total else 0.0,
        of_title=(whole - absent) / whole if whole else 0.0,
        words=1 - len(missing) / len(title) if title else 0.0,
        extra=len(extra),
        missing=len(missing),
        own=len([word for word in asked if word not in ASKING]) - len(extra),
        slips=slips,
    )


def slips_allowed(word: str) -> int:
    """How many letters of `word` may differ before it is another word."""
    if not word.isalpha() or len(word) <= 2:  # noqa: PLR2004 - "in", "on", "de"
        return 0
    return 2 if len(word) >= _TWO_SLIPS else 1


def _pair_near(left: list[str], missing: list[str], frequency: Callable[[str], int]) -> int:
    """Take near pairs out of both lists; returns the letters changed."""
    slips = 0
    for word in list(missing):
        found, distance = _nearest(word, left, frequency)
        if found:
            left.remove(found)
            missing.remove(word)
            slips += distance
    return slips


def _nearest(word: str, among: list[str], frequency: Callable[[str], int]) -> tuple[str, int]:
    best = ""
    distance = slips_allowed(word) + 1
    for other in among:
        if abs(len(other) - len(word)) >= distance or not other.isalpha():
            continue
        found = OSA.distance(word, other, score_cutoff=distance - 1)
        if found < distance and (found == 1 or _is_slip(other, word, frequency)):
            best, distance = other, found
    doubt = 0 if not best or _is_slip(best, word, frequency) else _DOUBT
    return best, distance + doubt


def _is_slip(typed: str, meant: str, frequency: Callable[[str], int]) -> bool:
    if min(len(typed), len(meant)) > _SHORT:
        return True
    return frequency(typed) * _RARER <= frequency(meant)


def _pair_split(left: list[str], missing: list[str]) -> int:
    """Take out what is one word here and two there ("bestselling", "best selling")."""
    slips = 0
    for one, two in ((left, missing), (missing, left)):
        for first, second in zip(list(two), list(two)[1:], strict=False):
            if first + second in one and first in two and second in two:
                one.remove(first + second)
                two.remove(first)
                two.remove(second)
                slips += 1
    return slips


_NEIGHBOURS = 12
_MOST_WORDS = 24
"""Words of a question that are searched by, the rarest first."""


class Words:
    """One tantivy index, opened to read."""

    def __init__(self, folder: Path) -> None:
        import tantivy

        self._tantivy = tantivy
        try:
            self._index = layout.with_tokeniser(tantivy.Index.open(str(folder)))
        except (ValueError, OSError) as error:
            raise CatalogueError(
                tr("{folder} cannot be opened: {error}.", folder=folder, error=error)
            ) from error
        self._schema = self._index.schema
        self._searcher = self._index.searcher()
        self.count = int(self._searcher.num_docs)

    def weights(self, asked: Iterable[str]) -> dict[str, float]:
        """How much each word tells: the logarithm of how rare it is; a word unknown tells most."""
        return {word: math.log(1 + self.count / (1 + self.frequency(word))) for word in set(asked)}

    def frequency(self, word: str) -> int:
        """In how many products the word is."""
        return int(self._searcher.doc_freq("words", word))

    def rows(self, weights: Mapping[str, float], limit: int) -> list[int]:
        """The rows that fit these words best, by BM25."""
        rarest = sorted(weights, key=lambda word: weights[word], reverse=True)[:_MOST_WORDS]
        term = self._tantivy.Query.term_query
        return self._rows(
            [term(self._schema, "words", word, index_option="freq") for word in rarest], limit
        )

    def beginning_with(self, letters: str, limit: int) -> list[str]:
        """The commonest words that begin so."""
        found = self._searcher.terms_with_prefix("words", letters, limit=limit)
        return [str(word) for word, _ in found]

    def rows_with(
        self, groups: Sequence[Sequence[str]], wished: Iterable[str], limit: int
    ) -> list[int]:
        """The rows with a word of every group, or else of some; better with the `wished` ones."""
        term, occur = self._tantivy.Query.term_query, self._tantivy.Occur
        any_of = self._tantivy.Query.disjunction_max_query
        asked = [
            any_of([term(self._schema, "words", word, index_option="freq") for word in group])
            for group in groups
        ]
        liked = [term(self._schema, "words", word, index_option="freq") for word in wished]
        query = self._tantivy.Query.boolean_query(
            [*((occur.Must, one) for one in asked), *((occur.Should, one) for one in liked)]
        )
        return self._found(query, limit) or self._rows(asked, limit)

    def _rows(self, terms: list[Any], limit: int) -> list[int]:
        if not terms:
            return []
        should = self._tantivy.Occur.Should
        query = self._tantivy.Query.boolean_query([(should, term) for term in terms])
        return self._found(query, limit)

    def _found(self, query: Any, limit: int) -> list[int]:  # noqa: ANN401 - tantivy is imported late
        hits = self._searcher.search(query, limit, count=False).hits
        return [
            int(row)
            for row in self._searcher.fast_field_values("row", [place for _, place in hits])
        ]


class Vocabulary:
    """Every word of the titles, to find what a mistyped one may have been."""

    def __init__(self, folder: Path) -> None:
        import tantivy

        self._query = tantivy.Query
        try:
            index = tantivy.Index.open(str(folder))
        except (ValueError, OSError) as error:
            raise CatalogueError(
                tr("{folder} cannot be opened: {error}.", folder=folder, error=error)
            ) from error
        self._schema = index.schema
        self._searcher = index.searcher()

    def near(self, word: str) -> list[str]:
        """Known words that differ from `word` by a slip or two, the nearest first."""
        for distance in range(1, slips_allowed(word) + 1):
            query = self._query.fuzzy_term_query(self._schema, "word", word, distance=distance)
            hits = self._searcher.search(query, _NEIGHBOURS, count=False).hits
            if hits:
                return self._words(hits)
        return []

    def beginning_near(self, letters: str) -> list[str]:
        """Known words that begin almost so: one letter differs."""
        query = self._query.fuzzy_term_query(self._schema, "word", letters, distance=1, prefix=True)
        return self._words(self._searcher.search(query, _NEIGHBOURS, count=False).hits)

    def _words(self, hits: Iterable[tuple[object, Any]]) -> list[str]:
        return [str(self._searcher.doc(place)["word"][0]) for _, place in hits]
