"""Insert, update and delete rows; the caller holds a transaction."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec.structs import fields, replace

from engine.core.errors import StoreError
from engine.core.files import UNDECODABLE
from engine.core.i18n import tr
from engine.core.text import one_line
from engine.core.types import Answer, Mode, Problem, Status, StopReason, Turn

_TITLE_WIDTH = 80
_OPTIMIZE_BELOW = 1000
"""Conversations up to which merging the search index is quick (10,000 take 1.3 s on one core)."""


def encode_answer(answer: Answer) -> str:
    """Encode an answer for the `body` column."""
    return msgspec.json.encode(answer).decode()


FIRST_YEAR, LAST_YEAR = 1970, 9000
_DAY = 86_400
_LAST = datetime(LAST_YEAR + 1, 1, 1, tzinfo=UTC).timestamp() + _DAY


def as_text(value: object) -> str:
    """Return a text of the database; a damaged file has anything in its columns."""
    return value if isinstance(value, str) else ""


def as_time(seconds: object) -> datetime:
    """Return a time of the database, 1970 for what is none."""
    if isinstance(seconds, float | int) and -_DAY <= seconds <= _LAST:
        return datetime.fromtimestamp(seconds, UTC)
    return datetime.fromtimestamp(0, UTC)


class DamagedAnswer(Answer, frozen=True):
    """An answer of which something could not be read and is left out."""


def decode_answer(
    body: str | msgspec.Raw, question: str = "", engine: str = "", *, finished: bool = True
) -> Answer:
    """Decode an answer; one that a killed program left unfinished becomes cancelled.

    One bad value must not make all the others unreadable: a DamagedAnswer has what can be read.
    """
    try:
        answer = msgspec.json.decode(body, type=Answer)
    except UNDECODABLE:
        answer = _readable_part(body, question, engine)
    if answer.status in (Status.EXACT, Status.LIKELY) and not answer.sources:
        answer = _readable_part(body, question, engine)
    return answer if finished else replace(answer, stop_reason=StopReason.CANCELLED)


def _readable_part(body: str | msgspec.Raw, question: str, engine: str) -> DamagedAnswer:
    values: dict[str, msgspec.Raw] = {}
    with suppress(*UNDECODABLE):
        values = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    found: dict[str, Any] = {"question": question, "engine": engine, "mode": Mode.GROUNDED}
    found |= {"status": Status.NONE, "stop_reason": StopReason.ERROR}
    for field in fields(Answer):
        with suppress(KeyError, *UNDECODABLE):
            found[field.name] = msgspec.json.decode(values[field.encode_name], type=field.type)
    if not found.get("sources"):
        found["status"] = Status.NONE
    if "text" not in found:
        problem = Problem(tr("This answer is damaged and cannot be read."))
        found |= {"text": "", "stop_reason": StopReason.ERROR, "problem": problem}
    return DamagedAnswer(**found)


def title_from(text: str) -> str:
    """Shorten `text` to a title of one line, "(untitled)" if it is blank."""
    return one_line(text, _TITLE_WIDTH) or tr("(untitled)")


def add_conversation(database: sqlite3.Connection, title: str) -> int:
    """Add an empty conversation and return its id."""
    now = time.time()
    return insert(database, "conversation", title=title_from(title), created=now, updated=now)


def add_turn(
    database: sqlite3.Connection, conversation_id: int, question: str, asked: float
) -> int:
    """Append a turn and return its id."""
    values = {"conversation_id": conversation_id, "question": question, "asked": asked}
    return insert(database, "turn", **values)


def add_answer(
    database: sqlite3.Connection, turn_id: int, answer: Answer, at: float, *, finished: bool
) -> int:
    """Append an answer to a turn and return its id."""
    values = {"turn_id": turn_id, "engine": answer.engine, "finished": finished, "updated": at}
    return insert(database, "answer", **values, body=encode_answer(answer))


def add_answers(
    database: sqlite3.Connection, turn_id: int, answers: Iterable[tuple[Answer, float]], chosen: int
) -> None:
    """Append finished answers, with their times, to a new turn that continues from one of them."""
    ids = [add_answer(database, turn_id, answer, at, finished=True) for answer, at in answers]
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
            add_answers(database, turn_id, [(one, now) for one in turn.answers], turn.place)
        elif turn_id is not None and turn.unsaved:
            _complete(database, turn_id, turn)
        ids.append(turn_id)
    return ids


def _complete(database: sqlite3.Connection, turn_id: int, turn: Turn) -> None:
    """Save the answers of a turn; answers that another program added stay."""
    stored = database.execute(
        "SELECT id, body, finished, engine FROM answer WHERE turn_id = ? ORDER BY id", (turn_id,)
    ).fetchall()
    ids = {
        encode_answer(decode_answer(body, turn.question, engine)): answer_id
        for answer_id, body, _, engine in stored
    }
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
    sql = "DELETE FROM conversation WHERE id = ? AND deleted IS NOT NULL"
    database.executemany(sql, [(conversation_id,) for conversation_id in conversation_ids])
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


def insert(database: sqlite3.Connection, table: str, **values: object) -> int:
    """Insert a row and return its id; the names of the values are the program's own."""
    columns, marks = ", ".join(values), ", ".join("?" * len(values))
    sql = f"INSERT INTO {table} ({columns}) VALUES ({marks})"  # noqa: S608 - constant names
    return database.execute(sql, tuple(values.values())).lastrowid or 0
