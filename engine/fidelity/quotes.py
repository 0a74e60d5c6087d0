"""Find what an answer quotes of a record, and measure it in both directions.

A quote is a run of several words, some of which say something; between two quotes that follow each
other in the record, single words in their places count as well. Each word of the record is used
once, so that repeating it does not count. Case, punctuation and blanks are ignored. Sentences may
come in any order, but inside a sentence each leap over words of the record costs a word: it is what
shows a dropped "not" or words that have changed places.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from engine.fidelity.tokens import Tokens, split

_SHORTEST = 3
"""Words of a run."""
_CONTENT = 2
"""Words of a run that say something about a product."""
_KEY = 3
"""Words by which runs are looked up."""
_MAX_PLACES = 48
"""Places of the record that are tried for a run."""
_REACH = 4
"""Words beside a run that are compared in their places."""
_MAX_BEYOND = 8
"""Words after a quoted sentence that may begin another quote instead."""
_LEAST_SHARE, _LEAST_RUN = 0.5, 5
"""A smaller share without so long a run is a coincidence."""

PARTLY = 0.25
"""The share of an answer's words from which on it is partly the record's."""
_NOWHERE = -1


class Comparison(NamedTuple):
    """How an answer and a record compare; shares are 0 to 1.

    `precision` is the share of the answer's words that are quoted, `coverage` that of the record's.
    """

    precision: float
    coverage: float
    quoted: int
    """The number of the answer's words that are quoted."""
    whole: bool
    """The answer is all of the record, word for word."""


class Span(NamedTuple):
    """A part of an answer; `quoted` says that its words are the record's."""

    text: str
    quoted: bool


def compare(answer: str, record: str, *, cut: bool = False) -> Comparison | None:
    """Compare an answer with a record; None if either has no words.

    The last word of a `cut` answer may be the beginning of a word.
    """
    words, source = split(answer), split(record)
    if not words.words or not source.words:
        return None
    if words.words == source.words:
        return Comparison(1.0, 1.0, len(words.words), whole=True)
    places = _places(words, source, cut=cut)
    quoted = sum(_quoted(places, words, source))
    covered = len(places) - places.count(_NOWHERE)
    shares = quoted / len(words.words), covered / len(source.words)
    return Comparison(*shares, quoted, whole=False)


def is_whole(answer: str, record: str) -> bool:
    """Return whether an answer is all of a record, word for word."""
    words = split(answer).words
    return bool(words) and words == split(record).words


def spans(answer: str, record: str, *, cut: bool = False) -> list[Span]:
    """Split `answer` into parts whose words are quoted and parts of other words."""
    words, quoted = _marked(answer, record, cut=cut)
    if not quoted:
        return [Span(answer, quoted=False)] if answer else []
    starts = [0, *(start for start, _ in words.spans[1:]), len(answer)]
    joined: list[Span] = []
    for (start, end), is_quoted in zip(pairwise(starts), quoted, strict=True):
        if joined and joined[-1].quoted == is_quoted:
            joined[-1] = Span(joined[-1].text + answer[start:end], is_quoted)
        else:
            joined.append(Span(answer[start:end], is_quoted))
    return joined


def slips(answer: str, record: str, *, cut: bool = False) -> list[str]:
    """Return the parts of an answer that do not quote the record."""
    return [span.text.strip() for span in spans(answer, record, cut=cut) if not span.quoted]


def changed_sentences(answer: str, record: str, *, cut: bool = False) -> list[str]:
    """Return the sentences of `answer` that are not, word for word, the record's."""
    words, quoted = _marked(answer, record, cut=cut)
    starts = [at for at, ends in enumerate(words.follow_end) if ends or not at]
    return [
        answer[words.spans[first][0] : words.spans[last - 1][1]]
        for first, last in pairwise([*starts, len(quoted)])
        if not all(quoted[first:last])
    ]


def _marked(answer: str, record: str, *, cut: bool) -> tuple[Tokens, list[bool]]:
    words, source = split(answer), split(record)
    return words, _quoted(_places(words, source, cut=cut), words, source)


