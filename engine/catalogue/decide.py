"""From a question to exact, likely, several or none."""

from __future__ import annotations

import html
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from engine.catalogue.folding import (
    ASKING,
    COURTESY,
    inner_spans,
    key,
    names_pronouns,
    quoted,
    words,
)
from engine.catalogue.search import Match, match
from engine.core.types import Decision, Hit, Product, Status


@dataclass(frozen=True, slots=True)
class Thresholds:
    """All shares and scores are 0..1."""

    title_words: float = 0.5
    """Of a title's words by number, the share that a question must have to mean that title."""
    title_share: float = 0.35
    """The same by weight."""
    single_words: float = 0.6
    """The same by number where only one word of the question's own is in the title."""
    slipped_words: float = 0.6
    """The same by number where letters had to be changed."""
    rival: float = 0.6
    """A title that has all that was asked is a rival if it fits this much as well as the best."""
    slip_share: float = 0.34
    """The most letters changed, as a share of the question's own words' letters."""
    body_share: float = 0.6
    """Of a describing question's own words, the share by weight that a record must have."""
    body_likely: float = 0.85
    """The share from which one record alone may be meant."""
    body_lead: float = 0.2
    """How far the next record must be behind for that."""
    body_rival: float = 0.5
    """Records that have this much of what the best one has are listed with it."""
    named_share: float = 0.5
    """A question whose own words are a title's to this share, by weight, names a title."""
    body_words: int = 4
    """A describing question has at least this many words of its own."""
    nearest_score: float = 0.35
    """Titles below this are not even offered as nearest."""


DEFAULT = Thresholds()


class ProductStore(Protocol):
    """Products by row, by number, by the key of the whole title."""

    def by_row(self, rows: Sequence[int]) -> dict[int, Product]:
        """The products of these rows; a row that is gone is left out."""
        ...

    def by_uid(self, uids: Sequence[str]) -> list[Product]:
        """The products with these numbers."""
        ...

    def rows_by_key(self, keys: Sequence[int], limit: int) -> list[tuple[int, int, str]]:
        """(key, row, title) of the products whose title has one of these keys."""
        ...

    def titles(self, rows: Sequence[int]) -> dict[int, str]:
        """The titles of these rows."""
        ...


class WordIndex(Protocol):
    """Rows by the words that they hold."""

    def weights(self, asked: Iterable[str]) -> dict[str, float]:
        """How much each word tells; a rare one tells more."""
        ...

    def frequency(self, word: str) -> int:
        """In how many products the word is."""
        ...

    def rows(self, weights: Mapping[str, float], limit: int) -> list[int]:
        """The rows that fit these words best."""
        ...


class Neighbours(Protocol):
    """Known words near a mistyped one."""

    def near(self, word: str) -> list[str]:
        """Known words that differ from `word` by a slip or two, the nearest first."""
        ...


_LONGEST_QUESTION = 4_000
"""Characters: twice the longest title known."""
_MOST_HITS = 10
_MOST_NEAREST = 3
_SLIPS_A_WORD = 2
_CANDIDATES = 60
_MOST_SPANS = 90
_MAIN_WORDS = 2
"""A single word before a subtitle is too many products' to mean one."""
_SUBTITLE = re.compile(r":\s|\s[-–—]\s|\s?[(\[]")
_RARE = 3
"""A word in fewer titles than this may be a slip of the fingers for a commoner one."""
_UID = re.compile(r"[0-9A-Za-z_-]{6,20}")
_NONE = Decision(Status.NONE)


@dataclass(frozen=True, slots=True)
class _Candidate:
    row: int
    match: Match
    main: tuple[str, ...]
    """The words of the title before its subtitle, without words of asking."""


