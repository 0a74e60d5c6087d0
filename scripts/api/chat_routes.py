"""OpenAI's calls for models and chat completions, whole and streamed."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing

from aiohttp import web

from engine.chat.answer import PendingAnswer
from engine.chat.open import Resources
from engine.core.types import Answered, Event, Piece, Tokens
from scripts.api.bodies import ApiError, Body, ChatRequest, Reply, read_body, read_chat_request
from scripts.api.chat import Counter, explain, extra_of, finish_reason, finished, tokens_of

_ANSWER_WITHIN = 900.0
"""Seconds for an answer, with the loading of its model."""
_READ_WITHIN = 30.0
"""Seconds in which a client must take what was written for it."""
_MAX_ANSWERS = 64
"""Answers at a time; those of one model wait for each other."""
_DONE = b"data: [DONE]\n\n"


class ChatRoutes:
    """The models, and their answers."""

    def __init__(self, resources: Resources) -> None:
        self._counter = Counter(resources)
        self._answers = 0

    def add_to(self, router: web.UrlDispatcher) -> None:
        """Add the routes."""
        router.add_get("/v1/models", self._list_models)
        router.add_get("/v1/models/{model:.+}", self._show_model)
        router.add_post("/v1/chat/completions", self._complete)

    async def _list_models(self, _request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": await self._counter.models()})

    async def _show_model(self, request: web.Request) -> web.Response:
        return web.json_response(await self._counter.model(request.match_info["model"]))

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        wanted = read_chat_request(await read_body(request))
        if self._answers >= _MAX_ANSWERS:
            raise ApiError(
                429,
                f"The server gives {_MAX_ANSWERS} answers already. Ask again in a while.",
                code="rate_limit_exceeded",
                headers={"Retry-After": "5"},
            )
        self._answers += 1
        try:
            async with asyncio.timeout(_ANSWER_WITHIN):
                pending = await self._counter.pending(wanted)
                async with aclosing(pending.events()) as events:
                    if wanted.stream:
                        return await _stream(request, wanted, pending, events)
                    return await _answer(wanted, pending, events)
        except TimeoutError:
            message = f"No answer within {_ANSWER_WITHIN:.0f} seconds."
            raise ApiError(504, message, headers={"x-should-retry": "false"}) from None
        finally:
            self._answers -= 1


async def _answer(
    wanted: ChatRequest, pending: PendingAnswer, events: AsyncGenerator[Event]
) -> web.Response:
    answer = await finished(events)
    if pending.error:
        raise explain(pending.error)
    reply = _reply(wanted)
    tokens = tokens_of(answer)
    return web.json_response(
        reply.whole(answer.text, finish_reason(answer), tokens, extra_of(answer))
    )


async def _stream(
    request: web.Request,
    wanted: ChatRequest,
    pending: PendingAnswer,
    events: AsyncGenerator[Event],
) -> web.StreamResponse:
    """Send the answer as it comes; before its first word an error is a plain reply."""
    reply = _reply(wanted)
    stream = _EventStream(request)
    async for event in events:
        match event:
            case Piece(text):
                if not stream.begun:
                    await stream.send(reply.chunk({"role": "assistant", "content": ""}))
                await stream.send(reply.chunk({"content": text}))
            case Answered(answer) if pending.error:
                refused = explain(pending.error)
                if not stream.begun:
                    raise refused
                await stream.send(refused.body)
            case Answered(answer):
                ended = reply.chunk({}, finish_reason(answer), balcao=extra_of(answer))
                await stream.send(ended)
                if wanted.with_usage:
                    await stream.send(reply.usage_chunk(tokens_of(answer) or Tokens(0, 0)))
            case _:
                pass
    return await stream.end()


class _EventStream:
    """Server-sent events to one client, which must keep up."""

    def __init__(self, request: web.Request) -> None:
        self._request = request
        self._response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"}
        )

    @property
    def begun(self) -> bool:
        """Whether the status was sent."""
        return self._response.prepared

    async def send(self, message: Body) -> None:
        """Send a message."""
        await self._write(b"data: " + json.dumps(message).encode() + b"\n\n")

    async def end(self) -> web.StreamResponse:
        """Send the mark of the end."""
        await self._write(_DONE)
        await self._response.write_eof()
        return self._response

    async def _write(self, data: bytes) -> None:
        async with asyncio.timeout(_READ_WITHIN):
            if not self._response.prepared:
                await self._response.prepare(self._request)
            await self._response.write(data)


def _reply(wanted: ChatRequest) -> Reply:
    return Reply(uuid.uuid4().hex, wanted.model)
