"""Conversations as a JSON file for export and import.

A file is one JSON object, `{"format", "version", "exported", "conversations": [...]}`, with one
conversation on each line so that it can be streamed. An import validates everything it reads, and
of an answer takes what is valid.
"""

from __future__ import annotations

import re
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
from engine.core.files import UNDECODABLE, encode_json
from engine.core.i18n import tr
from engine.core.types import Answer, Turn
from engine.store import write
from engine.store.database import Database
from engine.store.write import FIRST_YEAR, LAST_YEAR

FORMAT = "balcao-conversations"
VERSION = 1

_BOM = b"\xef\xbb\xbf"
_BATCH = 20
"""Conversations in one transaction, so that a running chat waits only milliseconds to save."""

Time = Annotated[datetime, Meta(tz=True)]
_UID = "^[0-9A-Za-z-]{1,64}$"
Uid = Annotated[str, Meta(pattern=_UID)]


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


class _RawAnswer(ArchivedAnswer):
    answer: msgspec.Raw  # type: ignore[assignment]

    def __post_init__(self) -> None:
        self.answer = write.decode_answer(self.answer)  # type: ignore[assignment]


class _RawTurn(ArchivedTurn):
    answers: list[_RawAnswer]  # type: ignore[assignment]


class _RawConversation(ArchivedConversation):
    turns: list[_RawTurn]  # type: ignore[assignment]


class ImportResult(Struct, frozen=True):
    """How many conversations an import added, how many the store already had, damaged answers."""

    new: int
    known: int
    damaged: int = 0


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
        yield separator + encode_json(conversation).decode().rstrip()
        separator = ",\n"
    yield "\n]}\n"


def read(data: bytes, name: str) -> Sequence[msgspec.Raw]:
    """Validate a file, `name` in errors, and return its conversations for `decode`."""
    file = _decode_file(data, name)
    for number, raw in enumerate(file.conversations, 1):
        try:
            _check(decode(raw))
        except (*UNDECODABLE, ValueError) as error:
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
    except UNDECODABLE as error:
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
    return msgspec.json.decode(raw, type=_RawConversation)


def count_damaged(conversation: ArchivedConversation) -> int:
    """Return how many answers could not be read completely."""
    return sum(
        isinstance(archived.answer, write.DamagedAnswer)
        for turn in conversation.turns
        for archived in turn.answers
    )


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
    if not all(FIRST_YEAR <= at.year <= LAST_YEAR for at in times):
        raise ValueError(
            tr("a time is not between {first} and {last}", first=FIRST_YEAR, last=LAST_YEAR)
        )


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
    return ArchivedConversation(
        _uid(uid) or uuid4().hex,
        write.as_text(title),
        write.as_time(created),
        write.as_time(updated),
        turns,
        _uid(parent),
    )


def _uid(value: object) -> str | None:
    text = write.as_text(value)
    return text if re.search(_UID, text) else None


def load_turns(database: sqlite3.Connection, conversation_id: int) -> dict[int, ArchivedTurn]:
    """Read a conversation's turns by id; answers that a killed program left become cancelled."""
    rows = database.execute(
        "SELECT turn.id, question, asked, chosen, answer.id, body, engine, finished, updated"
        " FROM turn"
        " LEFT JOIN answer ON answer.turn_id = turn.id"
        " WHERE conversation_id = ? ORDER BY turn.id, answer.id",
        (conversation_id,),
    )
    turns: dict[int, ArchivedTurn] = {}
    for turn_id, question, asked, chosen, answer_id, body, engine, finished, updated in rows:
        if turn_id not in turns:
            turns[turn_id] = ArchivedTurn(write.as_text(question), write.as_time(asked), [])
        turn = turns[turn_id]
        if answer_id is not None:
            if answer_id == chosen:
                turn.chosen = len(turn.answers)
            answer = write.decode_answer(
                write.as_text(body), turn.question, write.as_text(engine), finished=bool(finished)
            )
            turn.answers.append(ArchivedAnswer(write.as_time(updated), answer))
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


def add(database: Database, conversations: Iterable[ArchivedConversation]) -> ImportResult:
    """Add the conversations that the database does not have, all or none. Raises StoreError.

    They are marked as deleted until the last one is written, so that the purge removes what a
    killed program leaves.
    """
    added: set[int] = set()
    known = damaged = 0
    waiting = iter(conversations)
    try:
        while batch := list(islice(waiting, _BATCH)):
            with database.writing() as connection:
                ids = [_add(connection, conversation) for conversation in batch]
            new = {one for one in ids if one is not None} - added
            known += len(ids) - len(new)
            damaged += sum(
                count_damaged(one) for one, new_id in zip(batch, ids, strict=True) if new_id in new
            )
            added |= new
        with database.writing() as connection:
            connection.executemany(
                "UPDATE conversation SET deleted = NULL WHERE id = ?", [(one,) for one in added]
            )
    except BaseException:
        with suppress(StoreError), database.writing() as connection:
            write.purge(connection, added)
        raise
    return ImportResult(len(added), known, damaged)


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
        mine.question == its.question and _bodies(mine) >= _bodies(its)
        for mine, its in zip(stored.turns, other.turns, strict=False)
    )


def _bodies(turn: ArchivedTurn) -> set[str]:
    return {write.encode_answer(archived.answer) for archived in turn.answers}


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
    conversation_id = write.insert(
        database,
        "conversation",
        uid=uid,
        title=write.title_from(conversation.title),
        created=conversation.created.timestamp(),
        updated=conversation.updated.timestamp(),
        parent=conversation.parent,
        deleted=deleted,
    )
    for turn in conversation.turns:
        turn_id = write.add_turn(database, conversation_id, turn.question, turn.asked.timestamp())
        answers = [(archived.answer, archived.at.timestamp()) for archived in turn.answers]
        write.add_answers(database, turn_id, answers, turn.chosen)
    return conversation_id