class Decider:
    """Holds the open index and the thresholds."""

    def __init__(
        self,
        records: ProductStore,
        titles: WordIndex,
        bodies: WordIndex,
        vocabulary: Neighbours,
        thresholds: Thresholds = DEFAULT,
    ) -> None:
        self._records = records
        self._titles = titles
        self._bodies = bodies
        self._vocabulary = vocabulary
        self._thresholds = thresholds

    def decide(self, question: str) -> Decision:
        """What the catalogue makes of `question`."""
        question = html.unescape(question[:_LONGEST_QUESTION]).strip()
        asked = words(question)
        if tuple(asked) in COURTESY:
            return _NONE
        exact = self._by_uid(question) or self._by_title(question, asked)
        if exact or not [word for word in asked if word not in ASKING]:
            return exact or _NONE
        return self._by_words(asked)

    def _by_uid(self, question: str) -> Decision | None:
        """A product asked for by number: all other words are words of asking."""
        tokens = _UID.findall(question)
        numbers = [token for token in tokens if any(char.isdigit() for char in token)]
        if len(numbers) != 1:
            return None
        rest = words(question.replace(numbers[0], " "))
        if any(word not in ASKING | {"uid", "number", "numero", "asin", "isbn"} for word in rest):
            return None
        found = self._records.by_uid([numbers[0], numbers[0].upper()])
        return Decision(Status.EXACT, (Hit(found[0], 1.0),)) if found else None

    def _by_title(self, question: str, asked: list[str]) -> Decision | None:
        """A whole title: the question, what it quotes, or what is left without words of asking."""
        inner = [
            span
            for span in itertools.islice(inner_spans(asked), _MOST_SPANS)
            # "who wrote it?" asks about the turn before, though a book be called "It".
            if not ASKING.issuperset(span) or names_pronouns(span, question)
        ]
        spans = [asked, *quoted(question), *inner]
        keys = [
            key(span, question if not asked else "")
            for span in spans
            if span or (not asked and question)
        ]
        found = self._records.rows_by_key(list(dict.fromkeys(keys)), 500) if keys else []
        by_key: dict[int, list[tuple[int, str]]] = {}
        for one_key, row, title in found:
            by_key.setdefault(one_key, []).append((row, title))
        for one_key in keys:
            if one_key in by_key:
                return self._named(by_key[one_key], question)
        return None

    def _named(self, rows: list[tuple[int, str]], question: str) -> Decision:
        """The products of one folded title; those written just as asked go before the others."""
        asked = question.casefold()
        literal = [(len(title), row) for row, title in rows if title.casefold() in asked]
        # "C" stands in "C++" too.
        longest = max((length for length, _ in literal), default=0)
        chosen = [row for length, row in literal if length == longest] or [row for row, _ in rows]
        hits = self._hits([(row, 1.0) for row in chosen[:_MOST_HITS]])
        if not hits:
            return _NONE
        return Decision(Status.EXACT if len(hits) == 1 else Status.SEVERAL, hits)

    def _by_words(self, asked: list[str]) -> Decision:
        own = [word for word in dict.fromkeys(asked) if word not in ASKING]
        ranked = self._ranked(asked, self._titles.rows(self._wanted(own), _CANDIDATES))
        meant = self._by_main_title(ranked, asked) or self._meant(ranked, own)
        if not meant and not _names_title(ranked, self._thresholds):
            meant = self._described(own)
        if meant:
            return meant
        limit = self._thresholds.nearest_score
        near = [
            (one.row, one.match.score)
            for one in ranked
            # A title that is near by changed letters alone is a guess.
            if one.match.score >= limit and one.match.own * _SLIPS_A_WORD > one.match.slips
        ]
        return Decision(Status.NONE, nearest=self._hits(near[:_MOST_NEAREST]))

    def _wanted(self, own: list[str]) -> dict[str, float]:
        """The words to look for: those asked, and those that a rare one may be a slip for."""
        wanted = list(own)
        for word in own:
            if self._titles.frequency(word) < _RARE:
                wanted.extend(self._vocabulary.near(word))
        return self._titles.weights(wanted)

    def _ranked(self, asked: list[str], rows: list[int]) -> list[_Candidate]:
        titles = self._records.titles(rows)
        folded = {row: words(title) for row, title in titles.items()}
        weights = self._titles.weights(itertools.chain(asked, *folded.values()))
        frequency = self._titles.frequency
        found = [
            _Candidate(row, match(asked, title, weights, frequency), _main(titles[row]))
            for row, title in folded.items()
        ]
        return sorted(found, key=lambda one: one.match.score, reverse=True)

    def _meant(self, ranked: list[_Candidate], own: list[str]) -> Decision | None:
        limits = self._thresholds
        most_slips = limits.slip_share * sum(map(len, own))
        fitting = [
            one for one in ranked if _fits(one.match, limits) and one.match.slips <= most_slips
        ]
        if not fitting:
            return None
        best = fitting[0].match
        near = [one for one in fitting if _rivals(best, one.match, limits)]
        hits = self._hits([(one.row, one.match.score) for one in near[:_MOST_HITS]])
        if not hits:
            return None
        return Decision(Status.LIKELY if len(hits) == 1 else Status.SEVERAL, hits)

    def _by_main_title(self, ranked: list[_Candidate], asked: list[str]) -> Decision | None:
        """Titles asked for without their subtitle ("City of Wells" for "City of Wells: A Year")."""
        main = tuple(word for word in asked if word not in ASKING)
        if len(main) < _MAIN_WORDS:
            return None
        named = [(one.row, one.match.score) for one in ranked if one.main == main]
        hits = self._hits(named[:_MOST_HITS])
        if not hits:
            return None
        return Decision(Status.LIKELY if len(hits) == 1 else Status.SEVERAL, hits)

    def _described(self, own: list[str]) -> Decision | None:
        """Products whose record has the words of a question that names no title."""
        limits = self._thresholds
        if len(own) < limits.body_words:
            return None
        weights = self._bodies.weights(own)
        products = self._records.by_row(self._bodies.rows(weights, _MOST_HITS))
        scored = sorted(
            (Hit(product, _told(product, weights)) for product in products.values()),
            key=lambda hit: hit.score,
            reverse=True,
        )
        fitting = tuple(hit for hit in scored if hit.score >= limits.body_share)
        if not fitting:
            return None
        behind = scored[1].score if len(scored) > 1 else 0.0
        if fitting[0].score >= limits.body_likely and fitting[0].score - behind >= limits.body_lead:
            return Decision(Status.LIKELY, fitting[:1])
        least = fitting[0].score * limits.body_rival
        listed = tuple(hit for hit in scored if hit.score >= least)
        return Decision(Status.SEVERAL, listed) if len(listed) > 1 else None

    def _hits(self, scored: list[tuple[int, float]]) -> tuple[Hit, ...]:
        products = self._records.by_row([row for row, _ in scored])
        return tuple(Hit(products[row], score) for row, score in scored if row in products)


