"""A client for OpenAI-compatible servers: requests, streamed answers, and the package's errors.

Imports the openai package, which takes about a second: import this module in a thread.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from types import TracebackType
from typing import TYPE_CHECKING

import httpx2
import openai
from openai import AsyncOpenAI, AsyncStream, omit
from openai.types.chat import ChatCompletionChunk, ChatCompletionMessageParam

from engine.backends.openai.failures import (
    FIRST_DELAY,
    Endpoint,
    Failure,
    FailureKind,
    explain,
    parse_error,
    retry_delay,
)
from engine.core.errors import EngineFailed, EngineUnavailable
from engine.core.i18n import tr
from engine.core.types import Chunk, Message, Request, Role, StopReason, Tokens

if TYPE_CHECKING:
    from openai.types.chat.chat_completion_chunk import Choice


_LIMITS = httpx2.Limits(max_keepalive_connections=0)
"""One connection a question: an open one may be stale by the next (a restarted server, another
event loop), and a handshake is short compared with an answer."""


def make_client(endpoint: Endpoint, key: str) -> AsyncOpenAI:
    """Make a client. Raises EngineUnavailable.

    The package's own retries are off: they would also repeat requests that cannot succeed, as with
    an empty account, and those that must not run twice.
    """
    timeout = httpx2.Timeout(endpoint.stall_timeout, connect=endpoint.connect_timeout)
    try:
        # An HTTP client made by the package closes itself in `__del__`, which logs an error on
        # the terminal if its own `__init__` failed, as with an invalid proxy.
        http = openai.DefaultAsyncHttpx2Client(timeout=timeout, limits=_LIMITS)
        return AsyncOpenAI(
            api_key=key,
            base_url=endpoint.base_url,
            timeout=timeout,
            max_retries=0,
            http_client=http,
        )
    except (httpx2.InvalidURL, ValueError, ImportError, OSError):
        # An invalid address or proxy, SOCKS without its package, missing certificates.
        raise EngineUnavailable(
            tr("Cannot set up a connection to {server}.", server=endpoint.server),
            tr("Check the engine's `base_url`, and the environment's proxy and certificates."),
        ) from None


Explain = Callable[[Failure, Endpoint], tuple[str, str]]
"""Returns the message and the remedy for a failure."""


class StreamError(Exception):
    """A failure that is not an error to the package."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.kind)
        self.failure = failure


class ErrorBoundary:
    """Convert the package's errors: to EngineUnavailable, or EngineFailed if the answer `began`.

    A traceback that shows local variables must not show the key. The package's error, whose frames
    have it, is therefore not chained (`from None`), and no local here refers to it.
    """

    def __init__(
        self, endpoint: Endpoint, key: str, *, began: bool, explain: Explain = explain
    ) -> None:
        self._endpoint = endpoint
        self._key = key
        self._began = began
        self._explain = explain

    def __enter__(self) -> None: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        failure = _failure_from(error, began=self._began)
        del error, trace
        if failure is None:
            return
        failure = replace(failure, words=failure.words.replace(self._key, "…"))
        message, remedy = self._explain(failure, self._endpoint)
        raise (EngineFailed if self._began else EngineUnavailable)(message, remedy) from None


def to_failure(error: openai.APIError, *, began: bool = False) -> Failure:
    """Convert the package's error; `began` says that the stream was open."""
    match error:
        case openai.APIStatusError():
            return _refusal(error)
        case openai.APITimeoutError():
            connecting = isinstance(error.__cause__, httpx2.ConnectTimeout)
            return Failure(FailureKind.CONNECT_TIMEOUT if connecting else FailureKind.SILENT)
        case openai.APIConnectionError():
            return _no_connection(error.__cause__, began=began)
        case _:
            code, param, words = parse_error(error.body)
            return Failure(FailureKind.ERROR_EVENT, 0, code, param, words)


def _failure_from(error: BaseException | None, *, began: bool) -> Failure | None:
    match error:
        case openai.APIError():
            return to_failure(error, began=began)
        case StreamError():
            return error.failure
        case ValueError() | RecursionError():
            # The package does not catch errors of decoding an event.
            return Failure(FailureKind.GARBLED)
        case httpx2.HTTPError() | httpx2.StreamError() | OSError():
            return _no_connection(error, began=began)
        case _:
            return None


