"""Titles for what is being typed: by the words so far and the beginning of the last, slips allowed.

Every look-up is a few searches of the index of titles, so that it can be made at every key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from engine.catalogue.folding import ASKING, words
from engine.catalogue.search import Vocabulary, Words
from engine.core.types import Completion

_LEAST_LETTERS = 3
"""Fewer could become almost any title."""
_LEAST_BEGINNING = 2
"""One letter begins a tenth of a large vocabulary: to walk it takes 100 ms."""
_MOST_WORDS = 12
_ENDINGS = 24
"""Words that the last one may become, the commonest first."""
_LEAST_MENDED = 4
"""Letters of a word from which a slip is looked for."""
_CANDIDATES = 60
_LONGEST = 200


class TitleStore(Protocol):
    """Where titles are read by row."""

    def titles(self, rows: Sequence[int]) -> dict[int, str]:
        """The titles of these rows."""
        ...


@dataclass(frozen=True, slots=True)
class _Typed:
    """What is typed: words with the places where they begin, the words of asking before a title.

    `asked` counts those; `beginning` says that the last word may go on.
    """

    words: tuple[str, ...]
    places: tuple[int, ...]
    asked: int
    beginning: bool


class Completer:
    """Completes over an open index. Safe to use from several threads."""

    def __init__(self, titles: Words, vocabulary: Vocabulary, store: TitleStore) -> None:
        self._titles = titles
        # Two letters of a large vocabulary take 10 ms, and begin a word in every title.
        self._beginning_with = lru_cache(maxsize=1000)(titles.beginning_with)
        self._vocabulary = vocabulary
        self._store = store

    def complete(self, typed: str, limit: int) -> tuple[Completion, ...]:
        """At most `limit` titles that `typed` may become, the likeliest first."""
        parts = _parts(typed)
        own = parts.words[parts.asked :]
        if not own or len(own) > _MOST_WORDS or sum(map(len, own)) < _LEAST_LETTERS:
            return ()
        groups = [group for group in self._groups(own, parts) if group]
        wished = parts.words[max(parts.asked - 2, 0) : parts.asked]
        rows = self._titles.rows_with(groups, wished, _CANDIDATES) if groups else []
        found: dict[tuple[str, ...], str] = {}
        for title in self._store.titles(rows).values():
            folded = tuple(words(title))
            is_there = parts.words[-len(folded) :] == folded
            if not is_there and len(title) <= _LONGEST:
                found.setdefault(folded, title)
        ranked = sorted(found, key=lambda folded: _rank(folded, own, parts))
        return tuple(
            Completion(_start(folded, parts, len(typed)), found[folded])
            for folded in ranked[:limit]
        )

    def _groups(self, own: Sequence[str], parts: _Typed) -> list[list[str]]:
        """For each word that is typed the words of titles that it may stand for."""
        whole, last = (own[:-1], own[-1]) if parts.beginning else (own, "")
        groups = [self._meant(word) for word in whole if word not in ASKING]
        if len(last) >= _LEAST_BEGINNING:
            groups.append(self._endings(last))
        return groups

    def _meant(self, word: str) -> list[str]:
        if self._titles.frequency(word) or len(word) < _LEAST_MENDED:
            return [word]
        return self._vocabulary.near(word) or [word]

    def _endings(self, beginning: str) -> list[str]:
        known = self._beginning_with(beginning, _ENDINGS)
        if known or len(beginning) < _LEAST_MENDED:
            return known or [beginning]
        near = self._vocabulary.beginning_near(beginning)
        return sorted(near, key=self._titles.frequency, reverse=True) or [beginning]


def _parts(typed: str) -> _Typed:
    found: list[str] = []
    places: list[int] = []
    at = 0
    for chunk in typed.split():
        at = typed.index(chunk, at)
        folded = words(chunk)
        found += folded
        places += [at] * len(folded)
        at += len(chunk)
    beginning = bool(found) and typed[-1:].isalnum()
    asked = 0
    while asked < len(found) and found[asked] in ASKING:
        asked += 1
    return _Typed(tuple(found), tuple(places), asked, beginning)


def _rank(folded: Sequence[str], own: Sequence[str], parts: _Typed) -> tuple[int, int, int]:
    """Less is better: words that are not there as typed, then where they stand, then the length."""
    missing = sum(
        not any(
            word.startswith(typed) if parts.beginning and place == len(own) - 1 else word == typed
            for word in folded
        )
        for place, typed in enumerate(own)
    )
    joined, typed_joined = " ".join(folded), " ".join(own)
    with_asked = " ".join(parts.words)
    if joined.startswith((typed_joined, with_asked)):
        stands = 0
    elif f" {typed_joined}" in joined:
        stands = 1
    else:
        stands = 2
    return missing, stands, len(joined)


def _start(folded: Sequence[str], parts: _Typed, end: int) -> int:
    """Where the title goes: words of asking that begin it ("the …") are part of it."""
    for place in range(parts.asked):
        typed = parts.words[place : parts.asked]
        if tuple(folded[: len(typed)]) == typed:
            return parts.places[place]
    return parts.places[parts.asked] if parts.asked < len(parts.places) else end
