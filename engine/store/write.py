"""Insert, update and delete rows; the caller holds a transaction."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Sequence

import msgspec
from msgspec.structs import replace

from engine.core.errors import StoreError
from engine.core.i18n import tr
from engine.core.text import one_line
from engine.core.types import Answer, StopReason, Turn

_TITLE_WIDTH = 80
_OPTIMIZE_BELOW = 1000
"""Conversations up to which merging the search index is quick (10,000 take 1.3 s on one core)."""


def encode_answer(answer: Answer) -> str:
    """Encode an answer for the `body` column."""
    return msgspec.json.encode(answer).decode()


def decode_answer(body: str, *, finished: bool) -> Answer:
    """Decode an answer; one that a killed program left unfinished becomes cancelled."""
    answer = msgspec.json.decode(body, type=Answer)
    return answer if finished else replace(answer, stop_reason=StopReason.CANCELLED)


def title_from(text: str) -> str:
    """Shorten `text` to a title of one line, "(untitled)" if it is blank."""
    return one_line(text, _TITLE_WIDTH) or tr("(untitled)")


def add_conversation(database: sqlite3.Connection, title: str) -> int:
    """Add an empty conversation and return its id."""
    now = time.time()
    return _insert(
        database,
        "INSERT INTO conversation (title, created, updated) VALUES (?, ?, ?)",
        (title_from(title), now, now),
    )


def add_turn(
    database: sqlite3.Connection, conversation_id: int, question: str, asked: float
) -> int:
    """Append a turn and return its id."""
    return _insert(
        database,
        "INSERT INTO turn (conversation_id, question, asked) VALUES (?, ?, ?)",
        (conversation_id, question, asked),
    )


def add_answer(
    database: sqlite3.Connection, turn_id: int, answer: Answer, at: float, *, finished: bool
) -> int:
    """Append an answer to a turn and return its id."""
    return _insert(
        database,
        "INSERT INTO answer (turn_id, engine, finished, body, updated) VALUES (?, ?, ?, ?, ?)",
        (turn_id, answer.engine, finished, encode_answer(answer), at),
    )


def add_answers(
    database: sqlite3.Connection,
    turn_id: int,
    answers: Sequence[Answer],
    times: Sequence[float],
    chosen: int,
) -> None:
    """Append finished answers to a new turn; the conversation continues from number `chosen`."""
    ids = [
        add_answer(database, turn_id, answer, at, finished=True)
        for answer, at in zip(answers, times, strict=True)
    ]
    if 0 < chosen < len(ids):
        choose_answer(database, turn_id, ids[chosen])


def choose_answer(database: sqlite3.Connection, turn_id: int, answer_id: int) -> None:
    """Continue the conversation from an answer."""
    database.execute("UPDATE turn SET chosen = ? WHERE id = ?", (answer_id, turn_id))


def add_unsaved(
    database: sqlite3.Connection, conversation_id: int, turns: Sequence[Turn]
) -> list[int | None]:
    """Save turns that an earlier error left unsaved or incomplete; return the id of each turn."""
    ids: list[int | None] = []
    now = time.time()
    for turn in turns:
        turn_id = turn.id
        if turn_id is None and turn.answers:
            turn_id = add_turn(database, conversation_id, turn.question, now)
            times = [now] * len(turn.answers)
            add_answers(database, turn_id, turn.answers, times, turn.place)
        elif turn_id is not None and turn.unsaved:
            _complete(database, turn_id, turn)
        ids.append(turn_id)
    return ids


def _complete(database: sqlite3.Connection, turn_id: int, turn: Turn) -> None:
    """Save the answers of a turn; answers that another program added stay."""
    stored = database.execute(
        "SELECT id, body, finished, engine FROM answer WHERE turn_id = ? ORDER BY id", (turn_id,)
    ).fetchall()
    ids = {body: answer_id for answer_id, body, *_ in stored}
    unfinished = [(answer_id, engine) for answer_id, _, finished, engine in stored if not finished]
    now = time.time()
    for answer in turn.answers:
        body = encode_answer(answer)
        begun = next((one for one in unfinished if one[1] == answer.engine), None)
        if body in ids:
            answer_id = ids[body]
        elif begun is not None:
            answer_id = begun[0]
            unfinished.remove(begun)
        else:
            answer_id = add_answer(database, turn_id, answer, now, finished=True)
        database.execute("UPDATE answer SET body = ?, finished = 1 WHERE id = ?", (body, answer_id))
        if answer is turn.answer:
            choose_answer(database, turn_id, answer_id)


def exists(database: sqlite3.Connection, conversation_id: int) -> bool:
    """Return whether a conversation is in the file, marked as deleted or not."""
    found = database.execute("SELECT 1 FROM conversation WHERE id = ?", (conversation_id,))
    return found.fetchone() is not None


def purge(database: sqlite3.Connection, conversation_ids: Iterable[int]) -> None:
    """Erase those conversations that are marked as deleted."""
    database.executemany(
        "DELETE FROM conversation WHERE id = ? AND deleted IS NOT NULL",
        [(conversation_id,) for conversation_id in conversation_ids],
    )
    (left,) = database.execute("SELECT count(*) FROM conversation").fetchone()
    if left <= _OPTIMIZE_BELOW:
        # The index contains deleted words until its segments are merged.
        database.execute("INSERT INTO said (said) VALUES ('optimize')")
        database.execute("INSERT INTO titled (titled) VALUES ('optimize')")


def missing(conversation_id: int) -> StoreError:
    """Return the error for a conversation that is not in the file."""
    return StoreError(
        tr("There is no conversation {conversation_id}.", conversation_id=conversation_id),
        tr("To see all conversations, run `balcao history list`."),
    )


def _insert(database: sqlite3.Connection, sql: str, values: Sequence[object]) -> int:
    return database.execute(sql, values).lastrowid or 0
