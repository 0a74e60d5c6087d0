"""Conversations as a JSON file for export and import.

A file is one JSON object, `{"format", "version", "exported", "conversations": [...]}`, with one
conversation on each line so that it can be streamed. An import validates everything it reads.
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
from uuid import uuid4

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from engine.core.errors import DataError, StoreError, why
from engine.core.i18n import tr
from engine.core.text import json_safe
from engine.core.types import Answer, Status, Turn
from engine.store import write
from engine.store.database import Database

FORMAT = "balcao-conversations"
VERSION = 1

_BOM = b"\xef\xbb\xbf"
_FIRST_YEAR, _LAST_YEAR = 1970, 9000
_MAX_TOKENS = 2**53
_MAX_MS = 1e12
_INVALID = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_BATCH = 20
"""Conversations in one transaction, so that a running chat waits only milliseconds to save."""

Time = Annotated[datetime, Meta(tz=True)]
Uid = Annotated[str, Meta(pattern="^[0-9A-Za-z-]{1,64}$")]


class ArchivedAnswer(Struct):
    """An answer with the time of its last change."""

    at: Time
    answer: Answer


class ArchivedTurn(Struct):
    """A question with its answers; the conversation continues from number `chosen`."""

    question: str
    asked: Time
    answers: list[ArchivedAnswer]
    chosen: Annotated[int, Meta(ge=0)] = 0


class ArchivedConversation(Struct):
    """A conversation; `uid` identifies it in every store, `parent` is the uid of its origin."""

    uid: Uid
    title: str
    created: Time
    updated: Time
    turns: list[ArchivedTurn]
    parent: Uid | None = None


class ImportResult(Struct, frozen=True):
    """How many conversations an import added, and how many the store already had."""

    new: int
    known: int


class _File(Struct):
    format: str
    version: int
    conversations: list[msgspec.Raw]


def pieces(conversations: Iterable[ArchivedConversation]) -> Iterator[str]:
    """Yield the text of a file, one conversation at a time."""
    head = {"format": FORMAT, "version": VERSION, "exported": datetime.now(UTC).isoformat()}
    yield msgspec.json.encode(head).decode()[:-1] + ', "conversations": ['
    separator = "\n"
    for conversation in conversations:
        yield separator + json_safe(msgspec.json.encode(conversation).decode())
        separator = ",\n"
    yield "\n]}\n"


def read(data: bytes, name: str) -> Sequence[msgspec.Raw]:
    """Validate a file, `name` in errors, and return its conversations for `decode`."""
    file = _decode_file(data, name)
    for number, raw in enumerate(file.conversations, 1):
        try:
            _check(decode(raw))
        except (*_INVALID, ValueError) as error:
            raise DataError(
                tr(
                    "{name} is damaged: conversation {number}: {error}.",
                    name=name,
                    number=number,
                    error=_reason(error),
                )
            ) from error
    return file.conversations


def _decode_file(data: bytes, name: str) -> _File:
    try:
        file = msgspec.json.decode(data.removeprefix(_BOM), type=_File)
    except _INVALID as error:
        raise _no_export(name, _reason(error)) from error
    if file.format != FORMAT:
        raise _no_export(name, tr("its format is not {format}", format=FORMAT))
    if file.version != VERSION:
        raise DataError(
            tr(
                "{name} has format version {version}; this program reads version {supported}.",
                name=name,
                version=file.version,
                supported=VERSION,
            ),
            tr("Update this program."),
        )
    return file


def decode(raw: msgspec.Raw) -> ArchivedConversation:
    """Decode a conversation that `read` returned."""
    return msgspec.json.decode(raw, type=ArchivedConversation)


def _no_export(name: str, error: str) -> DataError:
    return DataError(
        tr("{name} is not an export of conversations: {error}.", name=name, error=error)
    )


def _reason(error: Exception) -> str:
    return tr("it is nested too deeply") if isinstance(error, RecursionError) else why(error)


def _check(conversation: ArchivedConversation) -> None:
    """Check what the types do not. Raises ValueError."""
    times = [conversation.created, conversation.updated]
    for turn in conversation.turns:
        times += [turn.asked, *(archived.at for archived in turn.answers)]
        if turn.chosen and turn.chosen >= len(turn.answers):
            raise ValueError(tr("the chosen answer is missing"))
        for archived in turn.answers:
            _check_answer(archived.answer)
    if not all(_FIRST_YEAR <= at.year <= _LAST_YEAR for at in times):
        raise ValueError(
            tr("a time is not between {first} and {last}", first=_FIRST_YEAR, last=_LAST_YEAR)
        )


def _check_answer(answer: Answer) -> None:
    if answer.status in (Status.EXACT, Status.LIKELY) and not answer.sources:
        raise ValueError(tr("an answer about a product has no source"))
    if answer.fidelity is not None and not 0 <= answer.fidelity <= 1:
        raise ValueError(tr("a fidelity is not between 0 and 1"))
    timing = answer.timing
    for milliseconds in (timing.retrieval, timing.first_token, timing.total):
        if not 0 <= milliseconds <= _MAX_MS:
            raise ValueError(tr("a timing is out of range"))
    tokens = answer.tokens
    if tokens and not (0 <= tokens.prompt < _MAX_TOKENS and 0 <= tokens.completion < _MAX_TOKENS):
        raise ValueError(tr("a count of tokens is out of range"))


def load(database: sqlite3.Connection, conversation_id: int) -> ArchivedConversation:
    """Read a conversation from the database. Raises StoreError if it is missing."""
    found = database.execute(
        "SELECT uid, title, created, updated, parent FROM conversation WHERE id = ?",
        (conversation_id,),
    ).fetchone()
    if found is None:
        raise write.missing(conversation_id)
    uid, title, created, updated, parent = found
    turns = list(load_turns(database, conversation_id).values())
    return ArchivedConversation(uid, title, _time(created), _time(updated), turns, parent)


def load_turns(database: sqlite3.Connection, conversation_id: int) -> dict[int, ArchivedTurn]:
    """Read a conversation's turns by id; answers that a killed program left become cancelled."""
    rows = database.execute(
        "SELECT turn.id, question, asked, chosen, answer.id, body, finished, updated FROM turn"
        " LEFT JOIN answer ON answer.turn_id = turn.id"
        " WHERE conversation_id = ? ORDER BY turn.id, answer.id",
        (conversation_id,),
    )
    turns: dict[int, ArchivedTurn] = {}
    for turn_id, question, asked, chosen, answer_id, body, finished, updated in rows:
        if turn_id not in turns:
            turns[turn_id] = ArchivedTurn(question, _time(asked), [])
        turn = turns[turn_id]
        if answer_id is not None:
            if answer_id == chosen:
                turn.chosen = len(turn.answers)
            answer = write.decode_answer(body, finished=bool(finished))
            turn.answers.append(ArchivedAnswer(_time(updated), answer))
    return turns