def _refusal(error: openai.APIStatusError) -> Failure:
    headers = error.response.headers
    code, param, words = parse_error(error.body)
    return Failure(
        FailureKind.REFUSED,
        error.status_code,
        code,
        param,
        words,
        _retry_after(headers),
        {"true": True, "false": False}.get(headers.get("x-should-retry", "")),
    )


def _no_connection(cause: BaseException | None, *, began: bool) -> Failure:
    if began:
        return Failure(FailureKind.CUT)
    answered_nothing = isinstance(cause, (httpx2.RemoteProtocolError, httpx2.ReadError))
    trouble = FailureKind.HUNG_UP if answered_nothing else FailureKind.UNREACHABLE
    return Failure(trouble, words=str(cause or ""))


def _retry_after(headers: httpx2.Headers) -> float | None:
    # Azure sends milliseconds. The standard header may also be a date, which is ignored.
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            wait = float(headers.get(name, "")) * unit
        except ValueError:
            continue
        if 0 <= wait < float("inf"):
            return wait
    return None


_NEW_LIMIT, _OLD_LIMIT = "max_completion_tokens", "max_tokens"
_OPTIONAL = ("stream_options", "temperature", "top_p")


@dataclass(frozen=True, slots=True)
class RequestFields:
    """The optional fields of a request: servers differ in what they accept."""

    limits: tuple[str, ...]
    """The names of the answer's limit that are left to try, the first one in use."""
    refused: frozenset[str] = frozenset()

    def without(self, failure: Failure) -> RequestFields | None:
        """Return the fields to try instead; None if the failure is not about one of them."""
        for name in _OPTIONAL:
            if name not in self.refused and failure.refuses(name):
                return replace(self, refused=self.refused | {name})
        limit, *others = self.limits
        return replace(self, limits=tuple(others)) if others and failure.refuses(limit) else None


_USAGE_WAIT = 2.0
"""Seconds that a finished answer waits for its token counts."""

_EXCERPT_BYTES = 64 * 1024
"""Read of a body that is not a stream, to find an error message in it."""


class OpenAIClient:
    """A client that remembers which fields its server refuses. Use it on one event loop."""

    def __init__(self, endpoint: Endpoint, key: str) -> None:
        self._endpoint = endpoint
        # OpenAI's newer models need the new name, and most other servers know the old one.
        limits = (_OLD_LIMIT, _NEW_LIMIT) if endpoint.base_url else (_NEW_LIMIT, _OLD_LIMIT)
        self._fields = RequestFields(limits)
        self._client = make_client(endpoint, key)

    async def close(self) -> None:
        """Close the client and its open streams."""
        await self._client.close()

    async def shutdown_date(self) -> object:
        """Return what the server says about the day on which it will shut the model down."""
        with suppress(openai.APIError, ValueError, RecursionError, AttributeError, TypeError):
            raw = await self._client.models.with_raw_response.list()
            for model in raw.http_response.json()["data"]:
                if model.get("id") == self._endpoint.model:
                    return model.get("shutdown_date")
        return None

    async def answer(self, request: Request) -> AsyncGenerator[Chunk]:
        """Stream the answer. Raises EngineUnavailable before its start, EngineFailed after it."""
        with ErrorBoundary(self._endpoint, self._client.api_key, began=False):
            stream = await self._open(request)
        reading = _StreamReader()
        try:
            with ErrorBoundary(self._endpoint, self._client.api_key, began=True):
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
        """The parameters that the model has refused."""
        shown = {"temperature": tr("temperature"), "top_p": "top-p"}
        return tuple(words for name, words in shown.items() if name in self._fields.refused)

    async def _open(self, request: Request) -> AsyncStream[ChatCompletionChunk]:
        fields, tried, patience = self._fields, 0, self._endpoint.stall_timeout
        while True:
            try:
                stream = await self._ask(request, fields)
            except openai.APIError as error:
                failure = to_failure(error)
                left = fields.without(failure)
                retries = self._endpoint.max_retries
                wait = 0.0 if left else retry_delay(failure, tried, retries, patience)
                if wait is None:
                    raise
                fields = left or fields
            else:
                # The next question starts with the fields that the server accepts.
                self._fields = fields
                return stream
            await asyncio.sleep(wait)
            # At least FIRST_DELAY: a server that asks for no delay must not be asked forever.
            tried, patience = tried + (not left), patience - max(wait, FIRST_DELAY)

    async def _ask(
        self, request: Request, fields: RequestFields
    ) -> AsyncStream[ChatCompletionChunk]:
        new_limit = fields.limits[0] == _NEW_LIMIT
        sends_top_p = "top_p" not in fields.refused and request.top_p < 1
        return await self._client.chat.completions.create(
            model=self._endpoint.model,
            messages=[_message(message) for message in request.messages],
            stream=True,
            stream_options=omit if "stream_options" in fields.refused else {"include_usage": True},
            temperature=omit if "temperature" in fields.refused else request.temperature,
            # 1 is the default: reasoning models, which refuse the field, then get no field.
            top_p=request.top_p if sends_top_p else omit,
            max_completion_tokens=request.max_tokens if new_limit else omit,
            max_tokens=omit if new_limit else request.max_tokens,
        )

    def _notice(self) -> str:
        if not self.refused:
            return ""
        values = {"model": self._endpoint.model, "refused": tr(" and no ").join(self.refused)}
        return tr("“{model}” takes no {refused}: the server's own was used.", **values)


