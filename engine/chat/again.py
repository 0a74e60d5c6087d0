"""One more answer to a question that has one: by another engine, or by the same once more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from msgspec.structs import replace

from engine.chat.answer import Assistant
from engine.core.errors import StoreError
from engine.core.events import Answered, Event, NotSaved, Piece
from engine.core.types import Answer, Conversation, Mode, Problem, Turn
from engine.store.conversations import ConversationStore


async def ask_again(
    assistant: Assistant, turn: Turn, engine_id: str, mode: Mode, conversation: Conversation
) -> AsyncGenerator[Event]:
    """Answer the question of `turn`, one of the conversation's, from what was said before it.

    The new answer stands beside the others, and the conversation goes on from it; one without a
    word (an engine that cannot answer, a cancelled wait) changes nothing. Closing the generator
    cancels; the words that came are kept, in the turn and on disk.
    """
    place = next(at for at, one in enumerate(conversation.turns) if one is turn)
    held = Conversation(turns=conversation.turns[:place])
    aside = Assistant(assistant.registry, assistant.catalogue)
    keeping = _Keeping(assistant, turn)
    try:
        async with aclosing(aside.ask(turn.question, engine_id, mode, held)) as events:
            async for event in events:
                not_saved = None
                if isinstance(event, Piece):
                    not_saved = await keeping.so_far(held.turns[-1].answer)
                elif isinstance(event, Answered):
                    not_saved = await keeping.end(event.answer)
                if not_saved:
                    yield NotSaved(not_saved)
                yield event
    finally:
        if len(held.turns) > place:
            await keeping.end(held.turns[-1].answer)


class _Keeping:
    """Puts the answer into its turn and on disk, from the first word on."""

    def __init__(self, assistant: Assistant, turn: Turn) -> None:
        self._store = assistant.store
        self._turn = turn
        self._answer_id: int | None = None
        self._kept: Answer | None = None
        self._ended = False

    async def so_far(self, answer: Answer | None) -> Problem | None:
        """Keep the words so far, as often as the answer takes them in; returns why it failed."""
        if answer is None or answer is self._kept or not answer.text:
            return None
        self._kept = answer
        return await self._write(answer, finished=False)

    async def end(self, answer: Answer | None) -> Problem | None:
        """Take the answer as it is in the end, once; returns why it could not be put on disk."""
        if self._ended or answer is None or not answer.text:
            return None
        self._ended = True
        self._turn.add(answer)
        return await self._write(answer, finished=True)

    async def _write(self, answer: Answer, *, finished: bool) -> Problem | None:
        store, turn_id = self._store, self._turn.id
        if store is None or turn_id is None:
            return None
        try:
            if self._answer_id is None:
                self._answer_id = await asyncio.to_thread(
                    store.begin_other, turn_id, answer, chosen=True
                )
            await asyncio.to_thread(store.update, self._answer_id, answer, finished=finished)
        except StoreError as error:
            self._store, self._turn.unsaved = None, True
            return error.problem
        return None


def fork(store: ConversationStore | None, conversation: Conversation, turns: int) -> Conversation:
    """A conversation of the first `turns` turns, all answers to them with it. Blocks for the disk.

    Where it cannot be copied on disk, the copy is kept there with its next question, if that is
    possible then.
    """
    first = conversation.turns[:turns]
    if store and first and conversation.id and all(turn.id for turn in first):
        try:
            return store.open(store.fork(conversation.id, turns))
        except StoreError:
            pass
    return Conversation(turns=[replace(turn, id=None, others=[*turn.others]) for turn in first])