def as_turn(archived: ArchivedTurn, turn_id: int | None = None) -> Turn:
    """Convert a turn for the chat."""
    turn = Turn(archived.question, id=turn_id)
    if archived.answers:
        turn.answer, *turn.others = [one.answer for one in archived.answers]
        turn.choose(archived.chosen)
    return turn


def fork(database: sqlite3.Connection, conversation_id: int, turns: int) -> int:
    """Copy a conversation's first turns into a new one and return its id. Raises StoreError."""
    found = "SELECT 1 FROM conversation WHERE id = ? AND deleted IS NULL"
    if not database.execute(found, (conversation_id,)).fetchone():
        raise write.missing(conversation_id)
    origin, now = load(database, conversation_id), datetime.now(UTC)
    first = origin.turns[:turns]
    copy = replace(origin, created=now, updated=now, turns=first, parent=origin.uid)
    return _insert(database, copy, uuid4().hex)


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def add(database: Database, conversations: Iterable[ArchivedConversation]) -> ImportResult:
    """Add the conversations that the database does not have, all or none. Raises StoreError.

    They are marked as deleted until the last one is written, so that the purge removes what a
    killed program leaves.
    """
    added: set[int] = set()
    known = 0
    waiting = iter(conversations)
    try:
        while batch := list(islice(waiting, _BATCH)):
            with database.writing() as connection:
                ids = [_add(connection, conversation) for conversation in batch]
            new = {one for one in ids if one is not None} - added
            known += len(ids) - len(new)
            added |= new
        with database.writing() as connection:
            connection.executemany(
                "UPDATE conversation SET deleted = NULL WHERE id = ?", [(one,) for one in added]
            )
    except BaseException:
        with suppress(StoreError), database.writing() as connection:
            write.purge(connection, added)
        raise
    return ImportResult(len(added), known)


def _add(database: sqlite3.Connection, conversation: ArchivedConversation) -> int | None:
    """Return the id of the new, hidden conversation, or None if the database contains it."""
    for uid in (conversation.uid, _alternative_uid(conversation)):
        found = database.execute(
            "SELECT id, deleted IS NOT NULL FROM conversation WHERE uid = ?", (uid,)
        ).fetchone()
        if found is None:
            return _insert(database, conversation, uid, deleted=time.time())
        conversation_id, deleted = found
        if _covers(load(database, conversation_id), conversation):
            return conversation_id if deleted else None
    return None


def _covers(stored: ArchivedConversation, other: ArchivedConversation) -> bool:
    """Return whether `stored` contains every turn and answer of `other`."""
    if len(stored.turns) < len(other.turns):
        return False
    return all(
        mine.question == its.question
        and all(archived.answer in [one.answer for one in mine.answers] for archived in its.answers)
        for mine, its in zip(stored.turns, other.turns, strict=False)
    )


def _alternative_uid(conversation: ArchivedConversation) -> str:
    """Derive a uid from the content, for a conversation whose uid is taken by a different one."""
    content = msgspec.json.encode([conversation.uid, conversation.turns])
    return blake2b(content, digest_size=16).hexdigest()


def _insert(
    database: sqlite3.Connection,
    conversation: ArchivedConversation,
    uid: str,
    deleted: float | None = None,
) -> int:
    title = write.title_from(conversation.title)
    created, updated = conversation.created.timestamp(), conversation.updated.timestamp()
    added = database.execute(
        "INSERT INTO conversation (uid, title, created, updated, parent, deleted)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (uid, title, created, updated, conversation.parent, deleted),
    )
    conversation_id = added.lastrowid or 0
    for turn in conversation.turns:
        turn_id = write.add_turn(database, conversation_id, turn.question, turn.asked.timestamp())
        answers = [archived.answer for archived in turn.answers]
        times = [archived.at.timestamp() for archived in turn.answers]
        write.add_answers(database, turn_id, answers, times, turn.chosen)
    return conversation_id
