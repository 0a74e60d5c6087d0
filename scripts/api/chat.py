"""Answer chat requests with the engines of the chat.

A model's name is an engine's id; `lora:memory` is the engine `lora` without the record.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Sequence

from engine.chat.answer import PendingAnswer
from engine.chat.open import Resources
from engine.config.settings import load
from engine.core.errors import BalcaoError, EngineUnavailable, PromptTooLong, UsageError
from engine.core.types import Answer, Answered, Event, Mode, StopReason, Tokens, Turn
from scripts.api.bodies import ApiError, Body, ChatMessage, ChatRequest, too_long
from scripts.ask import as_object

_MEMORY = ":memory"
_SEARCHED = 8
"""Earlier questions that are searched for again, so that follow-ups know their product."""


class Counter:
    """The engines and the catalogue that answer requests."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._created = int(time.time())

    async def models(self) -> list[Body]:
        """Return the models that can answer now, in OpenAI's form."""
        registry = self._resources.registry
        self._add_new_engines()
        ready = [
            engine_id
            for engine_id, found in (await self._resources.availability()).items()
            if found.ready
        ]
        names = [
            name
            for engine_id in ready
            for name in _names(engine_id, verbatim=registry.get(engine_id).verbatim)
        ]
        return [self._model(name) for name in names]

    async def model(self, name: str) -> Body:
        """Return a model in OpenAI's form. Raises ApiError if there is none of that name."""
        self._engine_of(name)
        return self._model(name)

    def _model(self, name: str) -> Body:
        return {"id": name, "object": "model", "created": self._created, "owned_by": "balcao"}

    def _engine_of(self, name: str) -> tuple[str, Mode]:
        engine_id = name.removesuffix(_MEMORY)
        registry = self._resources.registry
        if engine_id not in registry.ids:
            self._add_new_engines()
        known = engine_id in registry.ids
        if not known or name not in _names(engine_id, verbatim=registry.get(engine_id).verbatim):
            message = f"The model “{name[:100]}” does not exist. GET /v1/models lists them."
            raise ApiError(404, message, code="model_not_found", param="model")
        return engine_id, Mode.MEMORY if name != engine_id else Mode.GROUNDED

    def _add_new_engines(self) -> None:
        """Add the engines that a training has written to the settings."""
        settings = load()
        for engine_id in settings.engines:
            if engine_id not in self._resources.registry.ids:
                self._resources.registry.add(engine_id, settings)

    async def pending(self, request: ChatRequest) -> PendingAnswer:
        """Prepare an answer to the request's last message. Raises ApiError or BalcaoError."""
        engine_id, mode = self._engine_of(request.model)
        said = [one for one in request.messages if one.role in ("user", "assistant")]
        system = "\n\n".join(
            one.text for one in request.messages if one.role in ("system", "developer")
        )
        earlier = await self._turns(said[:-1], engine_id, mode)
        return PendingAnswer(
            self._resources.registry,
            self._resources.catalogue,
            said[-1].text,
            engine_id,
            mode,
            earlier,
            system=system.strip(),
            sampling=request.sampling(),
        )

    async def _turns(
        self, messages: Sequence[ChatMessage], engine_id: str, mode: Mode
    ) -> list[Turn]:
        """Rebuild the conversation: the client sends texts, without the products they are about."""
        pairs = _pairs(messages)
        turns: list[Turn] = []
        registry, catalogue = self._resources.registry, self._resources.catalogue
        for place, (question, text) in enumerate(pairs):
            pending = PendingAnswer(registry, catalogue, question, engine_id, mode, turns)
            searched = place >= len(pairs) - _SEARCHED
            turns.append(Turn(question, await pending.as_said(text, searched=searched)))
        return turns


def _names(engine_id: str, *, verbatim: bool) -> tuple[str, ...]:
    return (engine_id,) if verbatim else (engine_id, engine_id + _MEMORY)


def _pairs(messages: Sequence[ChatMessage]) -> list[tuple[str, str]]:
    """Return each question with what was answered; a question without an answer is left out."""
    pairs: list[tuple[str, str]] = []
    question = ""
    for one in messages:
        if one.role == "user":
            question = one.text
        elif question:
            pairs.append((question, one.text))
            question = ""
    return pairs


async def finished(events: AsyncGenerator[Event]) -> Answer:
    """Return the answer at the end of `events`."""
    async for event in events:
        if isinstance(event, Answered):
            return event.answer
    raise AssertionError("an answer always ends in Answered")


def finish_reason(answer: Answer) -> str:
    """Return OpenAI's word for why an answer ended."""
    return "length" if answer.stop_reason is StopReason.LENGTH else "stop"


def tokens_of(answer: Answer) -> Tokens | None:
    """Return the tokens of an answer: none were used if no model was asked."""
    return Tokens(0, 0) if answer.verbatim else answer.tokens


def extra_of(answer: Answer) -> Body:
    """Return what a reply says beyond OpenAI's form: source, fidelity and figures."""
    left_out = ("question", "answer", "tokens", "error", "thinking")
    return {name: value for name, value in as_object(answer).items() if name not in left_out}


def explain(error: BalcaoError) -> ApiError:
    """Return the reply to an error of the program. Clients need not try again by themselves."""
    if isinstance(error, PromptTooLong):
        return too_long(str(error))
    if isinstance(error, UsageError):
        return ApiError(400, str(error), code="invalid_value")
    unavailable = isinstance(error, EngineUnavailable)
    return ApiError(
        503 if unavailable else 500,
        str(error),
        code="engine_unavailable" if unavailable else "engine_failed",
        headers={"x-should-retry": "false"},
    )
