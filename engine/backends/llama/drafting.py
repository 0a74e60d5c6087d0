"""Draft the next tokens of an answer from the record that it probably repeats.

The model checks all tokens of a draft in one pass and keeps those that it would have written, so
that a draft changes the speed of an answer and not its words. Pure Python.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise

_FIRST, _MOST = 8, 32
"""Tokens of the first draft; each one that is accepted whole doubles the next."""

_WASTE = 16
"""Rejected tokens, besides as many as were accepted, after which an answer gets no more drafts."""


class Draft:
    """A record's tokens, and the place in them that the answer has reached.

    The first draft waits until the model itself has begun as the record does: an answer in other
    words costs nothing.
    """

    def __init__(self, record: Sequence[int] = ()) -> None:
        self._record = list(record)
        self._place, self._on = 0, True
        """Where the record goes on, and whether the answer has just followed it to there."""
        self._last: int | None = None
        """The last token of the answer."""
        self._after: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
        """The places after two tokens of the record."""
        for place, pair in enumerate(pairwise(record), 2):
            self._after[pair].append(place)
        self._size = _FIRST
        self.drafted = 0
        self.accepted = 0

    def propose(self, most: int) -> list[int]:
        """Return the tokens that probably come next, at most `most`; empty without a guess."""
        spent = self.drafted - 2 * self.accepted
        if self._last is None or not self._on or spent > _WASTE:
            return []
        return self._record[self._place : self._place + min(self._size, most)]

    def follow(self, token: int) -> None:
        """Note the next token of the answer."""
        last, self._last = self._last, token
        if self._on and self._record[self._place : self._place + 1] == [token]:
            self._place += 1
            return
        found = self._after.get((last, token), []) if last is not None else []
        self._on = bool(found)
        if found:
            self._place = found[bisect_left(found, self._place) % len(found)]

    def judge(self, drafted: int, accepted: int) -> None:
        """Note how many tokens of a draft the model accepted."""
        self.drafted += drafted
        self.accepted += accepted
        if drafted:
            self._size = min(2 * self._size, _MOST) if accepted == drafted else _FIRST // 2
