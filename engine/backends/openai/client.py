"""Talks to an OpenAI-compatible server by the openai package; imported late, by openai_chat alone.

Importing this module takes about a second: do it off the event loop.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import openai  # noqa: TID253 - this is the module that openai_chat imports lazily
from openai import AsyncStream, omit  # noqa: TID253 - as above
from openai.types.chat import (  # noqa: TID253 - as above
    ChatCompletionChunk,
    ChatCompletionMessageParam,
)

from engine.backends.openai.client_runtime_part import make_client
from engine.backends.openai.edge_runtime_part import Broken, Edge, failure_of
from engine.backends.openai.explaining_part import Asked
from engine.backends.openai.failures import Failure, Trouble, server_words
from engine.backends.openai.openai_fields_part import Fields
from engine.backends.openai.retries_part import FIRST_WAIT, wait_before_retry
from engine.core.i18n import tr
from engine.core.types import Chunk, Message, Request, Role, StopReason, Tokens

if TYPE_CHECKING:
    from openai.types.chat.chat_completion_chunk import Choice

_USAGE_WAIT = 2.0
"""Seconds that a finished answer waits for its token counts."""

_EXCERPT_BYTES = 64 * 1024
"""How much is read of an answer that is no stream, to find an error message in it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds to connect, seconds without a byte, and how often to ask again."""

    connect: float
    stall: float
    retries: int


class Session:
    """One client and what it has learned of its server. Made in a thread, used on one loop."""

    def __init__(self, asked: Asked, base_url: str | None, key: str, limits: Limits) -> None:
        self._asked = asked
        self._limits = limits
        self._fields = Fields(new_limit=base_url is None)
        self._client = make_client(
            asked.server, base_url, key, connect=limits.connect, stall=limits.stall
        )

    async def close(self) -> None:
        """Close the client; streams that are still open break off."""
        await self._client.close()

    async def answer(self, request: Request) -> AsyncGenerator[Chunk]:
        """The answer as it comes. Raises EngineUnavailable before it, EngineFailed within it."""
        with Edge(self._asked, self._client.api_key, began=False):
            stream = await self._open(request)
        reading = _Reading()
        try:
            with Edge(self._asked, self._client.api_key, began=True):
                await _check_is_stream(stream)
                async with aclosing(_chunks(stream, reading)) as chunks:
                    async for chunk in chunks:
                        if text := reading.take(chunk):
                            yield Chunk(text)
                stop = reading.end()
        finally:
            await stream.close()
        yield Chunk(stop_reason=stop, tokens=reading.tokens, notice=self._notice())

    @property
    def refused(self) -> tuple[str, ...]:
        """What the server's model has refused to take, in words."""
        taken = {tr("temperature"): self._fields.temperature, "top-p": self._fields.top_p}
        return tuple(name for name, still in taken.items() if not still)

    async def _open(self, request: Request) -> AsyncStream[ChatCompletionChunk]:
        """Ask until there is a stream, as often and with as long pauses as makes sense."""
        fields, tried, patience = self._fields, 0, self._limits.stall
        while True:
            try:
                stream = await self._ask(request, fields)
            except openai.APIError as error:
                failure = failure_of(error)
                left = fields.without(failure)
                retries = self._limits.retries
                wait = 0.0 if left else wait_before_retry(failure, tried, retries, patience)
                if wait is None:
                    raise
                fields = left or fields
            else:
                # For the next question too: a field is refused once, not every time.
                self._fields = fields
                return stream
            await asyncio.sleep(wait)
            # A wait of next to nothing counts for more, so that the tries come to an end.
            tried, patience = tried + (not left), patience - max(wait, FIRST_WAIT)

    async def _ask(self, request: Request, fields: Fields) -> AsyncStream[ChatCompletionChunk]:
        return await self._client.chat.completions.create(
            model=self._asked.model,
            messages=[_message(message) for message in request.messages],
            stream=True,
            stream_options={"include_usage": True} if fields.usage else omit,
            temperature=request.temperature if fields.temperature else omit,
            # 1 is every server's own: a reasoning model, which takes none, need not refuse it.
            top_p=request.top_p if fields.top_p and request.top_p < 1 else omit,
            max_completion_tokens=request.max_tokens if fields.new_limit else omit,
            max_tokens=omit if fields.new_limit else request.max_tokens,
        )

    def _notice(self) -> str:
        if not self.refused:
            return ""
        refused = tr(" and no ").join(self.refused)
        return tr("“{model}” takes no {refused}: the server's own was used.").format(
            model=self._asked.model, refused=refused
        )


