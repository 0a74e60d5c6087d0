"""Complete what is being typed to a title, by its tokens and the beginning of the last one.

Each completion takes a few searches of the title index, so that it can follow every keystroke.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from rapidfuzz.distance import OSA

from engine.catalogue.folding import STOP_WORDS, count_stop_words, tokenise
from engine.catalogue.search import TantivyIndex, TantivyVocabulary, TokenIndex, index_titles
from engine.core.types import Completion

_MIN_LETTERS = 3
"""Fewer could become almost any title."""
_MIN_PREFIX = 2
"""A single letter starts a tenth of a large vocabulary, which takes 100 ms to walk."""
_MIN_TYPO = 4
"""Letters of a token from which typos are corrected."""
_TWO_EDITS_FROM = 8
"""Letters of a token from which two may differ."""
_MAX_TOKENS = 12
_MAX_ENDINGS = 24
_MAX_CANDIDATES = 60
_MAX_TITLE = 200
"""Characters of a title that is suggested."""


@dataclass(frozen=True, slots=True)
class _Input:
    """The text typed so far, tokenised, with the position of each token.

    `stop_words` counts those at the beginning, `title` has the tokens after them, and `unfinished`
    says that the last token may continue.
    """

    tokens: tuple[str, ...]
    positions: tuple[int, ...]
    stop_words: int
    title: tuple[str, ...]
    unfinished: bool


class Completer:
    """Complete titles over an open index. Safe to use from several threads."""

    def __init__(
        self,
        titles: TantivyIndex,
        vocabulary: TantivyVocabulary,
        find_titles: Callable[[Sequence[int]], Mapping[int, str]],
        bodies: TokenIndex | None = None,
    ) -> None:
        """Complete `titles`; a word of `bodies` is no typo."""
        self.titles, self._bodies = titles, bodies
        # Two letters of a large vocabulary take 10 ms, and start a word in every title.
        self._starting_with = lru_cache(maxsize=1000)(titles.starting_with)
        self.vocabulary = vocabulary
        self._find_titles = find_titles

    def complete(self, text: str, limit: int) -> tuple[Completion, ...]:
        """Return at most `limit` titles that `text` may become, the likeliest first."""
        typed = _parse(text)
        found = self._find(typed).items()
        short = [(tokens, title) for tokens, (_, title) in found if len(title) <= _MAX_TITLE]
        return tuple(
            Completion(_start(tokens, typed, len(text)), title) for tokens, title in short[:limit]
        )

    def rows(self, text: str, limit: int) -> list[int]:
        """Return the rows of the titles that `complete` returns, and then of longer ones."""
        found = sorted(self._find(_parse(text)).values(), key=lambda one: len(one[1]) > _MAX_TITLE)
        return [row for row, _ in found[:limit]]

    def matching(self, text: str, limit: int) -> list[int] | None:
        """Return the rows of titles with all words of `text`; None if it has none to search for."""
        typed = _parse(text)
        groups = self._groups(typed) if typed.title else []
        return self.titles.rows_with(groups, (), limit) if groups else None

    def starting_with(self, prefix: str) -> list[str]:
        """Return the most frequent tokens that start with `prefix`, which must not be too short."""
        return self._starting_with(prefix, _MAX_ENDINGS) if len(prefix) >= _MIN_PREFIX else []

    def _find(self, typed: _Input) -> dict[tuple[str, ...], tuple[int, str]]:
        """Find titles by their tokens, with the first row of each, the likeliest first."""
        title = typed.title
        if not title or len(title) > _MAX_TOKENS or sum(map(len, title)) < _MIN_LETTERS:
            return {}
        groups = self._groups(typed)
        optional = typed.tokens[max(typed.stop_words - 2, 0) : typed.stop_words]
        rows = self.titles.rows_with(groups, optional, _MAX_CANDIDATES) if groups else []
        found: dict[tuple[str, ...], tuple[int, str]] = {}
        for row, candidate in self._find_titles(rows).items():
            tokens = tuple(tokenise(candidate))
            is_complete = typed.tokens[-len(tokens) :] == tokens
            if not is_complete:
                found.setdefault(tokens, (row, candidate))
        return dict(sorted(found.items(), key=lambda one: _rank(one[0], typed)))

    def _groups(self, typed: _Input) -> list[list[str]]:
        """List, for each token typed, the tokens of titles that it may mean."""
        title = typed.title
        whole, last = (title[:-1], title[-1]) if typed.unfinished else (title, "")
        groups = [self._corrections(token) for token in whole if token not in STOP_WORDS]
        if len(last) >= _MIN_PREFIX:
            groups.append(self._endings(last))
        return groups

    def _corrections(self, token: str) -> list[str]:
        in_body = self._bodies.frequency(token) if self._bodies else 0
        if in_body or self.titles.frequency(token) or len(token) < _MIN_TYPO:
            return [token]
        most = 1 if len(token) < _TWO_EDITS_FROM else 2
        found = self.vocabulary.similar(token)
        return [known for known in found if OSA.distance(token, known) <= most] or [token]

    def _endings(self, prefix: str) -> list[str]:
        known = self.starting_with(prefix)
        if known or len(prefix) < _MIN_TYPO:
            return known or [prefix]
        similar = self.vocabulary.starting_similar(prefix)
        return sorted(similar, key=self.titles.frequency, reverse=True) or [prefix]


@lru_cache(maxsize=1)
def completer_of(titles: tuple[str, ...]) -> Completer:
    """Return a Completer of these titles alone."""
    return Completer(*index_titles(titles), lambda rows: {row: titles[row] for row in rows})


def _parse(text: str) -> _Input:
    tokens: list[str] = []
    positions: list[int] = []
    position = 0
    for word in text.split():
        position = text.index(word, position)
        found = tokenise(word)
        tokens += found
        positions += [position] * len(found)
        position += len(word)
    unfinished = bool(tokens) and text[-1:].isalnum()
    stop_words = count_stop_words(tokens)
    return _Input(
        tuple(tokens), tuple(positions), stop_words, tuple(tokens[stop_words:]), unfinished
    )


def _rank(title: Sequence[str], typed: _Input) -> tuple[int, int, bool, int]:
    """Rank a title, lowest first: by tokens missing, where they are, a whole last one, length."""
    last = len(typed.title) - 1 if typed.unfinished else -1
    missing = sum(
        not any(token.startswith(wanted) if place == last else token == wanted for token in title)
        for place, wanted in enumerate(typed.title)
    )
    joined, typed_title = " ".join(title), " ".join(typed.title)
    if joined.startswith((typed_title, " ".join(typed.tokens))):
        place = 0
    elif f" {typed_title}" in joined:
        place = 1
    else:
        place = 2
    return missing, place, typed.title[-1] not in title, len(joined)


def _start(title: Sequence[str], typed: _Input, end: int) -> int:
    """Return where the title starts in the text; stop words at its start ("the …") belong to it."""
    for number in range(typed.stop_words):
        leading = typed.tokens[number : typed.stop_words]
        if tuple(title[: len(leading)]) == leading:
            return typed.positions[number]
    return typed.positions[typed.stop_words] if typed.stop_words < len(typed.positions) else end
