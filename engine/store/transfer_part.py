"""Conversations out of the database and back into it, whole."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from itertools import islice

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from engine.core.errors import StoreError
from engine.core.types import Answer, StopReason
from engine.store import write as writing
from engine.store.archive import KeptAnswer, KeptConversation, KeptTurn, covers, other_uid
from engine.store.database import Database

_AT_ONCE = 20
"""Conversations in one transaction: a chat that writes meanwhile waits for some milliseconds."""

_FEW = 1000
"""Conversations whose index is written anew in a moment (of 10,000: 1.3 s on a core)."""

_LEFT_OVER = 24 * 3600.0
"""Seconds after which a deleted conversation is purged that no program will bring back any more."""


class Added(Struct, frozen=True):
    """How many conversations an import has added, and how many were there already."""

    new: int
    known: int


def decode_answer(body: str, *, finished: bool) -> Answer:
    """An answer as the database holds it; one that was cut short by a kill was cancelled.

    Raises msgspec.MsgspecError.
    """
    answer = msgspec.json.decode(body, type=Answer)
    return answer if finished else replace(answer, stop_reason=StopReason.CANCELLED)


def kept(database: sqlite3.Connection, number: int) -> KeptConversation:
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
    return KeptConversation(uid, title, _time(created), _time(updated), whole, parent)


def add(database: Database, conversations: Iterable[KeptConversation]) -> Added:
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
    return Added(len(hidden), known)


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


def _add(database: sqlite3.Connection, conversation: KeptConversation) -> int | None:
    """Add it hidden; returns its number, or None where all of it is there already."""
    for uid in (conversation.uid, other_uid(conversation)):
        found = database.execute(
            "SELECT id, deleted IS NOT NULL FROM conversation WHERE uid = ?", (uid,)
        ).fetchone()
        if found is None:
            return _insert(database, conversation, uid)
        number, deleted = found
        if covers(kept(database, number), conversation):
            return number if deleted else None
    return None


def _insert(database: sqlite3.Connection, conversation: KeptConversation, uid: str) -> int:
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
) -> KeptTurn:
    rows = database.execute(
        "SELECT id, body, finished, updated FROM answer WHERE turn_id = ? ORDER BY id", (turn_id,)
    ).fetchall()
    answers = [
        KeptAnswer(_time(updated), decode_answer(body, finished=bool(finished)))
        for _, body, finished, updated in rows
    ]
    numbers = [row[0] for row in rows]
    place = numbers.index(chosen) if chosen in numbers else 0
    return KeptTurn(question, _time(asked), answers, place)


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
