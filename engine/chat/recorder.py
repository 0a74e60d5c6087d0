"""Save a question and the answers to it in the conversation store while they arrive."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from functools import partial

from engine.chat.answer import PendingAnswer
from engine.core import types
from engine.core.errors import StoreError
from engine.store.conversations import ConversationStore

_SAVE_EVERY = 0.5
"""Seconds between two writes of an answer: what a killed process can lose."""


class Recorder:
    """Saves one turn. A turn that cannot be saved is saved with the next one."""

    def __init__(
        self,
        store: ConversationStore | None,
        conversation: types.Conversation,
        turn: types.Turn,
        *,
        regenerated: bool = False,
    ) -> None:
        """A `regenerated` answer joins the turn's others once it has text, and is selected."""
        self._store = store
        self._conversation = conversation
        self._turn = turn
        self._regenerated = regenerated
        self._ids: dict[PendingAnswer, int] = {}
        self._saved_at: dict[PendingAnswer, float] = {}
        self._due: dict[PendingAnswer, asyncio.Task[None]] = {}
        self._finished: set[PendingAnswer] = set()
        # A cancelled write goes on in its thread; the next one waits for it.
        self._writing = threading.Lock()

    async def begin(self, answers: Iterable[PendingAnswer]) -> types.Problem | None:
        """Create the answers in this order; return the problem if that fails."""
        for answer in answers:
            problem = await self._save(answer)
            if problem:
                return problem
        return None

    async def record(self, answer: PendingAnswer) -> AsyncGenerator[types.Event]:
        """Yield the answer's events; save its text twice a second, and the rest on closing."""
        try:
            async with aclosing(answer.events()) as events:
                async for event in events:
                    if isinstance(event, types.Piece | types.Thought):
                        yield event  # shown before the disk is waited for
                    problem = await self._save_after(event, answer)
                    if problem:
                        yield types.NotSaved(problem)
                    if not isinstance(event, types.Piece | types.Thought):
                        yield event
        finally:
            await self.end(answer)

    async def end(self, answer: PendingAnswer) -> None:
        """Save the rest of an answer, which may not have begun."""
        if due := self._due.pop(answer, None):
            due.cancel()
        answer.finish()
        await self._save(answer, finished=True)

    async def _save_after(self, event: types.Event, answer: PendingAnswer) -> types.Problem | None:
        now = time.monotonic()
        left = self._saved_at.get(answer, 0.0) + _SAVE_EVERY - now
        match event:
            case types.Answered():
                return await self._save(answer, finished=True)
            case types.Piece() | types.Thought() if left <= 0:
                self._saved_at[answer] = now
                return await self._save(answer)
            case types.Piece() | types.Thought() if answer not in self._due:
                # Perhaps no event comes for a while.
                self._due[answer] = asyncio.create_task(self._save_later(answer, left))
                return None
            case types.Found():
                return await self._save(answer)
            case _:
                return None

    async def _save_later(self, answer: PendingAnswer, seconds: float) -> None:
        await asyncio.sleep(seconds)
        del self._due[answer]
        self._saved_at[answer] = time.monotonic()
        await self._save(answer)

    async def _save(
        self, pending: PendingAnswer, *, finished: bool = False
    ) -> types.Problem | None:
        answer = pending.answer
        if self._store is None or pending in self._finished:
            return None
        if self._regenerated and not (answer.text and self._turn.id):
            return None
        try:
            # Cancelled once more, a write that waits for a thread must still happen.
            write = partial(self._write, self._store, pending, answer, finished)
            await asyncio.shield(asyncio.get_running_loop().run_in_executor(None, write))
        except StoreError as error:
            if pending not in self._ids:
                self._store = None
            elif not finished:
                return None  # a later write may succeed
            self._turn.unsaved = True
            return error.problem
        return None

    def _write(
        self, store: ConversationStore, pending: PendingAnswer, answer: types.Answer, finished: bool
    ) -> None:
        with self._writing:
            if pending in self._finished:
                return
            created = pending not in self._ids
            if created:
                self._ids[pending] = self._create(store, answer)
            if finished or not created:
                store.update(self._ids[pending], answer, finished=finished)
            if finished:
                self._finished.add(pending)

    def _create(self, store: ConversationStore, answer: types.Answer) -> int:
        if self._turn.id is None:
            return store.begin(self._conversation, self._turn.question, answer, self._turn)
        return store.begin_other(self._turn.id, answer, chosen=self._regenerated)
