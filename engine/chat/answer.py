"""One question from Enter to the stored answer: retrieve, decide, prompt, stream, store, score."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from msgspec.structs import replace

from engine.backends.base import Engine
from engine.backends.catalogue import counter_stream
from engine.backends.registry import Registry
from engine.catalogue import phrases
from engine.catalogue.catalogue import Retriever
from engine.catalogue.phrases import language_of
from engine.chat import followup
from engine.core import i18n
from engine.core.errors import BalcaoError, EngineUnavailable, StoreError
from engine.core.events import Answered, Event, Found, Loading, NotSaved, Piece
from engine.core.types import (
    Answer,
    Chunk,
    Conversation,
    Decision,
    Language,
    Message,
    Mode,
    Problem,
    Progress,
    Request,
    Status,
    StopReason,
    Timing,
    Turn,
)
from engine.fidelity.measure import fidelity
from engine.prompts import chat_messages
from engine.store.conversations import ConversationStore

_SAVE_EVERY = 0.5
"""Seconds between two writes of an answer that is coming: what a kill can lose."""


class Assistant:
    """Answers questions with any engine, from one catalogue, into one store."""

    def __init__(
        self, registry: Registry, catalogue: Retriever, store: ConversationStore | None = None
    ) -> None:
        self.registry = registry
        self.catalogue = catalogue
        self.store = store

    async def ask(
        self, question: str, engine_id: str, mode: Mode, conversation: Conversation
    ) -> AsyncGenerator[Event]:
        """Answer `question` as the conversation's next turn.

        Closing the generator cancels; the words that came are kept, in the conversation and on
        disk. An engine that cannot answer ends in `Answered` with a problem; UsageError is raised
        for an engine that does not exist.
        """
        engine = self.registry.get(engine_id)
        answering = _Answering(self, engine, mode, _encodable(question), conversation)
        try:
            async with aclosing(answering.events()) as events:
                async for event in events:
                    yield event
        finally:
            await answering.keep(finished=True)


class _Answering:
    """The state of one answer while it is given."""

    def __init__(
        self,
        assistant: Assistant,
        engine: Engine,
        mode: Mode,
        question: str,
        conversation: Conversation,
    ) -> None:
        self._assistant = assistant
        self._engine = engine
        self._conversation = conversation
        self._history = conversation.messages()
        self._started = time.perf_counter()
        self._first_token = 0.0
        self._retrieval = 0.0
        self._saved_at = 0.0
        self._answer_id: int | None = None
        self._pieces: list[str] = []
        self._answer = Answer(
            question,
            engine.info.id,
            # The catalogue engine answers from the record whatever the mode.
            Mode.GROUNDED if engine.verbatim else mode,
            Status.NONE,
            "",
            StopReason.CANCELLED,
        )
        self._turn = Turn(question)
        self._done = False

    async def events(self) -> AsyncGenerator[Event]:
        """Everything that happens, in order."""
        self._conversation.turns.append(self._turn)
        try:
            async with aclosing(self._answer_it()) as events:
                async for event in events:
                    yield event
        except BalcaoError as error:
            self._answer = replace(
                self._answer, stop_reason=StopReason.ERROR, problem=error.problem
            )
        answer = self._finish()
        self._done = True
        not_saved = await self.keep(finished=True)
        if not_saved:
            yield NotSaved(not_saved)
        yield Answered(answer)

    async def _answer_it(self) -> AsyncGenerator[Event]:
        request = await self._look_up()
        not_saved = await self._begin()
        if not_saved:
            yield NotSaved(not_saved)
        yield Found(request.decision, self._answer.verbatim)
        async with aclosing(self._speak(request)) as spoken:
            async for event in spoken:
                yield event

    async def _look_up(self) -> Request:
        question = self._answer.question
        language = _language([turn.question for turn in self._conversation.turns])
        decision, leaned = await self._decide(question)
        self._retrieval = self._elapsed()
        history = self._turns_before(decision, leaned=leaned)
        mode = self._answer.mode
        self._answer = self._turn.answer = replace(
            self._answer,
            status=decision.status,
            sources=decision.hits,
            nearest=decision.nearest,
            verbatim=self._engine.verbatim or _has_nothing_to_answer_from(mode, decision),
        )
        messages = chat_messages(
            question, decision.product, mode, history, self._engine.system_prompt
        )
        request = Request(question, mode, messages, decision, leaned, language)
        return self._engine.with_parameters(request)

    def _turns_before(self, decision: Decision, *, leaned: bool) -> tuple[Message, ...]:
        """The turns that the model is shown.

        A question from memory that names its product is asked alone, as a fine-tune has learned it:
        what another engine said of the product before would be repeated, or thrown in.
        """
        picked = followup.picked(self._answer.question, self._conversation) is not None
        alone = decision.product is not None and not leaned and not picked
        return () if alone and self._answer.mode is Mode.MEMORY else self._history

    async def _decide(self, question: str) -> tuple[Decision, bool]:
        chosen = followup.picked(question, self._conversation)
        if chosen:
            return chosen, False
        if phrases.courtesy(question, "en"):
            return Decision(Status.NONE), False
        decision = await asyncio.to_thread(self._assistant.catalogue.find, question)
        product = self._conversation.product
        undecided = decision.product is None
        if undecided and product and followup.leans_back(question):
            return followup.kept(product), True
        return decision, False

    async def _speak(self, request: Request) -> AsyncGenerator[Event]:
        if _has_nothing_to_answer_from(request.mode, request.decision):
            # There is no record to answer from: a model could only invent, so it is not asked.
            chunks = counter_stream(request, for_model=not self._engine.verbatim)
        else:
            async with aclosing(self._make_ready()) as steps:
                async for step in steps:
                    yield Loading(step)
            chunks = self._engine.stream(request)
        async with aclosing(chunks):
            async for chunk in chunks:
                self._note(chunk)
                # Some models begin with a blank; the answer that is kept does not.
                text = chunk.text if self._pieces else chunk.text.lstrip()
                if text:
                    yield self._add(text)
                    await self._keep_now_and_then()

    async def _make_ready(self) -> AsyncGenerator[Progress]:
        availability = self._engine.availability()
        if not availability.ready:
            raise EngineUnavailable(availability.reason, availability.remedy)
        if not self._engine.loaded:
            async with aclosing(self._engine.load()) as steps:
                async for step in steps:
                    yield step

    def _note(self, chunk: Chunk) -> None:
        answer = self._answer
        self._answer = replace(
            answer,
            by_counter=answer.by_counter or chunk.by_counter,
            stop_reason=chunk.stop_reason or answer.stop_reason,
            tokens=chunk.tokens or answer.tokens,
            notice=chunk.notice or answer.notice,
        )

    def _add(self, text: str) -> Piece:
        self._first_token = self._first_token or self._elapsed()
        self._pieces.append(text)
        return Piece(text)

    def _finish(self) -> Answer:
        """The answer as it stands, scored and timed, and so in the conversation."""
        if self._done:
            return self._answer
        text = "".join(self._pieces).strip()
        product = self._answer.product
        record = "" if product is None or self._answer.by_counter else product.description
        self._answer = self._turn.answer = replace(
            self._answer,
            text=text,
            fidelity=fidelity(text, record),
            timing=Timing(self._retrieval, self._first_token, self._elapsed()),
        )
        return self._answer

    async def _begin(self) -> Problem | None:
        store = self._assistant.store
        if store is None:
            return None
        try:
            self._answer_id = await asyncio.to_thread(
                store.begin, self._conversation, self._answer.question, self._answer, self._turn
            )
        except StoreError as error:
            return error.problem
        return None

    async def _keep_now_and_then(self) -> None:
        if time.monotonic() - self._saved_at >= _SAVE_EVERY:
            self._saved_at = time.monotonic()
            await self.keep(finished=False)

    async def keep(self, *, finished: bool) -> Problem | None:
        """Put the words so far on disk, the whole answer once; returns why it could not be done."""
        answer = self._finish()
        if self._assistant.store is None or self._answer_id is None:
            return None
        answer_id = self._answer_id
        if finished:
            self._answer_id = None
        try:
            await asyncio.to_thread(
                self._assistant.store.update, answer_id, answer, finished=finished
            )
        except StoreError as error:
            self._turn.unsaved = finished
            return error.problem
        return None

    def _elapsed(self) -> float:
        """Milliseconds since the question."""
        return (time.perf_counter() - self._started) * 1000


def _has_nothing_to_answer_from(mode: Mode, decision: Decision) -> bool:
    return mode is Mode.GROUNDED and decision.product is None


def _language(questions: Sequence[str]) -> Language:
    """The language of the last question; where that does not tell, of those before, or ours."""
    language: Language = i18n.spoken()
    for question in questions:
        language = language_of(question, language)
    return language


def _encodable(text: str) -> str:
    """Without lone surrogates, which neither a database nor a server can take."""
    return text.encode("utf-8", "replace").decode("utf-8")
