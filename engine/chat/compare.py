"""One question to several engines at once, for the compare screen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress

from engine.chat.answer import Assistant
from engine.core.errors import StoreError
from engine.core.events import Answered, Event
from engine.core.types import Answer, Conversation, Mode, Turn

Told = tuple[int, Event]
"""Which contestant, counted from 0, and what happened to it."""


async def compare(
    assistant: Assistant,
    question: str,
    contestants: Sequence[tuple[str, Mode]],
    conversation: Conversation,
) -> AsyncGenerator[Told]:
    """Ask every contestant (engine id and mode), and tell what happens as it happens.

    Each sees the conversation so far and none of the others. One that fails ends in its own
    `Answered` and stops nobody. What was answered becomes the conversation's next turn, on disk
    answer by answer; closing the generator cancels those that are still speaking.
    """
    queue: asyncio.Queue[Told | None] = asyncio.Queue()
    aside = Assistant(assistant.registry, assistant.catalogue)
    before = list(conversation.turns)
    held = [Conversation(turns=list(before)) for _ in contestants]
    keeping = _Keeping(assistant, question, conversation)

    async def run(place: int) -> None:
        events = aside.ask(question, *contestants[place], held[place])
        async with aclosing(events):
            async for event in events:
                queue.put_nowait((place, event))

    tasks = [asyncio.create_task(run(place)) for place in range(len(contestants))]
    ended = asyncio.gather(*tasks, return_exceptions=True)
    ended.add_done_callback(lambda _: queue.put_nowait(None))
    try:
        while (told := await queue.get()) is not None:
            if isinstance(told[1], Answered):
                await keeping.add(told[0], told[1].answer)
            yield told
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        for place, own in enumerate(held):
            if len(own.turns) > len(before) and own.turns[-1].answer:
                await keeping.add(place, own.turns[-1].answer)
        await keeping.close()
    for task in tasks:
        task.result()


class _Keeping:
    """Puts the answers into the conversation and on disk, each once."""

    def __init__(self, assistant: Assistant, question: str, conversation: Conversation) -> None:
        self._store = assistant.store
        self._conversation = conversation
        self._turn = Turn(question)
        self._answers: dict[int, Answer] = {}

    async def add(self, place: int, answer: Answer) -> None:
        """Keep a contestant's answer; the same place a second time is nothing new."""
        if place in self._answers:
            return
        self._answers[place] = answer
        try:
            await asyncio.to_thread(self._write, answer)
        except StoreError:
            self._store, self._turn.unsaved = None, True

    async def close(self) -> None:
        """The answers become the next turn, which goes on from the first contestant's.

        They stand in the order in which they ended, as they do on disk.
        """
        if not self._answers:
            return
        ended = list(self._answers)
        turn = self._turn
        turn.answer, *turn.others = self._answers.values()
        turn.choose(ended.index(min(ended)))
        self._conversation.turns.append(turn)
        if self._store and turn.id is not None and turn.place:
            with suppress(StoreError):
                await asyncio.to_thread(self._store.choose, turn.id, turn.place)

    def _write(self, answer: Answer) -> None:
        if self._store is None:
            return
        if self._turn.id is None:
            answer_id = self._store.begin(
                self._conversation, self._turn.question, answer, self._turn
            )
        else:
            answer_id = self._store.begin_other(self._turn.id, answer)
        self._store.update(answer_id, answer, finished=True)
