"""Conversations in SQLite, written as they happen, so that a kill loses only unfinished words."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from msgspec.structs import replace

from engine.conversation import Conversation, Turn
from engine.errors import StoreError
from engine.store.listing import Listed
from engine.store.migrations import MIGRATIONS, migrate, version
from engine.text import one_line
from engine.types import Answer, StopReason

_TITLE_WIDTH = 80
_BUSY_SECONDS = 5.0


class ConversationStore:
    """All conversations of a person. Calls block for a disk write; any thread may make them.

    Several programs may hold the same file: each write is one transaction.
    """

    def __init__(self, file: Path) -> None:
        """Open `file`, made if it is not there. Raises StoreError."""
        self._file = file
        self._lock = threading.Lock()
        with self._explained():
            file.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(
                file, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA foreign_keys = ON")
            migrate(self._database)
            found = version(self._database)
        if found > len(MIGRATIONS):
            raise StoreError(
                f"{file} was written by a newer version of this program.",
                "Update this program; until then the conversation is not kept.",
            )

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def begin(self, conversation: Conversation, question: str, answer: Answer) -> int:
        """Keep a question and the (still empty) answer to it; returns the answer's id.

        Gives the conversation its id, with its first question as title.
        """
        now = time.time()
        with self._writing() as database:
            if conversation.id is None:
                conversation.id = database.execute(
                    "INSERT INTO conversation (title, created, updated) VALUES (?, ?, ?)",
                    (one_line(question, _TITLE_WIDTH), now, now),
                ).lastrowid
            turn = database.execute(
                "INSERT INTO turn (conversation_id, question, asked) VALUES (?, ?, ?)",
                (conversation.id, question, now),
            ).lastrowid
            added = _add_answer(database, turn or 0, answer)
            database.execute(
                "UPDATE conversation SET updated = ? WHERE id = ?", (now, conversation.id)
            )
        return added

    def begin_other(self, answer_id: int, answer: Answer) -> int:
        """Keep one more answer to the question of that one; returns the new answer's id."""
        with self._writing() as database:
            (turn,) = database.execute(
                "SELECT turn_id FROM answer WHERE id = ?", (answer_id,)
            ).fetchone()
            return _add_answer(database, turn, answer)

    def update(self, answer_id: int, answer: Answer, *, finished: bool) -> None:
        """Keep what an answer has become."""
        with self._writing() as database:
            database.execute(
                "UPDATE answer SET body = ?, finished = ?, updated = ? WHERE id = ?",
                (_encode(answer), finished, time.time(), answer_id),
            )

    def listed(self, limit: int = 200) -> list[Listed]:
        """Conversations, the latest first."""
        with self._reading() as database:
            rows = database.execute(
                "SELECT id, title, updated, (SELECT count(*) FROM turn WHERE"
                " turn.conversation_id = conversation.id) FROM conversation"
                " ORDER BY updated DESC, id DESC LIMIT ?",
                (limit,),
            ).fetchall()
        return [Listed(*row) for row in rows]

    def open(self, conversation_id: int) -> Conversation:
        """A whole conversation. An answer that was cut short by a kill comes back as cancelled."""
        with self._reading() as database:
            rows = database.execute(
                "SELECT turn.id, question, body, finished FROM turn"
                " LEFT JOIN answer ON answer.turn_id = turn.id"
                " WHERE conversation_id = ? ORDER BY turn.id, answer.id",
                (conversation_id,),
            ).fetchall()
        turns: dict[int, Turn] = {}
        for turn_id, question, body, done in rows:
            turn, answer = turns.get(turn_id), _decode(body, bool(done))
            if turn is None:
                turns[turn_id] = Turn(question, answer)
            elif answer is not None:
                turn.others.append(answer)
        return Conversation(conversation_id, list(turns.values()))

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._explained(), self._lock, self._database:
            self._database.execute("BEGIN IMMEDIATE")
            yield self._database

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._explained(), self._lock:
            yield self._database

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise StoreError(
                f"Conversations cannot be kept in {self._file}: {error}.",
                "Check that the disk is not full and that the file can be written.",
            ) from error


def _add_answer(database: sqlite3.Connection, turn: int, answer: Answer) -> int:
    added = database.execute(
        "INSERT INTO answer (turn_id, engine, finished, body, updated) VALUES (?, ?, 0, ?, ?)",
        (turn, answer.engine, _encode(answer), time.time()),
    ).lastrowid
    return added or 0


def _encode(answer: Answer) -> str:
    return msgspec.json.encode(answer).decode()


def _decode(body: str | None, finished: bool) -> Answer | None:
    if body is None:
        return None
    answer = msgspec.json.decode(body, type=Answer)
    return answer if finished else replace(answer, stop_reason=StopReason.CANCELLED)