def _places(answer: Tokens, record: Tokens, *, cut: bool = False) -> list[int]:
    """Return where the record has each word of the answer, or _NOWHERE."""
    if cut and _is_beginning(answer.words, record.words):
        return list(range(len(answer.words)))
    places = _Runs(answer, record).find()
    _drop_coincidences(places)
    if cut and len(places) > 1:
        _accept_beginning(places, answer, record)
    return places


class _Runs:
    """The runs of an answer that a record has, the longest at each word."""

    def __init__(self, answer: Tokens, record: Tokens) -> None:
        self.answer, self.record = answer, record
        self.places = [_NOWHERE] * len(answer.words)
        self._used = bytearray(len(record.words))
        self._by_key: dict[tuple[str, ...], list[int]] = defaultdict(list)
        self._by_word: dict[str, list[int]] = defaultdict(list)
        words = record.words
        for place, key in enumerate(zip(words, words[1:], words[2:], strict=False)):
            self._by_key[key].append(place)
        for place, word in enumerate(words):
            self._by_word[word].append(place)

    def find(self) -> list[int]:
        """Return where the record has each word of a run, else _NOWHERE."""
        at = 0
        while at < len(self.places):
            place, length = self._longest(at)
            length = self._as_quote(at, place, length)
            if length:
                self._use(at, place, length)
            at += length or 1
        if any(place != _NOWHERE for place in self.places):
            self._find_short_sentences()
        for first, last in _gaps(self.places):
            self._fill(first, last)
        return self.places

    def _use(self, at: int, place: int, length: int) -> None:
        self.places[at : at + length] = range(place, place + length)
        self._used[place : place + length] = b"\1" * length

    def _longest(self, at: int) -> tuple[int, int]:
        best, longest = _NOWHERE, 0
        for place in self._candidates(at):
            length = self._length(at, place)
            if length > longest:
                best, longest = place, length
        return best, longest

    def _candidates(self, at: int) -> Sequence[int]:
        words = self.answer.words
        found = self._by_key.get(tuple(words[at : at + _KEY]))
        if not found and self.answer.starts[at]:
            found = self._by_word.get(words[at])
        return found[:_MAX_PLACES] if found else ()

    def _length(self, at: int, place: int) -> int:
        words, source = self.answer.words, self.record.words
        most, length = min(len(words) - at, len(source) - place), 0
        while length < most and words[at + length] == source[place + length]:
            if self._used[place + length]:
                break
            length += 1
        return length

    def _as_quote(self, at: int, place: int, length: int) -> int:
        """Return how many words of a run are a quote."""
        bounds = [one for one in range(length, 0, -1) if self._is_bound(at + one, place + one)]
        for bound in bounds:
            # "The" after a quoted sentence may begin another one, from elsewhere.
            beyond = length - bound
            if 0 < beyond <= _MAX_BEYOND and self._longest(at + bound)[1] > beyond:
                length = bound
        lengths = (length, *bounds[:1])
        return next((one for one in lengths if self._is_quote(at, place, one)), 0)

    def _is_bound(self, at: int, place: int) -> bool:
        return self.answer.starts[at] or self.record.starts[place]

    def _is_quote(self, at: int, place: int, length: int) -> bool:
        content = sum(map(self.answer.is_content, range(at, at + length)))
        if length >= _SHORTEST and content >= _CONTENT:
            return True
        starts, bounds = self.answer.starts, self.record.starts
        is_sentence, is_all = bounds[place] and bounds[place + length], length == len(self.places)
        if is_sentence and (is_all or (content and length > 1)):
            return True
        if not (content and starts[at] and starts[at + length]):
            return False
        return is_sentence or is_all or length == _KEY

    def _find_short_sentences(self) -> None:
        """Find whole sentences of the record that are too short to count on their own."""
        starts = [at for at, begins in enumerate(self.answer.starts) if begins]
        for first, last in pairwise(starts):
            if all(place == _NOWHERE for place in self.places[first:last]):
                self._find_sentence(first, last - first)

    def _find_sentence(self, at: int, length: int) -> None:
        bounds = self.record.starts
        for place in self._by_word.get(self.answer.words[at], ())[:_MAX_PLACES]:
            ends = bounds[place : place + length + 1]
            if self._length(at, place) >= length and ends[0] and ends[-1]:
                self._use(at, place, length)
                return

    def _fill(self, first: int, last: int) -> None:
        """Compare the words between two runs with those between these in the record."""
        left = self.places[first - 1] + 1 if first else 0
        right = self.places[last] if last < len(self.places) else len(self.record.words)
        if first and last < len(self.places) and 0 <= right - left <= last - first + _REACH:
            self._match(range(first, last), range(left, right))
            return
        if first:
            self._match(range(first, min(last, first + _REACH)), range(left, left + _REACH))
        if last < len(self.places):
            self._match(range(max(first, last - _REACH), last), range(right - _REACH, right))

    def _match(self, answer: range, record: range) -> None:
        from rapidfuzz.distance import LCSseq

        free = [at for at in answer if self.places[at] == _NOWHERE]
        unused = [at for at in record if 0 <= at < len(self._used) and not self._used[at]]
        steps = LCSseq.opcodes(
            [self.answer.words[at] for at in free], [self.record.words[at] for at in unused]
        )
        for step in steps:
            if step.tag == "equal":
                for at, place in zip(
                    free[step.src_start : step.src_end],
                    unused[step.dest_start : step.dest_end],
                    strict=True,
                ):
                    self._use(at, place, 1)