class _Reading:
    """What an answer's chunks have told so far. Nothing in them is taken for granted.

    The package builds its types without checking, so any field may be missing or of another type.
    """

    def __init__(self) -> None:
        self.finish = ""
        self.tokens: Tokens | None = None

    def take(self, chunk: ChatCompletionChunk) -> str:
        """Note a chunk; returns its words."""
        self._count(chunk)
        choices = getattr(chunk, "choices", None)
        if not isinstance(choices, list) or not choices:
            return ""
        choice: Choice = choices[0]
        finish = getattr(choice, "finish_reason", None)
        if isinstance(finish, str) and finish:
            self.finish = finish
        delta = getattr(choice, "delta", None)
        # A refusal is an answer too: the model says that it won't.
        words = getattr(delta, "content", None) or getattr(delta, "refusal", None)
        return words if isinstance(words, str) else ""

    def end(self) -> StopReason:
        """How the answer ended. Raises Broken if it did not, or not with an answer."""
        match self.finish:
            case "":
                raise Broken(Failure(Trouble.CUT))
            case "length":
                return StopReason.LENGTH
            case "content_filter":
                raise Broken(Failure(Trouble.FILTERED))
            case "tool_calls" | "function_call":
                raise Broken(Failure(Trouble.WANTED_TOOL))
        return StopReason.COMPLETE

    def _count(self, chunk: ChatCompletionChunk) -> None:
        usage = getattr(chunk, "usage", None)
        prompt = getattr(usage, "prompt_tokens", None)
        completion = getattr(usage, "completion_tokens", None)
        if isinstance(prompt, int) and isinstance(completion, int):
            self.tokens = Tokens(prompt, completion)


async def _chunks(
    stream: AsyncStream[ChatCompletionChunk], reading: _Reading
) -> AsyncGenerator[ChatCompletionChunk]:
    """The stream's chunks. An answer that is whole does not fail for want of its token counts."""
    while True:
        finished = bool(reading.finish)
        try:
            async with asyncio.timeout(_USAGE_WAIT if finished else None):
                chunk = await anext(stream)
        except StopAsyncIteration:
            return
        except (openai.APIError, ValueError, TimeoutError):
            if finished:
                return
            raise
        yield chunk


async def _check_is_stream(stream: AsyncStream[ChatCompletionChunk]) -> None:
    """Raises Broken for a page or an object: the package would read it as an empty stream."""
    kind = stream.response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "text/html" and not kind.endswith(("json", "xml")):
        return
    _, _, words = server_words(await _body(stream) if kind.endswith("json") else None)
    raise Broken(Failure(Trouble.NOT_A_STREAM, words=words or kind))


async def _body(stream: AsyncStream[ChatCompletionChunk]) -> object:
    read = bytearray()
    async for part in stream.response.aiter_bytes():
        read += part
        if len(read) > _EXCERPT_BYTES:
            return None
    body = json.loads(read)
    return body if isinstance(body, dict) and "error" in body else None


def _message(message: Message) -> ChatCompletionMessageParam:
    # A lone surrogate, from a record's JSON, cannot be sent.
    content = message.content.encode("utf-8", "replace").decode("utf-8")
    match message.role:
        case Role.SYSTEM:
            return {"role": "system", "content": content}
        case Role.USER:
            return {"role": "user", "content": content}
        case Role.ASSISTANT:
            return {"role": "assistant", "content": content}
