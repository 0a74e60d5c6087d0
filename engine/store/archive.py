"""Conversations outside the database: what one file of them holds, written and read back.

A file is one JSON object, `{"format", "version", "exported", "conversations": [...]}`, with one
conversation a line, so that it can be written, and looked through, piece by piece. Who reads one
takes nothing in it for granted.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from hashlib import blake2b
from itertools import islice
from typing import Annotated

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from engine.core.errors import DataError, StoreError
from engine.core.i18n import tr
from engine.core.text import json_safe
from engine.core.types import Answer, Status, StopReason
from engine.store import write as writing
from engine.store.database import Database

FORMAT = "balcao-conversations"
VERSION = 1

_BOM = b"\xef\xbb\xbf"
_FIRST_YEAR, _LAST_YEAR = 1970, 9000
_MOST_TOKENS = 2**53
_LONGEST_MS = 1e12

Time = Annotated[datetime, Meta(tz=True)]
Uid = Annotated[str, Meta(pattern="^[0-9A-Za-z-]{1,64}$")]


class ArchivedAnswer(Struct):
    """An answer, and when it was last written."""

    at: Time
    answer: Answer


class ArchivedTurn(Struct):
    """A question with every answer to it; `chosen` is the place of the one that counts."""

    question: str
    asked: Time
    answers: list[ArchivedAnswer]
    chosen: Annotated[int, Meta(ge=0)] = 0


class ArchivedConversation(Struct):
    """All of one; `uid` is the same wherever it goes, `parent` that of what it was forked from."""

    uid: Uid
    title: str
    created: Time
    updated: Time
    turns: list[ArchivedTurn]
    parent: Uid | None = None


class _File(Struct):
    format: str
    version: int
    conversations: list[msgspec.Raw]


def pieces(conversations: Iterable[ArchivedConversation]) -> Iterator[str]:
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
            tr("is no export of conversations: {plain}.", plain=_plain(error))
        ) from error
    if found.format != FORMAT:
        raise DataError(tr("is no export of conversations: its format is another."))
    if found.version != VERSION:
        raise DataError(
            tr(
                "is of version {version}, and this program reads {version2}.",
                version=found.version,
                version2=VERSION,
            ),
            tr("Update this program."),
        )
    for number, raw in enumerate(found.conversations, 1):
        try:
            _check(decoded(raw))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError) as error:
            raise DataError(
                tr("is broken: conversation {number}: {plain}.", number=number, plain=_plain(error))
            ) from error
    return found.conversations


def decoded(raw: msgspec.Raw) -> ArchivedConversation:
    """One conversation. Raises msgspec.MsgspecError, unless `read` gave it."""
    return msgspec.json.decode(raw, type=ArchivedConversation)


def covers(stored: ArchivedConversation, other: ArchivedConversation) -> bool:
    """Whether every turn and every answer of `other` is in `stored`."""
    if len(stored.turns) < len(other.turns):
        return False
    return all(
        mine.question == its.question
        and all(kept.answer in [one.answer for one in mine.answers] for kept in its.answers)
        for mine, its in zip(stored.turns, other.turns, strict=False)
    )


def other_uid(conversation: ArchivedConversation) -> str:
    """The uid for one that has the uid of another: of what is said, so always the same."""
    said = msgspec.json.encode([conversation.uid, conversation.turns])
    return blake2b(said, digest_size=16).hexdigest()


def _plain(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return tr("it is nested too deeply")
    if isinstance(error, UnicodeDecodeError):
        return tr("it is not UTF-8")
    return str(error)


def _check(conversation: ArchivedConversation) -> None:
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
            tr(
                "a time is before {first_year} or after {last_year}",
                first_year=_FIRST_YEAR,
                last_year=_LAST_YEAR,
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


_AT_ONCE = 20
"""Conversations in one transaction: a chat that writes meanwhile waits for some milliseconds."""

_FEW = 1000
"""Conversations whose index is written anew in a moment (of 10,000: 1.3 s on a core)."""

_LEFT_OVER = 24 * 3600.0
"""Seconds after which a deleted conversation is purged that no program will bring back any more."""


class ImportResult(Struct, frozen=True):
    """How many conversations an import has added, and how many were there already."""

    new: int
    known: int


def decode_answer(body: str, *, finished: bool) -> Answer:
    """An answer as the database holds it; one that was cut short by a kill was cancelled.

    Raises msgspec.MsgspecError.
    """
    answer = msgspec.json.decode(body, type=Answer)
    return answer if finished else replace(answer, stop_reason=StopReason.CANCELLED)


def archived(database: sqlite3.Connection, number: int) -> ArchivedConversation:
    """A conversation with everything that is known of it. Raises StoreError if it is not there."""
    found = database.execute(
        "SELECT uid, title, created, updated, parent FROM conversation WHERE id = ?", (number,)
    ).fetchone()
    if found is None:
        raise writing.gone(number)
    uid, title, created, updated, parent = found
    turns = database.execute(
        "SELECT id, question, asked, chosen FROM turn WHERE conversation_id = ? ORDER BY id",
        (number,),
    ).fetchall()
    whole = [_turn(database, *turn) for turn in turns]
    return ArchivedConversation(uid, title, _time(created), _time(updated), whole, parent)


def add(database: Database, conversations: Iterable[ArchivedConversation]) -> ImportResult:
    """Add those that are not there yet, all or none. Raises StoreError.

    They stay hidden, as if deleted, until the last one is written; a program that is killed
    meanwhile leaves them to be purged.
    """
    hidden: set[int] = set()
    known = 0
    waiting = iter(conversations)
    try:
        while batch := list(islice(waiting, _AT_ONCE)):
            with database.writing() as connection:
                added = [_add(connection, conversation) for conversation in batch]
            new = {number for number in added if number is not None} - hidden
            known += len(added) - len(new)
            hidden |= new
        with database.writing() as connection:
            connection.executemany(
                "UPDATE conversation SET deleted = NULL WHERE id = ?", [(one,) for one in hidden]
            )
    except BaseException:
        with suppress(StoreError):  # a full disk takes not even that: it stays hidden
            purge(database, hidden)
        raise
    return ImportResult(len(hidden), known)


def purge(database: Database, numbers: Iterable[int]) -> None:
    """Erase those of the conversations that are deleted. Raises StoreError."""
    with database.writing() as connection:
        connection.executemany(
            "DELETE FROM conversation WHERE id = ? AND deleted IS NOT NULL",
            [(number,) for number in numbers],
        )
        (left,) = connection.execute("SELECT count(*) FROM conversation").fetchone()
        if left <= _FEW:
            # The index keeps the words of what was deleted until its parts are merged.
            connection.execute("INSERT INTO said (said) VALUES ('optimize')")
            connection.execute("INSERT INTO titled (titled) VALUES ('optimize')")


def purge_left_over(database: Database) -> None:
    """Erase what was deleted so long ago that no program will bring it back any more."""
    with database.reading() as connection:
        found = connection.execute(
            "SELECT id FROM conversation WHERE deleted < ?", (time.time() - _LEFT_OVER,)
        ).fetchall()
    if found:
        purge(database, [number for (number,) in found])


def _add(database: sqlite3.Connection, conversation: ArchivedConversation) -> int | None:
    """Add it hidden; returns its number, or None where all of it is there already."""
    for uid in (conversation.uid, other_uid(conversation)):
        found = database.execute(
            "SELECT id, deleted IS NOT NULL FROM conversation WHERE uid = ?", (uid,)
        ).fetchone()
        if found is None:
            return _insert(database, conversation, uid)
        number, deleted = found
        if covers(archived(database, number), conversation):
            return number if deleted else None
    return None


def _insert(database: sqlite3.Connection, conversation: ArchivedConversation, uid: str) -> int:
    number = (
        database.execute(
            "INSERT INTO conversation (uid, title, created, updated, parent, deleted)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (
                uid,
                writing.title_from(conversation.title),
                conversation.created.timestamp(),
                conversation.updated.timestamp(),
                conversation.parent,
                time.time(),
            ),
        ).lastrowid
        or 0
    )
    for turn in conversation.turns:
        turn_id = writing.add_turn(database, number, turn.question, turn.asked.timestamp())
        answers = [one.answer for one in turn.answers]
        times = [one.at.timestamp() for one in turn.answers]
        writing.add_answers(database, turn_id, answers, times, turn.chosen)
    return number


def _turn(
    database: sqlite3.Connection, turn_id: int, question: str, asked: float, chosen: int | None
) -> ArchivedTurn:
    rows = database.execute(
        "SELECT id, body, finished, updated FROM answer WHERE turn_id = ? ORDER BY id", (turn_id,)
    ).fetchall()
    answers = [
        ArchivedAnswer(_time(updated), decode_answer(body, finished=bool(finished)))
        for _, body, finished, updated in rows
    ]
    numbers = [row[0] for row in rows]
    place = numbers.index(chosen) if chosen in numbers else 0
    return ArchivedTurn(question, _time(asked), answers, place)


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
