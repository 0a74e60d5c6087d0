"""Rank the records that any content word of a question finds, in title or description."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from rapidfuzz.distance import OSA

from engine.catalogue.folding import STOP_WORDS, tokenise
from engine.catalogue.records import BODY_LIMIT
from engine.catalogue.search import TokenIndex
from engine.core.types import Product

_CANDIDATES = 60
"""Rows that each index proposes."""
_RAREST = 16
"""Words of a record by which similar ones are found."""
_SATURATION = 1.2
_LENGTH_SHARE = 0.5
_AVERAGE_LENGTH = 150
"""Tokens of a record."""
_TITLE_COUNT = 2
"""How often a word of a title counts, against one in a description."""
_COVERAGE = 0.5
"""Weight of the coverage against a BM25 score of 1 for the best record."""
_TITLE_COVERAGE = 0.25
_TOTAL = 1 + _COVERAGE + _TITLE_COVERAGE
_LEAST = 0.01
_FORM = 0.9
"""Weight of another form of a word, as its plural."""
_ENDING = 0.7
"""Weight of a known word that an unknown one begins."""
_TYPO = (1.0, 0.7, 0.4)
"""Weight of a known word that an unknown one may be a typo of, by the letters that differ."""
_SHORTEST_FORM = 4
_WEAK = frozenset(
    """
    kind kinds sort type types thing things stuff people person someone somebody everyone good great
    nice best better really very much many lot lots please suggest recommend recommendation
    suggestion suggestions gift present browse see let lets another other others only using use used
    who whose cant dont doesnt isnt not no new go going
    coisa coisas tipo tipos alguem pessoa pessoas bons boas melhor melhores muito muita muitos
    muitas sugere sugira recomenda recomende sugestao sugestoes presente ver outro outra outros
    outras so apenas usar nao novo nova todos todas tudo liste lista listar tenha aquele aquela
    """.split()  # noqa: SIM905 - as STOP_WORDS
)
"""Words that say nothing about a product unless a question has no others."""
_KINDS = frozenset({"book", "books", "livro", "livros"})
"""Stop words of titles that can be all that a question asks for: "list your books"."""
_POINTERS = frozenset("this that it these those este esta esse essa isso isto ele ela".split())  # noqa: SIM905


class ProductStore(Protocol):
    """Products by row, by uid and by the key of the whole title."""

    def by_row(self, rows: Sequence[int]) -> dict[int, Product]:
        """Return the products of `rows`, without the deleted ones."""

    def by_uid(self, uids: Sequence[str]) -> list[Product]:
        """Return the products with these uids."""

    def rows_by_key(self, keys: Sequence[int], limit: int) -> list[tuple[int, int, str]]:
        """Return key, row and title of products with one of these title keys, lowest row first."""

    def titles(self, rows: Sequence[int]) -> dict[int, str]:
        """Return the titles of `rows`."""


@dataclass(frozen=True, slots=True)
class Ranked:
    """A record and how well it matches a question; all figures but `words` are 0 to 1.

    `coverage` and `title_coverage` are the shares of the weight of the question's words that the
    record and its title contain.
    """

    row: int
    product: Product
    words: float
    """BM25 score."""
    coverage: float
    title_coverage: float
    score: float = 0.0


@dataclass(frozen=True, slots=True)
class _Group:
    """A word of the question, its weight, and the words that match it, with their shares of it."""

    weight: float
    words: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Ranker:
    """Rank records over an open index. Safe to use from several threads if its parts are."""

    products: ProductStore
    titles: TokenIndex
    bodies: TokenIndex
    similar: Callable[[str], list[str]]
    """Return known tokens within the edit limit of a token, the most similar first."""
    endings: Callable[[str], list[str]]
    """Return known tokens that start with a token, the most frequent first."""

    def rank(self, words: Sequence[str], rows: Iterable[int] = ()) -> list[Ranked]:
        """Rank the records that `words` find, and those of `rows`, best first."""
        groups = [self._group(word) for word in words]
        wanted = [group.words for group in groups]
        in_titles = self.titles.search(wanted, _CANDIDATES)
        in_bodies = self.bodies.search(wanted, _CANDIDATES)
        found = self.products.by_row(list(dict.fromkeys((*rows, *in_titles, *in_bodies))))
        return _ordered([self._score(row, product, groups) for row, product in found.items()])

    def rarest(self, tokens: Sequence[str]) -> list[str]:
        """Return the rarest content words that more than one record has."""
        shared = [word for word in content_of(tokens) if self._frequency(word) > 1]
        return sorted(shared, key=self._frequency)[:_RAREST]

    def _group(self, word: str) -> _Group:
        words = {form: _FORM for form in word_forms(word) if self._frequency(form)}
        if not words and not self._frequency(word):
            words = dict.fromkeys(self.endings(word), _ENDING)
        if not words and not self._frequency(word):
            words = {known: _TYPO[OSA.distance(word, known)] for known in self.similar(word)}
        return _Group(self._weight(word), {word: 1.0} | words)

    def _score(self, row: int, product: Product, groups: Sequence[_Group]) -> Ranked:
        title, body = tokenise(product.title), tokenise(product.description[:BODY_LIMIT])
        counts, in_title = Counter(body + title * _TITLE_COUNT), set(title)
        length = len(title) + len(body)
        norm = _SATURATION * (1 - _LENGTH_SHARE + _LENGTH_SHARE * length / _AVERAGE_LENGTH)
        total = sum(group.weight for group in groups)
        words = covered = titled = 0.0
        for group in groups:
            best = shared = named = 0.0
            for word, share in group.words.items():
                if count := counts[word]:
                    frequent = count * (_SATURATION + 1) / (count + norm)
                    best = max(best, share * self._weight(word) * frequent)
                    shared = max(shared, share)
                    named = max(named, share if word in in_title else 0.0)
            words += best
            covered += group.weight * shared
            titled += group.weight * named
        return Ranked(row, product, words, covered / total, titled / total)

    def _weight(self, word: str) -> float:
        return math.log(1 + self.titles.count / (1 + self._frequency(word)))

    def _frequency(self, word: str) -> int:
        return max(self.titles.frequency(word), self.bodies.frequency(word))


def content_of(tokens: Sequence[str]) -> list[str]:
    """Return the words of a question that say something about a product, each once."""
    words = [token for token in dict.fromkeys(tokens) if token not in STOP_WORDS]
    strong = [word for word in words if word not in _WEAK]
    if strong or _POINTERS & set(tokens):
        return strong
    return words or [token for token in dict.fromkeys(tokens) if token in _KINDS]


def _ordered(scored: list[Ranked]) -> list[Ranked]:
    top = max((one.words for one in scored), default=0.0) or 1.0
    ordered = [replace(one, score=_points(one, top) / _TOTAL) for one in scored]
    return sorted(ordered, key=lambda one: one.score, reverse=True)


def _points(one: Ranked, top: float) -> float:
    shares = _COVERAGE * one.coverage + _TITLE_COVERAGE * one.title_coverage
    return max(one.words / top + shares, _LEAST)


def word_forms(word: str) -> list[str]:
    """Return what may be the singular or plural of a word, or its form without "ing"."""
    if len(word) < _SHORTEST_FORM or not word.isalpha():
        return []
    if word.endswith("ies"):
        return [f"{word[:-3]}y", word[:-1]]
    if word.endswith("ing"):
        return [word[:-3], f"{word[:-3]}e", f"{word[:-3]}s"]
    if word.endswith("s"):
        return [word[:-1], word[:-2]] if word.endswith("es") else [word[:-1]]
    return [f"{word}s", f"{word}es", *([f"{word[:-1]}ies"] if word.endswith("y") else [])]
