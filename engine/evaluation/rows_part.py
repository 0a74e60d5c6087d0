"""Training rows read back as questions: what was asked, about which title, and the record.

The rows are those that `balcao prepare` writes: `{"messages": [...]}`, the record's text being the
assistant's message. The title is had from the wording of the question.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

from engine.core.errors import DataError
from engine.core.types import Mode, Product
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