def _gaps(places: Sequence[int]) -> list[tuple[int, int]]:
    """Return the stretches of words that no run has, beside at least one that a run has."""
    gaps, first = [], None
    for at, place in enumerate([*places, 0]):
        if place == _NOWHERE and first is None:
            first = at
        elif place != _NOWHERE and first is not None:
            gaps.append((first, at))
            first = None
    return [] if gaps == [(0, len(places))] else gaps


def _drop_coincidences(places: list[int]) -> None:
    """Forget all runs if they are few and short."""
    longest = run = found = 0
    for before, place in pairwise([_NOWHERE, *places]):
        found += place != _NOWHERE
        run = 0 if place == _NOWHERE else run + 1 if place == before + 1 else 1
        longest = max(longest, run)
    if found < len(places) * _LEAST_SHARE and longest < _LEAST_RUN:
        places[:] = [_NOWHERE] * len(places)


def _is_beginning(words: Sequence[str], source: Sequence[str]) -> bool:
    """Return whether `source` begins with `words`, of which the last may be cut."""
    last = len(words) - 1
    return (
        last < len(source)
        and words[:last] == source[:last]
        and source[last].startswith(words[last])
    )


def _accept_beginning(places: list[int], answer: Tokens, record: Tokens) -> None:
    """Count the last word if it is the beginning of the one that follows in the record."""
    place = places[-2] + 1
    follows = places[-1] == _NOWHERE and 0 < place < len(record.words)
    if follows and record.words[place].startswith(answer.words[-1]):
        places[-1] = place


def _quoted(places: Sequence[int], answer: Tokens, record: Tokens) -> list[bool]:
    """Return whether each word of the answer is quoted: found, and after no leap in a sentence."""
    index = {place: at for at, place in enumerate(places)}
    quoted, is_bounded = [], False
    for at, place in enumerate(places):
        before = places[at - 1] if at else _NOWHERE
        if place == _NOWHERE or (place == before + 1 and at and before != _NOWHERE):
            quoted.append(place != _NOWHERE)
            continue
        begins = record.starts[place]
        between = is_bounded and begins and record.starts[before + 1]
        may_leap = before == _NOWHERE or answer.follow_end[at] or between
        is_moved = not begins and index.get(place - 1, 0) > at
        quoted.append(may_leap and not is_moved and not record.is_negated(place))
        is_bounded = begins
    return quoted
