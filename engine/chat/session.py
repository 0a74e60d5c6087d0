"""Hold the state of one chat: engine, mode, conversation and selected turn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING

from msgspec.structs import replace

from engine.backends.registry import Registry
from engine.config.settings import Settings, load
from engine.core.errors import BalcaoError, StoreError, UsageError
from engine.core.i18n import tr
from engine.core.text import one_line
from engine.core.types import (
    Answer,
    Completion,
    Conversation,
    Event,
    Loading,
    Mode,
    NotSaved,
    Progress,
    Turn,
)

if TYPE_CHECKING:
    from engine.chat.answer import PendingAnswer
    from engine.chat.open import Resources
    from engine.chat.recorder import Recorder
    from engine.store.conversations import ConversationStore
    from engine.store.search import ConversationSummary


_LOOK_EVERY = 0.002
"""Seconds between two looks whether a process has started."""


class Session:
    """A chat for any front end. Importing it loads neither the catalogue nor the store."""

    def __init__(self, settings: Settings, resources: Resources | None = None) -> None:
        """Begin with an empty conversation; without `resources`, call `start` later."""
        self.settings = settings
        self.registry = resources.registry if resources else Registry(settings)
        self.titles = {name: one_line(title) for name, title in self.registry.titles.items()}
        self.engine = settings.engine
        self.mode = settings.mode
        self.conversation = Conversation()
        self.selected: int | None = None
        """Index of the turn that commands act on; None is the last turn."""
        self.editing: int | None = None
        """Index of the turn whose question is being edited."""
        self.queue: list[str] = []
        """Questions that wait for the answer before them, in their order."""
        self.listed: Sequence[ConversationSummary] = ()
        """The conversations that were listed last, to be opened by number."""
        self.answer: Answer | None = None
        """The answer that the last `ask` or `ask_again` has added, complete or cancelled."""
        self.is_answering = False
        self.progress: Progress | None = None
        """How far an engine has loaded; None if none is loading."""
        self.resources: Resources | None = None
        self.failure: BalcaoError | None = None
        """Why the resources could not be opened."""
        self._started = asyncio.Event()
        self._loading: asyncio.Task[None] | None = None
        if resources:
            self.start(resources)

    def start(self, resources: Resources) -> None:
        """Let the questions that wait for the resources go on."""
        self.resources, self.registry = resources, resources.registry
        self._started.set()

    def fail(self, error: BalcaoError) -> None:
        """Raise `error` in the questions that wait for the resources."""
        self.failure = error
        self._started.set()

    async def ready(self) -> Resources:
        """Wait for the resources. Raises BalcaoError if they could not be opened."""
        await self._started.wait()
        if self.resources is None:
            raise self.failure or AssertionError("started without resources")
        return self.resources

    async def store(self) -> ConversationStore:
        """Wait for the conversation store. Raises BalcaoError if conversations are not saved."""
        resources = await self.ready()
        if resources.store is None:
            if problem := resources.not_saving:
                raise StoreError(problem.message, problem.remedy)
            raise StoreError(tr("Conversations are not saved."))
        return resources.store

    def next_engine(self) -> None:
        """Select the next engine, after the last one the first."""
        ids = list(self.titles)
        self.engine = ids[(ids.index(self.engine) + 1) % len(ids)]

    def find_engine(self, name: str) -> str:
        """Return the id of the engine with this id or title. Raises UsageError."""
        wanted = name.casefold()
        for engine_id, title in self.titles.items():
            if wanted in (engine_id.casefold(), title.casefold()):
                return engine_id
        raise UsageError(
            tr("There is no engine “{name}”: {titles}.", name=name, titles=", ".join(self.titles))
        )

    @property
    def shown_mode(self) -> Mode:
        """The mode as the active engine has it: the catalogue always quotes."""
        is_grounded = self.mode is Mode.QUOTE and self.registry.is_verbatim(self.engine)
        return Mode.GROUNDED if is_grounded else self.mode

    def set_mode(self, mode: Mode | None = None) -> None:
        """Switch to `mode`, by default to the next one that the active engine has."""
        modes = [*Mode][self.registry.is_verbatim(self.engine) :]
        self.mode = mode or modes[(modes.index(self.shown_mode) + 1) % len(modes)]

    async def add_engine(self, engine_id: str) -> None:
        """Select an engine that has just been written to the settings. Raises BalcaoError."""
        settings = load()
        registry = (await self.ready()).registry
        if engine_id not in registry.ids:
            registry.add(engine_id, settings)
            self.titles[engine_id] = one_line(registry.titles[engine_id])
        self.engine = engine_id

    async def complete(self, text: str) -> Sequence[Completion]:
        """Find titles that `text` may become; from memory, those that the engine was trained on.

        A question about the product in hand, like "how big is it", has none. Raises BalcaoError.
        """
        from engine.chat.followup import needs_no_search

        resources = await self.ready()
        if self.conversation.turns and needs_no_search(text):
            return ()
        from_memory = resources.registry.get(self.engine) if self.mode is Mode.MEMORY else None
        return await asyncio.to_thread(resources.complete, text, from_memory)

    async def load_engine(self, engine_id: str) -> AsyncGenerator[Progress]:
        """Load an engine so that the next question need not wait. Raises EngineError."""
        engine = (await self.ready()).registry.get(engine_id)
        try:
            async with aclosing(engine.load()) as steps:
                async for step in steps:
                    self.progress = step
                    yield step
        finally:
            self.progress = None

    async def begin_loading(self) -> None:
        """Start the process of the active engine's model, if it has one on this machine.

        On return it loads by itself, also while this process imports what the chat needs.
        """
        engine = self.registry.get(self.engine)
        if not engine.loaded:
            self._loading = asyncio.create_task(self.preload())
            while not (self._loading.done() or engine.facts().loading):  # noqa: ASYNC110 - no event
                await asyncio.sleep(_LOOK_EVERY)

    async def preload(self) -> None:
        """Load the active engine, if it can be, before a question comes; that reports a failure."""
        engine = self.registry.get(self.engine)
        if engine.loaded or not (await asyncio.to_thread(engine.availability)).ready:
            return
        with suppress(BalcaoError):
            async with aclosing(engine.load()) as steps:
                async for _ in steps:
                    pass

    @property
    def turn(self) -> tuple[int, Turn] | None:
        """The turn that commands act on, with its index: the selected one, otherwise the last."""
        turns = self.conversation.turns
        if not turns:
            return None
        index = len(turns) - 1 if self.selected is None else self.selected
        return index, turns[index]

    def ask(self, question: str) -> AsyncGenerator[Event]:
        """Ask the active engine, as the next turn; closing the generator keeps the text so far."""
        return self._ask(question, self.engine, self.mode, self.conversation)

    async def _ask(
        self, question: str, engine_id: str, mode: Mode, conversation: Conversation
    ) -> AsyncGenerator[Event]:
        self.answer = None
        resources = await self.ready()
        pending = resources.pending_answer(question, engine_id, mode, conversation.turns)
        turn = Turn(pending.answer.question)
        recorder = resources.recorder(conversation, turn)
        conversation.turns.append(turn)
        try:
            async with aclosing(self._record(recorder, pending)) as events:
                async for event in events:
                    turn.answer = pending.answer
                    yield event
        finally:
            self.answer = turn.answer = pending.answer

    def ask_again(self, turn: Turn, engine_id: str | None = None) -> AsyncGenerator[Event]:
        """Ask a turn's question again; an answer with text is added to the turn and selected."""
        return self._ask_again(turn, engine_id or self.engine, self.mode, self.conversation)

    async def _ask_again(
        self, turn: Turn, engine_id: str, mode: Mode, conversation: Conversation
    ) -> AsyncGenerator[Event]:
        self.answer = None
        resources = await self.ready()
        earlier = conversation.turns[: _index_of(turn, conversation.turns)]
        pending = resources.pending_answer(turn.question, engine_id, mode, earlier)
        recorder = resources.recorder(conversation, turn, regenerated=True)
        try:
            async with aclosing(self._record(recorder, pending)) as events:
                async for event in events:
                    yield event
        finally:
            if pending.answer.text:
                self.answer = pending.answer
                turn.add(pending.answer)

    def compare(
        self, question: str, engine_ids: Sequence[str], turn: Turn | None = None
    ) -> AsyncGenerator[tuple[int, Event]]:
        """Ask several engines at once; yield events with the engine's place in `engine_ids`.

        The answers become the next turn, which continues from the first. With `turn` they become
        other answers to that turn's question, asked with what came before it.
        """
        return self._compare(question, engine_ids, self.mode, self.conversation, turn)

    async def _compare(
        self,
        question: str,
        engine_ids: Sequence[str],
        mode: Mode,
        conversation: Conversation,
        old: Turn | None,
    ) -> AsyncGenerator[tuple[int, Event]]:
        if not engine_ids:
            return
        resources, earlier = await self.ready(), conversation.turns
        if old:
            question, earlier = old.question, earlier[: _index_of(old, earlier)]
        answers = [resources.pending_answer(question, each, mode, earlier) for each in engine_ids]
        turn = old or Turn(answers[0].answer.question)
        recorder = resources.recorder(conversation, turn)
        try:
            problem = await recorder.begin(answers)
            if problem:
                yield 0, NotSaved(problem)
            streams = [recorder.record(answer) for answer in answers]
            async with aclosing(_side_by_side(streams)) as events:
                async for event in events:
                    yield event
        finally:
            finished = [answer.finish() for answer in answers]
            if old:
                turn.others = [*turn.others, *finished]
            else:
                turn.answer, *turn.others = finished
                conversation.turns.append(turn)
            for answer in answers:  # those that were cancelled before they began
                await recorder.end(answer)

    def use(self, conversation: Conversation) -> None:
        """Continue with another conversation."""
        self.conversation = conversation
        self.selected = self.editing = None
        self.queue.clear()

    def new(self) -> None:
        """Start an empty conversation."""
        self.use(Conversation())

    async def open(self, conversation_id: int) -> None:
        """Continue a saved conversation. Raises StoreError."""
        self.use(await asyncio.to_thread((await self.store()).open, conversation_id))

    async def fork(self, turns: int) -> None:
        """Continue in a copy of the conversation's first turns, with all their answers."""
        store = (await self.ready()).store
        self.use(await asyncio.to_thread(_fork, store, self.conversation, turns))

    async def switch_answer(self, turn: Turn, step: int) -> None:
        """Continue from the turn's next answer, or with -1 the previous one. Raises StoreError."""
        turn.choose((turn.place + step) % len(turn.answers))
        store = (await self.ready()).store
        if store and turn.id is not None:
            await asyncio.to_thread(store.choose, turn.id, turn.place)

    async def _record(self, recorder: Recorder, answer: PendingAnswer) -> AsyncGenerator[Event]:
        self.is_answering = True
        try:
            async with aclosing(recorder.record(answer)) as events:
                async for event in events:
                    self.progress = event.progress if isinstance(event, Loading) else None
                    yield event
        finally:
            self.is_answering, self.progress = False, None


