"""Save conversations in SQLite while they happen: a kill loses only unfinished words."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from msgspec.structs import replace

from engine.core.errors import StoreError
from engine.core.i18n import tr
from engine.core.types import Answer, Conversation, Problem, Turn
from engine.store import archive, search, write
from engine.store.archive import ArchivedConversation, ImportResult
from engine.store.database import Database
from engine.store.search import ConversationSummary

_PURGE_AFTER = 24 * 3600.0
"""Seconds after which no running program can still undelete a conversation."""


class ConversationStore:
    """All conversations of the user. Calls are thread-safe and block for a disk write.

    Several programs may share the file, since each write is one transaction. A store can undelete
    its own deletions until it is closed.
    """

    def __init__(self, file: Path) -> None:
        """Open or create `file`, read-only where it is not writable. Raises StoreError."""
        self._database = Database(file)
        self.deleted: list[int] = []
        """Conversations that `undelete` restores, next one last."""
        self.damaged = 0
        """Answers that `archived` could not read completely."""
        if not self.read_only:
            with suppress(StoreError):  # the next start purges them
                self._purge(self._ids("deleted < ?", time.time() - _PURGE_AFTER))

    @property
    def read_only(self) -> Problem | None:
        """Why conversations are not saved."""
        return self._database.read_only

    def close(self) -> None:
        """Purge deleted conversations and close the file."""
        with suppress(StoreError):
            self._purge(self.deleted)
        self._database.close()

    def _purge(self, numbers: list[int]) -> None:
        if numbers:
            with self._database.writing() as database:
                write.purge(database, numbers)

    def begin(
        self, conversation: Conversation, question: str, answer: Answer, turn: Turn | None = None
    ) -> int:
        """Save a question with its still empty answer and return the answer's id.

        Sets the id of a new conversation, titled after its first question, and of `turn`. Earlier
        turns that are unsaved are saved as well, and so is all of a deleted conversation.
        """
        earlier = [one for one in conversation.turns if one is not turn and one.answers]
        turns, number = earlier, conversation.id
        with self._database.writing() as database:
            if number is not None and not write.exists(database, number):
                number, turns = None, [replace(one, id=None) for one in earlier]
            if number is None:
                first = turns[0].question if turns else question
                number = write.add_conversation(database, first)
            turn_ids = write.add_unsaved(database, number, turns)
            now = time.time()
            turn_id = write.add_turn(database, number, question, now)
            answer_id = write.add_answer(database, turn_id, answer, now, finished=False)
            database.execute(
                "UPDATE conversation SET updated = ?, deleted = NULL WHERE id = ?", (now, number)
            )
        conversation.id = number
        if turn is not None:
            turn.id = turn_id
            for one, its_id in zip(earlier, turn_ids, strict=True):
                one.id, one.unsaved = its_id, False
        return answer_id

    def begin_other(self, turn_id: int, answer: Answer, *, chosen: bool = False) -> int:
        """Save another answer to a turn, which continues from it if `chosen`; return its id."""
        with self._database.writing() as database:
            answer_id = write.add_answer(database, turn_id, answer, time.time(), finished=False)
            if chosen:
                write.choose_answer(database, turn_id, answer_id)
        return answer_id

    def update(self, answer_id: int, answer: Answer, *, finished: bool) -> None:
        """Save the current text of an answer."""
        sql = "UPDATE answer SET body = ?, finished = ?, updated = ? WHERE id = ?"
        values = write.encode_answer(answer), finished, time.time(), answer_id
        if not self._execute(sql, *values):
            raise StoreError(tr("Another program deleted this conversation."))

    def choose(self, turn_id: int, place: int) -> None:
        """Continue the conversation from the turn's answer number `place`."""
        answer = "SELECT id FROM answer WHERE turn_id = turn.id ORDER BY id LIMIT 1 OFFSET ?"
        self._execute(f"UPDATE turn SET chosen = ({answer}) WHERE id = ?", place, turn_id)  # noqa: S608 - constant SQL

    def latest(
        self, limit: int = 200, after: ConversationSummary | None = None
    ) -> list[ConversationSummary]:
        """List conversations, latest first, starting after `after`."""
        with self._database.reading() as database:
            return search.latest(database, limit, after)

    def search(self, text: str, limit: int = 200) -> list[ConversationSummary]:
        """Find conversations with all words of `text`, or their beginnings, in a turn or the title.

        Latest first; accents and case are ignored. Text without words lists all conversations.
        """
        with self._database.reading() as database:
            return search.search(database, text, limit)

    def open(self, conversation_id: int) -> Conversation:
        """Load a conversation; an answer that a killed program left unfinished is cancelled."""
        with self._database.reading() as database:
            turns = archive.load_turns(database, conversation_id)
        return Conversation(
            conversation_id, [archive.as_turn(turn, turn_id) for turn_id, turn in turns.items()]
        )

    def rename(self, conversation_id: int, title: str) -> None:
        """Change the title; the conversation keeps its place in the list."""
        self._change(conversation_id, "title = ?", write.title_from(title))

    def delete(self, conversation_id: int) -> None:
        """Hide a conversation from every list; closing the store erases it."""
        self._change(conversation_id, "deleted = ?", time.time())
        self.deleted.append(conversation_id)

    def undelete(self) -> int | None:
        """Restore the conversation that this store deleted last and return its id."""
        while self.deleted:
            number = self.deleted[-1]
            restored = self._execute("UPDATE conversation SET deleted = NULL WHERE id = ?", number)
            self.deleted.pop()
            if restored:
                return number
        return None

    def fork(self, conversation_id: int, turns: int) -> int:
        """Copy a conversation's first turns into a new one and return its id."""
        with self._database.writing() as database:
            return archive.fork(database, conversation_id, turns)

    def ids(self) -> list[int]:
        """Return the ids of all conversations, oldest first."""
        return self._ids("deleted IS NULL")

    def archived(self, conversation_id: int) -> ArchivedConversation:
        """Load a conversation for an export. Raises StoreError."""
        with self._database.reading() as database:
            found = archive.load(database, conversation_id)
        self.damaged += archive.count_damaged(found)
        return found

    def add(self, conversations: Iterable[ArchivedConversation]) -> ImportResult:
        """Import the conversations that the store does not have, all or none. Raises StoreError."""
        return archive.add(self._database, conversations)

    def _change(self, conversation_id: int, assignment: str, value: object) -> None:
        sql = f"UPDATE conversation SET {assignment} WHERE id = ? AND deleted IS NULL"  # noqa: S608 - constant SQL
        if not self._execute(sql, value, conversation_id):
            raise write.missing(conversation_id)

    def _ids(self, condition: str, *values: object) -> list[int]:
        sql = f"SELECT id FROM conversation WHERE {condition} ORDER BY created, id"  # noqa: S608 - constant SQL
        with self._database.reading() as database:
            return [number for (number,) in database.execute(sql, values)]

    def _execute(self, sql: str, *values: object) -> int:
        """Change rows in one transaction; return how many."""
        with self._database.writing() as database:
            return database.execute(sql, values).rowcount
