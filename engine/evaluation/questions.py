"""The questions of an evaluation: three groups, sampled by hash, never from a file's head.

A product is asked for once, in one of its wordings, so that the answers are independent of one
another and the confidence intervals mean what they say.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from hashlib import blake2b
from pathlib import Path

from msgspec import Struct

from engine.evaluation.rows_part import Row, read

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