def _index_of(turn: Turn, turns: Sequence[Turn]) -> int:
    return next(at for at, one in enumerate(turns) if one is turn)


def _fork(store: ConversationStore | None, conversation: Conversation, turns: int) -> Conversation:
    """Copy the conversation's first turns, on disk or else with the next question."""
    first = conversation.turns[:turns]
    if store and first and conversation.id and all(turn.id for turn in first):
        try:
            return store.open(store.fork(conversation.id, turns))
        except StoreError:
            pass
    return Conversation(turns=[replace(turn, id=None, others=[*turn.others]) for turn in first])


async def _side_by_side(
    streams: Sequence[AsyncGenerator[Event]],
) -> AsyncGenerator[tuple[int, Event]]:
    """Yield the events of every stream as they happen, each with the stream's place."""
    queue: asyncio.Queue[tuple[int, Event] | None] = asyncio.Queue()

    async def read(place: int) -> None:
        async with aclosing(streams[place]) as events:
            async for event in events:
                queue.put_nowait((place, event))

    tasks = [asyncio.create_task(read(place)) for place in range(len(streams))]
    ended = asyncio.gather(*tasks, return_exceptions=True)
    ended.add_done_callback(lambda _: queue.put_nowait(None))
    try:
        while (event := await queue.get()) is not None:
            yield event
    finally:
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
    for task in tasks:
        task.result()
