"""Conversations in SQLite, written as they happen, so that a kill loses only unfinished words."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from msgspec.structs import replace

from engine.core.errors import StoreError
from engine.core.i18n import tr
from engine.core.types import Answer, Conversation, Problem, Turn
from engine.store import archive as transfer
from engine.store import search as searching
from engine.store import write as writing
from engine.store.archive import ArchivedConversation
from engine.store.database import Database
from engine.store.search import ConversationSummary


class ConversationStore:
    """All conversations of a person. Calls block for a disk write; any thread may make them.

    Several programs may hold the same file: each write is one transaction. What is deleted can be
    brought back until the store that deleted it is closed.
    """

    def __init__(self, file: Path) -> None:
        """Open `file`, made if it is not there; only to read where it cannot be written.

        Raises StoreError.
        """
        self._database = Database(file)
        self.deleted: list[int] = []
        """What undelete() can bring back, the next one last."""
        if not self.read_only:
            with suppress(StoreError):  # a disk that is full now; the next start does it
                transfer.purge_left_over(self._database)

    @property
    def read_only(self) -> Problem | None:
        """Why nothing can be kept, where that is so."""
        return self._database.read_only

    def close(self) -> None:
        """Purge what was deleted, and close the file."""
        if self.deleted:
            with suppress(StoreError):  # it stays hidden, and a later start purges it
                transfer.purge(self._database, self.deleted)
        self._database.close()

    def begin(
        self, conversation: Conversation, question: str, answer: Answer, turn: Turn | None = None
    ) -> int:
        """Keep a question and the (still empty) answer to it; returns the answer's id.

        Gives the conversation its id, with its first question as title, and `turn`, if given, its
        own. Turns before that could not be kept then are kept now; a conversation that was deleted
        meanwhile is kept again.
        """
        before = [one for one in conversation.turns if one is not turn and one.answers]
        number = conversation.id
        with self._database.writing() as database:
            if number is not None and not writing.is_there(database, number):
                number, before = None, [replace(one, id=None) for one in before]
            if number is None:
                first = before[0].question if before else question
                number = writing.add_conversation(database, first)
            numbers = writing.add_unsaved(database, number, before)
            now = time.time()
            turn_id = writing.add_turn(database, number, question, now)
            added = writing.add_answer(database, turn_id, answer, now, finished=False)
            database.execute(
                "UPDATE conversation SET updated = ?, deleted = NULL WHERE id = ?", (now, number)
            )
        conversation.id = number
        if turn is not None:
            turn.id = turn_id
            earlier = (one for one in conversation.turns if one is not turn and one.answers)
            for one, its in zip(earlier, numbers, strict=False):
                one.id, one.unsaved = its, False
        return added

    def begin_other(self, turn_id: int, answer: Answer, *, chosen: bool = False) -> int:
        """Keep one more answer to a turn; returns the answer's id.

        `chosen`: the conversation goes on from it.
        """
        with self._database.writing() as database:
            added = writing.add_answer(database, turn_id, answer, time.time(), finished=False)
            if chosen:
                writing.choose_answer(database, turn_id, added)
        return added

    def update(self, answer_id: int, answer: Answer, *, finished: bool) -> None:
        """Keep what an answer has become."""
        with self._database.writing() as database:
            changed = database.execute(
                "UPDATE answer SET body = ?, finished = ?, updated = ? WHERE id = ?",
                (writing.encode(answer), finished, time.time(), answer_id),
            ).rowcount
        if not changed:
            raise StoreError(tr("The conversation was deleted by another program meanwhile."))

    def choose(self, turn_id: int, place: int) -> None:
        """The conversation goes on from the answer at that place of the turn's answers."""
        with self._database.writing() as database:
            database.execute(
                "UPDATE turn SET chosen = (SELECT id FROM answer WHERE turn_id = turn.id"
                " ORDER BY id LIMIT 1 OFFSET ?) WHERE id = ?",
                (place, turn_id),
            )

    def latest(
        self, limit: int = 200, after: ConversationSummary | None = None
    ) -> list[ConversationSummary]:
        """Conversations, the latest first; those that follow `after` in that order, if given."""
        with self._database.reading() as database:
            return searching.latest(database, limit, after)

    def search(self, text: str, limit: int = 200) -> list[ConversationSummary]:
        """Conversations that have every word of `text`, or its beginning, in one turn or the title.

        The latest first; accents and case do not matter. All of them where `text` has no word.
        """
        query = searching.as_query(text)
        if not query:
            return self.latest(limit)
        with self._database.reading() as database:
            return searching.search(database, query, limit)

    def count(self) -> int:
        """How many conversations there are."""
        with self._database.reading() as database:
            (number,) = database.execute(
                "SELECT count(*) FROM conversation WHERE deleted IS NULL"
            ).fetchone()
        return int(number)

    def open(self, conversation_id: int) -> Conversation:
        """A whole conversation. An answer that was cut short by a kill comes back as cancelled."""
        with self._database.reading() as database:
            rows = database.execute(
                "SELECT turn.id, question, chosen, answer.id, body, finished FROM turn"
                " LEFT JOIN answer ON answer.turn_id = turn.id"
                " WHERE conversation_id = ? ORDER BY turn.id, answer.id",
                (conversation_id,),
            ).fetchall()
            return Conversation(conversation_id, _turns(rows))

    def rename(self, conversation_id: int, title: str) -> None:
        """Give a conversation another title; it keeps its place in the list."""
        self._change(conversation_id, "title = ?", writing.title_from(title))

    def delete(self, conversation_id: int) -> None:
        """Take a conversation out of every list; purged when this store is closed."""
        self._change(conversation_id, "deleted = ?", time.time())
        self.deleted.append(conversation_id)

    def undelete(self) -> int | None:
        """Bring back what this store deleted last; its id, or None where there is nothing more."""
        while self.deleted:
            number = self.deleted[-1]
            with self._database.writing() as database:
                back = database.execute(
                    "UPDATE conversation SET deleted = NULL WHERE id = ?", (number,)
                ).rowcount
            self.deleted.pop()
            if back:
                return number
        return None

    def fork(self, conversation_id: int, turns: int) -> int:
        """A new conversation of that one's first `turns` (at least 1), all answers to them with it.

        Returns its id; open() gives it. The other stays as it is.
        """
        with self._database.writing() as database:
            now = time.time()
            added = database.execute(
                "INSERT INTO conversation (title, created, updated, parent)"
                " SELECT title, ?, ?, uid FROM conversation WHERE id = ? AND deleted IS NULL",
                (now, now, conversation_id),
            )
            number = added.lastrowid if added.rowcount == 1 else None
            if number is None:
                raise writing.gone(conversation_id)
            writing.copy_turns(database, conversation_id, number, turns)
        return number

    def ids(self) -> list[int]:
        """The ids of all conversations, the oldest first."""
        with self._database.reading() as database:
            found = database.execute(
                "SELECT id FROM conversation WHERE deleted IS NULL ORDER BY created, id"
            ).fetchall()
        return [number for (number,) in found]

    def archived(self, conversation_id: int) -> ArchivedConversation:
        """A conversation with its times and everything else, to be exported. Raises StoreError."""
        with self._database.reading() as database:
            return transfer.archived(database, conversation_id)

    def add(self, conversations: Iterable[ArchivedConversation]) -> transfer.ImportResult:
        """Add those that are not here yet, all or none. Raises StoreError."""
        return transfer.add(self._database, conversations)

    def _change(self, conversation_id: int, what: str, value: object) -> None:
        with self._database.writing() as database:
            changed = database.execute(
                f"UPDATE conversation SET {what} WHERE id = ? AND deleted IS NULL",  # noqa: S608 - our own words
                (value, conversation_id),
            ).rowcount
            if not changed:
                raise writing.gone(conversation_id)


def _turns(
    rows: list[tuple[int, str, int | None, int | None, str | None, int | None]],
) -> list[Turn]:
    turns: dict[int, Turn] = {}
    for turn_id, question, chosen, answer_id, body, finished in rows:
        turn = turns.get(turn_id)
        answer = None if body is None else transfer.decode_answer(body, finished=bool(finished))
        if turn is None:
            turns[turn_id] = Turn(question, answer, id=turn_id)
        elif answer is not None:
            turn.others.append(answer)
            if answer_id == chosen:
                turn.choose(len(turn.others))
    return list(turns.values())