def _main(title: str) -> tuple[str, ...]:
    head, *rest = _SUBTITLE.split(title, maxsplit=1)
    return tuple(word for word in words(head) if word not in ASKING) if rest else ()


def _fits(found: Match, limits: Thresholds) -> bool:
    """Whether the title has all that was asked, and enough of it was asked."""
    least = max(
        limits.title_words,
        limits.slipped_words if found.slips else 0.0,
        limits.single_words if found.own == 1 else 0.0,
    )
    return (
        not found.extra
        and found.own > 0
        and found.words >= least
        and found.of_title >= limits.title_share
    )


def _names_title(ranked: list[_Candidate], limits: Thresholds) -> bool:
    """Whether the question goes by a title, if not by one that is here; it describes nothing."""
    return any(
        one.match.of_question >= limits.named_share and one.match.words >= limits.title_words
        for one in ranked[:_MOST_NEAREST]
    )


def _rivals(best: Match, other: Match, limits: Thresholds) -> bool:
    """Whether a person who asked for `best` may as well have meant `other`."""
    if not best.missing:
        return not other.missing and other.slips <= best.slips
    return other.score >= best.score * limits.rival


def _told(product: Product, weights: dict[str, float]) -> float:
    """The share of the words, by weight, that the product's record has."""
    record = set(words(f"{product.title} {product.description}"))
    told = sum(weight for word, weight in weights.items() if word in record)
    return told / sum(weights.values())
