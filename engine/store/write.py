"""Puts conversations, turns and answers into the database; whoever calls holds a transaction."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence

import msgspec

from engine.core.errors import StoreError
from engine.core.i18n import tr
from engine.core.text import one_line
from engine.core.types import Answer, Turn

TITLE_WIDTH = 80


def encode(answer: Answer) -> str:
    """An answer as the database holds it."""
    return msgspec.json.encode(answer).decode()


def title_from(text: str) -> str:
    """`text` as a title: one line, cut, never empty."""
    return one_line(text, TITLE_WIDTH) or tr("(untitled)")


def add_conversation(database: sqlite3.Connection, title: str) -> int:
    """A conversation of now; returns its number."""
    now = time.time()
    added = database.execute(
        "INSERT INTO conversation (title, created, updated) VALUES (?, ?, ?)",
        (title_from(title), now, now),
    )
    return added.lastrowid or 0


def add_turn(
    database: sqlite3.Connection, conversation_id: int, question: str, asked: float
) -> int:
    """A turn, the last one of its conversation; returns its number. `asked` is as time.time()."""
    added = database.execute(
        "INSERT INTO turn (conversation_id, question, asked) VALUES (?, ?, ?)",
        (conversation_id, question, asked),
    )
    return added.lastrowid or 0


def add_answer(
    database: sqlite3.Connection, turn_id: int, answer: Answer, at: float, *, finished: bool
) -> int:
    """One more answer to a turn; returns its number. `at` is as time.time()."""
    added = database.execute(
        "INSERT INTO answer (turn_id, engine, finished, body, updated) VALUES (?, ?, ?, ?, ?)",
        (turn_id, answer.engine, finished, encode(answer), at),
    )
    return added.lastrowid or 0


def choose_answer(database: sqlite3.Connection, turn_id: int, answer_id: int) -> None:
    """The conversation goes on from that answer."""
    database.execute("UPDATE turn SET chosen = ? WHERE id = ?", (answer_id, turn_id))


def add_answers(
    database: sqlite3.Connection,
    turn_id: int,
    answers: Sequence[Answer],
    times: Sequence[float],
    chosen: int,
) -> None:
    """All answers of a turn, whole; `chosen` is the place of the one that counts."""
    numbers = [
        add_answer(database, turn_id, answer, at, finished=True)
        for answer, at in zip(answers, times, strict=True)
    ]
    if 0 < chosen < len(numbers):
        choose_answer(database, turn_id, numbers[chosen])


def add_unsaved(
    database: sqlite3.Connection, conversation_id: int, turns: Sequence[Turn]
) -> list[int | None]:
    """Turns that could not be kept, or not whole, when they were spoken; returns their numbers."""
    numbers: list[int | None] = []
    now = time.time()
    for turn in turns:
        number = turn.id
        if number is None and turn.answers:
            number = add_turn(database, conversation_id, turn.question, now)
            answers = turn.answers
            add_answers(database, number, answers, [now] * len(answers), turn.place)
        elif number is not None and turn.unsaved:
            _mend(database, number, turn)
        numbers.append(number)
    return numbers


def _mend(database: sqlite3.Connection, turn_id: int, turn: Turn) -> None:
    """Bring a turn's answers to what they are in memory; what others added to it stays."""
    stored = database.execute(
        "SELECT id, body, finished, engine FROM answer WHERE turn_id = ? ORDER BY id", (turn_id,)
    ).fetchall()
    there = {body: number for number, body, *_ in stored}
    cut = [(number, engine) for number, _, finished, engine in stored if not finished]
    now = time.time()
    for answer in turn.answers:
        body = encode(answer)
        begun = next((number for number, engine in cut if engine == answer.engine), None)
        if body in there:
            number = there[body]
        elif begun is not None:
            number = begun
            cut.remove((begun, answer.engine))
        else:
            number = add_answer(database, turn_id, answer, now, finished=True)
        database.execute("UPDATE answer SET body = ?, finished = 1 WHERE id = ?", (body, number))
        if answer is turn.answer:
            choose_answer(database, turn_id, number)


def is_there(database: sqlite3.Connection, conversation_id: int) -> bool:
    """Whether there is such a conversation, deleted or not."""
    found = database.execute("SELECT 1 FROM conversation WHERE id = ?", (conversation_id,))
    return found.fetchone() is not None


def copy_turns(database: sqlite3.Connection, source: int, target: int, turns: int) -> int:
    """Copy a conversation's first turns, with all their answers, into another; returns how many."""
    rows = database.execute(
        "SELECT id, question, asked, chosen FROM turn WHERE conversation_id = ?"
        " ORDER BY id LIMIT ?",
        (source, turns),
    ).fetchall()
    for turn_id, question, asked, chosen in rows:
        copied = add_turn(database, target, question, asked)
        answers = database.execute(
            "SELECT id FROM answer WHERE turn_id = ? ORDER BY id", (turn_id,)
        ).fetchall()
        for (answer_id,) in answers:
            added = database.execute(
                "INSERT INTO answer (turn_id, engine, finished, body, updated)"
                " SELECT ?, engine, finished, body, updated FROM answer WHERE id = ?",
                (copied, answer_id),
            )
            if answer_id == chosen:
                choose_answer(database, copied, added.lastrowid or 0)
    return len(rows)


def gone(conversation_id: int) -> StoreError:
    """The error of a conversation that is not there."""
    return StoreError(
        tr("There is no conversation {conversation_id} any more.", conversation_id=conversation_id),
        tr("`balcao history` lists them."),
    )
