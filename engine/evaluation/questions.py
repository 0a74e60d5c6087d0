"""The questions of an evaluation: three groups, sampled by hash, never from a file's head.

A product is asked for once, in one of its wordings, so that the answers are independent of one
another and the confidence intervals mean what they say.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from hashlib import blake2b
from pathlib import Path
from random import Random

import msgspec
from msgspec import Struct

from engine.core.errors import DataError
from engine.core.types import Decision, Mode, Product
from engine.prompts import QUESTION_FORMS, question_text

_BARE = "{title}"
_FRAMED = question_text("\x00", Product("", "\x00", "\x00"), Mode.GROUNDED)
_BEFORE_TITLE = _FRAMED.partition("\x00")[0]
_BEFORE_QUESTION = _FRAMED.rpartition("\x00")[0].rpartition("\x00")[2]


def _pattern(form: str) -> re.Pattern[str]:
    before, after = form.split(_BARE)
    return re.compile(f"{re.escape(before)}(.+){re.escape(after)}", re.DOTALL)


# The wording with the most words of its own first; the bare title fits everything.
_PATTERNS = [_pattern(form) for form in sorted(QUESTION_FORMS, key=len, reverse=True)]


class Row(msgspec.Struct, frozen=True):
    """A question, the title that it asks for, and the record's text."""

    question: str
    title: str
    record: str
    grounded: bool = False
    """Whether the row has the record before the question: what it teaches is to read."""


class _Message(msgspec.Struct, frozen=True):
    role: str
    content: str


class _RawRow(msgspec.Struct, frozen=True):
    messages: list[_Message]


def read(file: Path) -> Iterator[Row]:
    """The rows of `file`, in order; lines that are none are left out.

    Raises DataError if the file cannot be read or has no row at all.
    """
    decode = msgspec.json.Decoder(_RawRow).decode
    found = False
    try:
        with file.open("rb") as stream:
            for line in stream:
                try:
                    row = _row(decode(line).messages)
                except (msgspec.DecodeError, UnicodeDecodeError):
                    continue
                if row:
                    found = True
                    yield row
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror or error}.") from error
    if not found:
        raise DataError(
            f"{file} has no training row.", "Give a file that `balcao prepare` wrote: test.jsonl."
        )


def title_of(question: str) -> str:
    """The title that a question in one of the known wordings asks for.

    A bare title that reads like one of them ("Do you have what it takes?") is cut short.
    """
    for pattern in _PATTERNS:
        fits = pattern.fullmatch(question)
        if fits:
            return fits[1]
    return question


def _row(messages: list[_Message]) -> Row | None:
    asked = [message.content for message in messages if message.role == "user"]
    answered = [message.content for message in messages if message.role == "assistant"]
    if not asked or not answered:
        return None
    question, record = _bare(asked[-1]).strip(), answered[-1].strip()
    grounded = asked[-1].startswith(_BEFORE_TITLE)
    return Row(question, title_of(question), record, grounded) if question and record else None


def _bare(content: str) -> str:
    """The question alone: a row that was made with the record in front is asked without it."""
    if not content.startswith(_BEFORE_TITLE):
        return content
    return content.rpartition(_BEFORE_QUESTION)[2]


_TITLES = 500


class Group(StrEnum):
    """What is known of a title."""

    TRAINED = "trained"
    """The adapter was trained to say it from memory."""
    UNTRAINED = "untrained"
    """In the catalogue; no row that the adapter was trained on has it."""
    INVENTED = "invented"
    """In no catalogue."""


class Question(Struct, frozen=True):
    """One question. `record` is the text that a right answer is; empty for an invented title.

    `id` hangs on the group, the question and the record alone, so that a sample of another size
    has the same one.
    """

    id: str
    group: Group
    question: str
    title: str
    record: str


class Sample:
    """The `limit` products with the smallest marks (None: all), each in one wording.

    It holds twice `limit` rows at most, however many are put in.
    """

    def __init__(self, limit: int | None, seed: int) -> None:
        self._limit = limit
        self._salt = blake2b(str(seed).encode(), digest_size=16).digest()
        self._kept: dict[bytes, tuple[bytes, Row]] = {}

    def add(self, row: Row) -> None:
        """Put a row in."""
        mark = self._mark(row.title, row.record)
        tie = self._mark(row.question)
        there = self._kept.get(mark)
        if there is None or tie < there[0]:
            self._kept[mark] = (tie, row)
        if self._limit is not None and len(self._kept) > 2 * self._limit + 1000:
            self._narrow(self._limit)

    def rows(self) -> list[Row]:
        """The sample, in the order of the marks: its beginning is a sample as well."""
        if self._limit is not None:
            self._narrow(self._limit)
        return [row for _, (_, row) in sorted(self._kept.items())]

    def _narrow(self, limit: int) -> None:
        lowest = sorted(self._kept)[:limit]
        self._kept = {mark: self._kept[mark] for mark in lowest}

    def _mark(self, *texts: str) -> bytes:
        data = "\x00".join(texts).encode(errors="replace")
        return blake2b(data, digest_size=16, salt=self._salt).digest()


