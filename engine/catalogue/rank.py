"""Rank the records that any content word of a question finds, in title or description."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Protocol

from rapidfuzz.distance import OSA

from engine.catalogue.folding import STOP_WORDS, tokenise
from engine.catalogue.records import BODY_LIMIT
from engine.catalogue.search import TokenIndex
from engine.core.types import Product

_CANDIDATES = 60
"""Rows that each index proposes, and the vectors."""
_RAREST = 16
"""Words of a record by which similar ones are found."""
_MOST_WORDS = 60
"""Words of a text of which the rarest are looked up."""
_SATURATION = 1.2
_LENGTH_SHARE = 0.5
_AVERAGE_LENGTH = 150
"""Tokens of a record."""
_TITLE_COUNT = 2
"""How often a word of a title counts, against one in a description."""
_COVERAGE = 0.5
"""Weight of the coverage against a BM25 score of 1 for the best record."""
_TITLE_COVERAGE = 0.25
_COSINE = 4.0
_SENTENCE = 3.0
"""Weight of the likeness of a record's sentence."""
_READ = 8
"""Records of which the sentences are compared with the question."""
_LEAST = 0.01
_CACHED = 512
"""Records whose words are kept: a question is ranked by words, and then by meaning."""
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


class MeaningIndex(Protocol):
    """The vectors of an index."""

    def candidates(self, vector: Any, limit: int) -> list[tuple[int, float]]:  # noqa: ANN401 - of numpy
        """Return the rows nearest to a question's vector with their cosines, best first."""

    def cosines(self, vector: Any, rows: Sequence[int]) -> dict[int, float]:  # noqa: ANN401
        """Return the cosines of a question's vector and the records in `rows`."""

    def prepare(self, words: Iterable[str]) -> None:
        """Encode words together before asking for the neighbours of each."""

    def neighbours(self, word: str) -> list[tuple[str, float]]:
        """Return words of the records near `word` of any language, weighted by likeness."""


class ProductStore(Protocol):
    """Products by row, by uid and by the key of the whole title."""

    def by_row(self, rows: Sequence[int]) -> dict[int, Product]:
        """Return the products of `rows`, without the deleted ones."""

    def by_uid(self, uids: Sequence[str]) -> list[Product]:
        """Return the products with these uids."""

    def editions(self, uids: Sequence[str]) -> Mapping[str, Sequence[Product]]:
        """Return the products of the family of each uid, itself among them, if it has one."""
        del uids
        return {}

    def families(self, rows: Sequence[int]) -> Mapping[int, int]:
        """Return the first row of the family of each of `rows` that has one."""
        del rows
        return {}

    def rows_by_key(self, keys: Sequence[int], limit: int) -> list[tuple[int, int, str]]:
        """Return key, row and title of products with one of these title keys, lowest row first."""

    def titles(self, rows: Sequence[int]) -> dict[int, str]:
        """Return the titles of `rows`."""


@dataclass(frozen=True, slots=True)
class Ranked:
    """A record and how well it matches a question; shares, cosine and score are 0 to 1.

    `coverage` and `title_coverage` are the shares of the weight of the question's words that the
    record and its title contain.
    """

    row: int
    product: Product
    words: float
    """BM25 score."""
    coverage: float
    title_coverage: float
    cosine: float
    """Of the vectors of record and question; 0 without vectors."""
    points: float = 0.0
    """The weighted sum of the figures, by which records are ordered."""
    score: float = 0.0
    """The points as a share of the highest possible."""