class _StreamReader:
    """Collect text, end and token counts of an answer.

    The package does not validate chunks: any field may be missing or of another type.
    """

    def __init__(self) -> None:
        self.finish = ""
        self.tokens: Tokens | None = None

    def take(self, chunk: ChatCompletionChunk) -> str:
        """Read a chunk and return its text."""
        self._count(chunk)
        choices = getattr(chunk, "choices", None)
        if not isinstance(choices, list) or not choices:
            return ""
        choice: Choice = choices[0]
        finish = getattr(choice, "finish_reason", None)
        if isinstance(finish, str) and finish:
            self.finish = finish
        delta = getattr(choice, "delta", None)
        # A refusal is an answer as well.
        words = getattr(delta, "content", None) or getattr(delta, "refusal", None)
        return words if isinstance(words, str) else ""

    def end(self) -> StopReason:
        """Return how the answer ended. Raises StreamError if it did not end properly."""
        match self.finish:
            case "":
                raise StreamError(Failure(FailureKind.CUT))
            case "length":
                return StopReason.LENGTH
            case "content_filter":
                raise StreamError(Failure(FailureKind.FILTERED))
            case "tool_calls" | "function_call":
                raise StreamError(Failure(FailureKind.WANTED_TOOL))
        return StopReason.COMPLETE

    def _count(self, chunk: ChatCompletionChunk) -> None:
        usage = getattr(chunk, "usage", None)
        prompt = getattr(usage, "prompt_tokens", None)
        completion = getattr(usage, "completion_tokens", None)
        if isinstance(prompt, int) and isinstance(completion, int):
            self.tokens = Tokens(prompt, completion)


async def _chunks(
    stream: AsyncStream[ChatCompletionChunk], reading: _StreamReader
) -> AsyncGenerator[ChatCompletionChunk]:
    # A complete answer must not fail because its token counts are late.
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
    # The package would read an HTML page or a JSON object as an empty stream.
    kind = stream.response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "text/html" and not kind.endswith(("json", "xml")):
        return
    _, _, words = parse_error(await _body(stream) if kind.endswith("json") else None)
    raise StreamError(Failure(FailureKind.NOT_A_STREAM, words=words or kind))


async def _body(stream: AsyncStream[ChatCompletionChunk]) -> object:
    read = bytearray()
    async for part in stream.response.aiter_bytes():
        read += part
        if len(read) > _EXCERPT_BYTES:
            return None
    body = json.loads(read)
    return body if isinstance(body, dict) and "error" in body else None


def _message(message: Message) -> ChatCompletionMessageParam:
    # A record's JSON may contain lone surrogates, which UTF-8 cannot encode.
    content = message.content.encode("utf-8", "replace").decode("utf-8")
    match message.role:
        case Role.SYSTEM:
            return {"role": "system", "content": content}
        case Role.USER:
            return {"role": "user", "content": content}
        case Role.ASSISTANT:
            return {"role": "assistant", "content": content}