def from_files(
    data: Path, trained: Path | None, limit: int | None, seed: int
) -> tuple[list[Question], list[str]]:
    """The questions of the first two groups, `limit` of each at most; and some titles of `data`.

    Those of `trained` (a train.jsonl) are TRAINED, but for rows with the record before the
    question: nobody was to learn these by heart. Those of `data` are UNTRAINED unless `trained`
    holds the same title or the same description, in whatever row. The titles do not hang on the
    limit. Raises DataError.
    """
    taken = Sample(limit, seed)
    known: set[bytes] = set()
    if trained is not None:
        for row in read(trained):
            if not row.grounded:
                taken.add(row)
            known.update(_traits(row))
    fresh, any_of_data = Sample(limit, seed), Sample(_TITLES, seed)
    for row in read(data):
        any_of_data.add(row)
        if not known or known.isdisjoint(_traits(row)):
            fresh.add(row)
    questions = [
        *_questions(Group.TRAINED, taken.rows()),
        *_questions(Group.UNTRAINED, fresh.rows()),
    ]
    return questions, [row.title for row in any_of_data.rows()]


def question(group: Group, row: Row) -> Question:
    """The question that a row makes in a group."""
    key = f"{group.value}\x00{row.question}\x00{row.record}".encode(errors="replace")
    mark = blake2b(key, digest_size=8).hexdigest()
    return Question(mark, group, row.question, row.title, row.record)


def _questions(group: Group, rows: Sequence[Row]) -> Iterator[Question]:
    return (question(group, row) for row in rows)


def _traits(row: Row) -> tuple[bytes, bytes]:
    """Title and description, each as a few bytes: a million of them are held."""
    return _digest(f"t{row.title}"), _digest(f"d{row.record}")


def _digest(text: str) -> bytes:
    return blake2b(text.encode(errors="replace"), digest_size=8).digest()


_WORD = re.compile(r"\w+")
_SYLLABLES = (
    "bra", "cor", "dul", "fen", "gri", "hav", "jor", "kel", "lum", "mex", "nov", "ost", "pli",
    "quor", "rask", "sel", "tav", "umb", "vex", "wol", "yar", "zim",
)  # fmt: skip
_THINGS = (
    "Almanac", "Teapot", "Lantern", "Atlas", "Saddle", "Sonata", "Handbook", "Kite", "Recorder",
    "Trowel", "Chronicle", "Blanket", "Compass", "Puzzle", "Whistle", "Jacket",
)  # fmt: skip
_LEAST_LETTERS = 4
_MOST_SHARED = 0.5
_TRIES = 200
"""Titles made for each one wanted before giving up: some catalogues have nearly every word."""

Find = Callable[[str], Decision]


def invented(count: int, titles: Sequence[str], find: Find, seed: int) -> list[Question]:
    """At most `count` questions for titles that the catalogue does not have.

    `titles` are real ones, to take words from. A title is thrown away if more than half of its
    words stand in one title that `find` comes up with: it might then mean that product.
    """
    random = Random(f"invented {seed}")  # noqa: S311 - the same titles each time, no secret
    made: dict[str, Question] = {}
    for number, title in enumerate(_endless(titles, random)):
        if len(made) >= count or number >= count * _TRIES:
            break
        if title not in made and is_absent(title, find(title)):
            form = QUESTION_FORMS[len(made) % len(QUESTION_FORMS)]
            row = Row(form.format(title=title), title, "")
            made[title] = question(Group.INVENTED, row)
    return list(made.values())


def is_absent(title: str, decision: Decision) -> bool:
    """Whether none of the products that a search came up with can be the one that is named."""
    wanted = _words(title)
    for hit in (*decision.hits, *decision.nearest):
        shared = wanted & _words(hit.product.title)
        if len(shared) > _MOST_SHARED * len(wanted):
            return False
    return bool(wanted)


def _endless(titles: Sequence[str], random: Random) -> Iterator[str]:
    words = sorted({word for title in titles for word in _telling(title)})
    while True:
        yield _from_syllables(random)
        if len(words) > len(_THINGS):
            yield " ".join(random.sample(words, random.randint(3, 5)))


def _from_syllables(random: Random) -> str:
    name = "".join(random.sample(_SYLLABLES, random.randint(2, 3))).capitalize()
    other = "".join(random.sample(_SYLLABLES, 2)).capitalize()
    thing = random.choice(_THINGS)
    return random.choice((f"The {name} {thing} of {other}", f"{name} {other} {thing}"))


def _telling(title: str) -> list[str]:
    return [word for word in _WORD.findall(title) if len(word) >= _LEAST_LETTERS]


def _words(title: str) -> set[str]:
    return set(_WORD.findall(title.casefold()))