@dataclass(frozen=True, slots=True)
class _Group:
    """A word of the question, its weight, and the words that match it.

    `words` has their shares of a match, `points` these by their own weights.
    """

    weight: float
    words: Mapping[str, float]
    points: Mapping[str, float]


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
    meaning: Callable[[], MeaningIndex | None] = lambda: None
    """Open the vectors, once; None without vectors."""

    def rank(
        self, words: Sequence[str], rows: Iterable[int] = (), question: str = ""
    ) -> list[Ranked]:
        """Rank the records that `words` find, and those of `rows`, best first.

        With `question`, those that are near it by meaning too, if the index has vectors.
        """
        meaning = self.meaning() if question else None
        if meaning:
            meaning.prepare(words)
        groups = [self._group(word, meaning) for word in words]
        wanted = [group.words for group in groups]
        in_titles = self.titles.search(wanted, _CANDIDATES)
        in_bodies = self.bodies.search(wanted, _CANDIDATES)
        found = list(dict.fromkeys((*rows, *in_titles, *in_bodies)))
        cosines = _cosines(meaning, question, found) if meaning else dict.fromkeys(found, 0.0)
        products = self.products.by_row(list(cosines))
        scored = [self._score(products[row], groups, row, cosines[row]) for row in products]
        ranked = _ordered(scored)
        return _by_sentences(ranked, question) if meaning else ranked

    def rarest(self, tokens: Sequence[str]) -> list[str]:
        """Return the rarest content words that more than one record has."""
        shared = [word for word in content_of(tokens) if self._frequency(word) > 1]
        return sorted(shared, key=self._frequency)[:_RAREST]

    def described(self, text: str, limit: int) -> list[Product]:
        """Return the products whose descriptions have most of the rarest words of `text`."""
        words = content_of(tokenise(text[:BODY_LIMIT]))[:_MOST_WORDS]
        known = [word for word in words if self.bodies.frequency(word)]
        rarest = sorted(known, key=self.bodies.frequency)[:_RAREST]
        rows = self.bodies.rows(self.bodies.weights(rarest), limit)
        products = self.products.by_row(rows)
        return [products[row] for row in rows if row in products]

    def _group(self, word: str, meaning: MeaningIndex | None) -> _Group:
        near = dict(meaning.neighbours(word)) if meaning else {}
        # An unknown word with neighbours is of another language rather than misspelt.
        is_foreign = bool(near) and not self._frequency(word)
        words = near | ({} if is_foreign else self._known(word)) | {word: 1.0}
        points = {other: share * self._weight(other) for other, share in words.items()}
        return _Group(self._weight(word), words, points)

    def _known(self, word: str) -> dict[str, float]:
        """Find other forms of a word; of an unknown one, those that it begins or misspells."""
        forms = {form: _FORM for form in word_forms(word) if self._frequency(form)}
        if forms or self._frequency(word):
            return forms
        if endings := self.endings(word):
            return dict.fromkeys(endings, _ENDING)
        return {known: _TYPO[OSA.distance(word, known)] for known in self.similar(word)}

    def _score(self, product: Product, groups: Sequence[_Group], row: int, cosine: float) -> Ranked:
        counts, in_title, length = _count(product.title, product.description[:BODY_LIMIT])
        norm = _SATURATION * (1 - _LENGTH_SHARE + _LENGTH_SHARE * length / _AVERAGE_LENGTH)
        total = sum(group.weight for group in groups)
        words = covered = titled = 0.0
        for group in groups:
            best = shared = named = 0.0
            for word in group.words.keys() & counts.keys():
                count, share = counts[word], group.words[word]
                frequent = count * (_SATURATION + 1) / (count + norm)
                best = max(best, group.points[word] * frequent)
                shared = max(shared, share)
                named = max(named, share if word in in_title else 0.0)
            words += best
            covered += group.weight * shared
            titled += group.weight * named
        return Ranked(row, product, words, covered / total, titled / total, cosine)

    def _weight(self, word: str) -> float:
        return math.log(1 + self.titles.count / (1 + self._frequency(word)))

    def _frequency(self, word: str) -> int:
        return max(self.titles.frequency(word), self.bodies.frequency(word))


@lru_cache(_CACHED)
def _count(title: str, description: str) -> tuple[Mapping[str, int], frozenset[str], int]:
    """Count the words of a record, and list those of its title."""
    named, body = tokenise(title), tokenise(description)
    return Counter(body + named * _TITLE_COUNT), frozenset(named), len(named) + len(body)


def content_of(tokens: Sequence[str]) -> list[str]:
    """Return the words of a question that say something about a product, each once."""
    words = [token for token in dict.fromkeys(tokens) if token not in STOP_WORDS]
    strong = [word for word in words if word not in _WEAK]
    if strong or _POINTERS & set(tokens):
        return strong
    return words or [token for token in dict.fromkeys(tokens) if token in _KINDS]


def _cosines(meaning: MeaningIndex, question: str, rows: Sequence[int]) -> dict[int, float]:
    """Compare `rows`, and those nearest, with a question by meaning."""
    from engine.catalogue.vectors.encoder import shared_encoder

    vector = shared_encoder().encode([question])[0]
    nearest = dict(meaning.candidates(vector, _CANDIDATES))
    others = meaning.cosines(vector, [row for row in rows if row not in nearest])
    return {row: max(cosine, 0.0) for row, cosine in (nearest | others).items()}


def _ordered(scored: list[Ranked]) -> list[Ranked]:
    top = max((one.words for one in scored), default=0.0) or 1.0
    highest = 1 + _COVERAGE + _TITLE_COVERAGE + _COSINE * any(one.cosine for one in scored)
    pointed = [(one, _points(one, top)) for one in scored]
    ordered = [replace(one, points=points, score=points / highest) for one, points in pointed]
    return sorted(ordered, key=lambda one: one.points, reverse=True)


def _by_sentences(ranked: list[Ranked], question: str) -> list[Ranked]:
    """Order the first records by their sentence most like the question, too.

    A record's own vector is a bag of all its words, in which one sentence counts little. The points
    stay: a first record that has fewer than the next is less surely the one that is meant.
    """
    from engine.catalogue.vectors.sentences import likeness

    first = ranked[:_READ]
    alike = likeness(question, [one.product for one in first])
    places = sorted(
        range(len(first)),
        key=lambda place: first[place].points + _SENTENCE * alike[place],
        reverse=True,
    )
    scores = [one.score for one in first]  # they fall from one to the next, as before
    reordered = zip((first[place] for place in places), scores, strict=True)
    return [*(replace(one, score=score) for one, score in reordered), *ranked[_READ:]]


def _points(one: Ranked, top: float) -> float:
    shares = _COVERAGE * one.coverage + _TITLE_COVERAGE * one.title_coverage
    return max(one.words / top + shares + _COSINE * one.cosine, _LEAST)


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
