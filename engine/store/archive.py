"""Conversations outside the database: what one file of them holds, written and read back.

A file is one JSON object, `{"format", "version", "exported", "conversations": [...]}`, with one
conversation a line, so that it can be written, and looked through, piece by piece. Who reads one
takes nothing in it for granted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from engine.core.errors import DataError
from engine.core.i18n import tr
from engine.core.text import json_safe
from engine.core.types import Answer, Status

FORMAT = "balcao-conversations"
VERSION = 1

_BOM = b"\xef\xbb\xbf"
_FIRST_YEAR, _LAST_YEAR = 1970, 9000
_MOST_TOKENS = 2**53
_LONGEST_MS = 1e12

Time = Annotated[datetime, Meta(tz=True)]
Uid = Annotated[str, Meta(pattern="^[0-9A-Za-z-]{1,64}$")]


class KeptAnswer(Struct):
    """An answer, and when it was last written."""

    at: Time
    answer: Answer


class KeptTurn(Struct):
    """A question with every answer to it; `chosen` is the place of the one that counts."""

    question: str
    asked: Time
    answers: list[KeptAnswer]
    chosen: Annotated[int, Meta(ge=0)] = 0


class KeptConversation(Struct):
    """All of one; `uid` is the same wherever it goes, `parent` that of what it was forked from."""

    uid: Uid
    title: str
    created: Time
    updated: Time
    turns: list[KeptTurn]
    parent: Uid | None = None


class _File(Struct):
    format: str
    version: int
    conversations: list[msgspec.Raw]


def pieces(conversations: Iterable[KeptConversation]) -> Iterator[str]:
    """The file, a conversation at a time."""
    head = {"format": FORMAT, "version": VERSION, "exported": datetime.now(UTC).isoformat()}
    yield msgspec.json.encode(head).decode()[:-1] + ', "conversations": ['
    between = "\n"
    for conversation in conversations:
        yield between + json_safe(msgspec.json.encode(conversation).decode())
        between = ",\n"
    yield "\n]}\n"


def read(data: bytes) -> Sequence[msgspec.Raw]:
    """The conversations of a file, each found to be sound; `decoded` gives them one by one.

    Raises DataError: the message is what is wrong, to follow on the file's name.
    """
    try:
        found = msgspec.json.decode(data.removeprefix(_BOM), type=_File)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(
            tr("is no export of conversations: {plain}.").format(plain=_plain(error))
        ) from error
    if found.format != FORMAT:
        raise DataError(tr("is no export of conversations: its format is another."))
    if found.version != VERSION:
        raise DataError(
            tr("is of version {version}, and this program reads {version2}.").format(
                version=found.version, version2=VERSION
            ),
            tr("Update this program."),
        )
    for number, raw in enumerate(found.conversations, 1):
        try:
            _check(decoded(raw))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError) as error:
            raise DataError(
                tr("is broken: conversation {number}: {plain}.").format(
                    number=number, plain=_plain(error)
                )
            ) from error
    return found.conversations


def decoded(raw: msgspec.Raw) -> KeptConversation:
    """One conversation. Raises msgspec.MsgspecError, unless `read` gave it."""
    return msgspec.json.decode(raw, type=KeptConversation)


def covers(stored: KeptConversation, other: KeptConversation) -> bool:
    """Whether every turn and every answer of `other` is in `stored`."""
    if len(stored.turns) < len(other.turns):
        return False
    return all(
        mine.question == its.question
        and all(kept.answer in [one.answer for one in mine.answers] for kept in its.answers)
        for mine, its in zip(stored.turns, other.turns, strict=False)
    )


def other_uid(conversation: KeptConversation) -> str:
    """The uid for one that has the uid of another: of what is said, so always the same."""
    said = msgspec.json.encode([conversation.uid, conversation.turns])
    return blake2b(said, digest_size=16).hexdigest()


def _plain(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return tr("it is nested too deeply")
    if isinstance(error, UnicodeDecodeError):
        return tr("it is not UTF-8")
    return str(error)


def _check(conversation: KeptConversation) -> None:
    """What the types do not say. Raises ValueError with what is wrong."""
    times = [conversation.created, conversation.updated]
    for turn in conversation.turns:
        times += [turn.asked, *(kept.at for kept in turn.answers)]
        if turn.chosen and turn.chosen >= len(turn.answers):
            raise ValueError(tr("the answer that is chosen is not there"))
        for kept in turn.answers:
            _check_answer(kept.answer)
    if not all(_FIRST_YEAR <= time.year <= _LAST_YEAR for time in times):
        raise ValueError(
            tr("a time is before {first_year} or after {last_year}").format(
                first_year=_FIRST_YEAR, last_year=_LAST_YEAR
            )
        )


def _check_answer(answer: Answer) -> None:
    if answer.status in (Status.EXACT, Status.LIKELY) and not answer.sources:
        raise ValueError(tr("an answer is about a product and names none"))
    if answer.fidelity is not None and not 0 <= answer.fidelity <= 1:
        raise ValueError(tr("a fidelity is not between 0 and 1"))
    timing = answer.timing
    for milliseconds in (timing.retrieval, timing.first_token, timing.total):
        if not 0 <= milliseconds <= _LONGEST_MS:
            raise ValueError(tr("a timing is out of range"))
    tokens = answer.tokens
    if tokens and not (0 <= tokens.prompt < _MOST_TOKENS and 0 <= tokens.completion < _MOST_TOKENS):
        raise ValueError(tr("a count of tokens is out of range"))
