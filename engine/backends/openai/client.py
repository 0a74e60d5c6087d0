"""A client for OpenAI-compatible servers: requests, streamed answers, and the package's errors.

Imports the openai package, which takes about a second: import this module in a thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from http import HTTPStatus
from math import inf
from types import TracebackType
from typing import Any, cast

import httpx2
import openai
from openai import AsyncOpenAI, AsyncStream

from engine.backends.openai import failures
from engine.backends.openai.failures import Endpoint, Failure, FailureKind, StreamError, explain
from engine.backends.openai.stream import EVENT_BYTES, BodyTooLarge, BoundedResponse, StreamReader
from engine.core.errors import EngineFailed, EngineUnavailable, PromptTooLong
from engine.core.i18n import tr
from engine.core.text import Redactor, mend
from engine.core.types import Chunk, Mode, Request
from engine.prompts import choice_schema

_LIMITS = httpx2.Limits(max_keepalive_connections=0)
"""One connection a question: an open one may be stale by the next (a restarted server, another
event loop), and a handshake is short compared with an answer."""


class _HTTPClient(httpx2.AsyncClient):
    """An HTTP client with bounded responses. It follows no redirect: questions are private."""

    async def send(
        self,
        request: httpx2.Request,
        *,
        stream: bool = False,
        **options: Any,  # noqa: ANN401 - handed on
    ) -> httpx2.Response:
        got = await super().send(request, stream=True, **options)
        response = BoundedResponse(
            got.status_code,
            headers=got.headers,
            stream=got.stream,
            request=got.request,
            extensions=got.extensions,
        )
        # Not what the header names: Python has codecs that unpack, or return bytes.
        response.encoding = "utf-8"
        response.bound(self.timeout.read or inf)
        if not stream:
            try:
                await response.aread()
            finally:
                await response.aclose()
        return response


def make_client(endpoint: Endpoint, key: str) -> AsyncOpenAI:
    """Make a client. Raises EngineUnavailable.

    The package's own retries are off: they would also repeat requests that cannot succeed, as with
    an empty account, and those that must not run twice.
    """
    timeout = httpx2.Timeout(endpoint.stall_timeout, connect=endpoint.connect_timeout)
    try:
        # An HTTP client made by the package closes itself in `__del__`, which logs an error on
        # the terminal if its own `__init__` failed, as with an invalid proxy.
        http = _HTTPClient(timeout=timeout, limits=_LIMITS, follow_redirects=False)
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


class ErrorBoundary:
    """Convert the package's errors: to EngineUnavailable, or EngineFailed if the answer `began`.

    A traceback that shows local variables must not show the key. The package's error, whose frames
    have it, is therefore not chained (`from None`), and no local here refers to it.
    """

    def __init__(
        self, endpoint: Endpoint, key: str, *, began: bool, explain: Explain = explain
    ) -> None:
        self._endpoint = endpoint
        self._secrets = endpoint.secrets(key)
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
        # Words that were cut off may end in half a key.
        whole = len(failure.words) < failures.MOST_WORDS
        words = Redactor(*self._secrets).add(failure.words, last=whole)
        failure = replace(failure, words=words)
        message, remedy = self._explain(failure, self._endpoint)
        if failure.too_long:
            raise PromptTooLong(message, remedy) from None
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
            code, param, words = failures.parse_error(error.body)
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
        case TimeoutError():
            return Failure(FailureKind.NO_TEXT)
        case httpx2.HTTPError() | httpx2.StreamError() | OSError():
            return _no_connection(error, began=began)
        case _:
            return None


def _refusal(error: openai.APIStatusError) -> Failure:
    headers = error.response.headers
    if error.response.has_redirect_location:
        return Failure(FailureKind.REDIRECTED, words=_target(error.response))
    code, param, words = failures.parse_error(error.body)
    return Failure(
        FailureKind.REFUSED,
        error.status_code,
        code,
        param,
        words,
        _retry_after(headers),
        {"true": True, "false": False}.get(headers.get("x-should-retry", "")),
    )


def _target(response: httpx2.Response) -> str:
    try:
        url = response.url.join(response.headers["location"])
        return f"{url.scheme}://{url.netloc.decode()}"
    except (httpx2.InvalidURL, ValueError):
        return tr("another address")


def _no_connection(cause: BaseException | None, *, began: bool) -> Failure:
    if isinstance(cause, BodyTooLarge):
        return Failure(FailureKind.TOO_LARGE)
    if began:
        return Failure(FailureKind.CUT)
    answered_nothing = isinstance(cause, (httpx2.RemoteProtocolError, httpx2.ReadError))
    trouble = FailureKind.HUNG_UP if answered_nothing else FailureKind.UNREACHABLE
    return Failure(trouble, words=str(cause or "")[: failures.MOST_WORDS])


def _retry_after(headers: httpx2.Headers) -> float | None:
    # Azure sends milliseconds. The standard header may also be a date, which is ignored.
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            wait = float(headers.get(name, "")) * unit
        except ValueError:
            continue
        if 0 <= wait < inf:
            return wait
    return None


_NEW_LIMIT, _OLD_LIMIT = "max_completion_tokens", "max_tokens"
_OPTIONAL = ("stream_options", "temperature", "top_p")
_PREDICTION, _FORMAT = "prediction", "response_format"
_BAD_REQUEST = (HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY)


@dataclass(frozen=True, slots=True)
class RequestFields:
    """The optional fields of a request: servers differ in what they accept."""

    limits: tuple[str, ...]
    """The names of the answer's limit that are left to try, the first one in use."""
    refused: frozenset[str] = frozenset()

    def without(self, failure: Failure, *, extra: str) -> RequestFields | None:
        """Return the fields to try instead; None if the failure is not about one of them.

        An `extra` field of the request only helps: with it, nobody needs to know what was wrong.
        """
        if extra and failure.status in _BAD_REQUEST and not failure.too_long:
            return replace(self, refused=self.refused | {extra})
        for name in _OPTIONAL:
            if name not in self.refused and failure.refuses(name):
                return replace(self, refused=self.refused | {name})
        limit, *others = self.limits
        return replace(self, limits=tuple(others)) if others and failure.refuses(limit) else None


_USAGE_WAIT = 2.0
"""Seconds that a finished answer waits for its token counts."""


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

    async def models(self) -> list[dict[str, object]]:
        """Return what the server lists about its models. Raises EngineUnavailable."""
        with ErrorBoundary(self._endpoint, self._client.api_key, began=False):
            raw = await self._client.models.with_raw_response.list()
            listed = raw.http_response.json()
        rows = listed.get("data") if isinstance(listed, dict) else None
        return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []

    async def answer(self, request: Request) -> AsyncGenerator[Chunk]:
        """Stream the answer. Raises EngineUnavailable before its start, EngineFailed after it."""
        with ErrorBoundary(self._endpoint, self._client.api_key, began=False):
            stream = await self._open(request)
        reading = StreamReader(request.max_tokens, self._endpoint.secrets(self._client.api_key))
        try:
            with ErrorBoundary(self._endpoint, self._client.api_key, began=True):
                await cast(BoundedResponse, stream.response).check_is_stream()
                async with aclosing(self._chunks(stream, reading)) as chunks:
                    async for chunk in chunks:
                        yield chunk
                stop = reading.end()
        finally:
            await stream.close()
        yield Chunk(stop_reason=stop, tokens=reading.tokens, notice=self._notice())

    @property
    def refused(self) -> tuple[str, ...]:
        """The parameters that the model has refused."""
        shown = {"temperature": tr("temperature"), "top_p": "top-p"}
        return tuple(words for name, words in shown.items() if name in self._fields.refused)

    async def _open(self, request: Request) -> AsyncStream[object]:
        fields, tried, patience = self._fields, 0, self._endpoint.stall_timeout
        while True:
            try:
                async with asyncio.timeout(self._endpoint.first_token_timeout):
                    stream = await self._ask(request, fields)
            except openai.APIError as error:
                failure = to_failure(error)
                left = fields.without(failure, extra=self._extra(request, fields))
                retries = self._endpoint.max_retries
                wait = 0.0 if left else failures.retry_delay(failure, tried, retries, patience)
                if wait is None:
                    raise
                fields = left or fields
            else:
                # The next question starts with the fields that the server accepts.
                self._fields = fields
                return stream
            await asyncio.sleep(wait)
            # At least FIRST_DELAY: a server that asks for no delay must not be asked forever.
            tried, patience = tried + (not left), patience - max(wait, failures.FIRST_DELAY)

    def _extra(self, request: Request, fields: RequestFields) -> str:
        """Return the name of the field that makes a reply faster, or a number; or nothing."""
        if request.choices:
            return "" if _FORMAT in fields.refused else _FORMAT
        usable = self._endpoint.predicts and _PREDICTION not in fields.refused
        grounded = request.mode is Mode.GROUNDED and not request.followup
        return _PREDICTION if usable and grounded and request.decision.draft else ""

    async def _ask(self, request: Request, fields: RequestFields) -> AsyncStream[object]:
        optional: dict[str, object] = {
            "stream_options": {"include_usage": True},
            "temperature": request.temperature,
            # 1 is the default: reasoning models, which refuse the field, then get no field.
            **({"top_p": request.top_p} if request.top_p < 1 else {}),
        }
        extra, limit = self._extra(request, fields), fields.limits[0]
        if extra == _FORMAT:
            schema = {"name": "choice", "strict": True, "schema": choice_schema(request.choices)}
            optional[_FORMAT] = {"type": "json_schema", "json_schema": schema}
        elif extra:
            content = mend(request.decision.draft)
            optional[_PREDICTION] = {"type": "content", "content": content}
            limit = _OLD_LIMIT  # OpenAI takes no prediction with the new one
        body = {
            "model": self._endpoint.model,
            "messages": [
                {"role": message.role.value, "content": mend(message.content)}
                for message in request.messages
            ],
            "stream": True,
            limit: request.max_tokens,
            **{name: value for name, value in optional.items() if name not in fields.refused},
        }
        # A server may queue a question for long: `_open` and `_events` watch the time.
        patient = httpx2.Timeout(None, connect=self._endpoint.connect_timeout)
        # The package's own types are no help: it does not check the chunks, and takes a second for
        # each MB of them.
        return await self._client.post(
            "/chat/completions",
            cast_to=object,
            body=body,
            options={"timeout": patient},
            stream=True,
            stream_cls=AsyncStream[object],
        )

    async def _chunks(
        self, stream: AsyncStream[object], reading: StreamReader
    ) -> AsyncGenerator[Chunk]:
        try:
            async with aclosing(self._events(stream, reading)) as events:
                async for event in events:
                    if (chunk := reading.take(event)) != Chunk():
                        yield chunk
        except Exception:
            if (chunk := reading.flush()) != Chunk():
                yield chunk
            raise
        if (chunk := reading.flush()) != Chunk():
            yield chunk

    async def _events(
        self, stream: AsyncStream[object], reading: StreamReader
    ) -> AsyncGenerator[object]:
        response, clock = cast(BoundedResponse, stream.response), asyncio.get_running_loop().time
        response.bound(inf)
        response.left = EVENT_BYTES + reading.most_bytes
        until, seen = clock() + self._endpoint.first_token_timeout, -1
        while not reading.full:
            try:
                async with asyncio.timeout_at(until):
                    event = await anext(stream)
            except StopAsyncIteration:
                return
            except (openai.APIError, ValueError, RecursionError, TimeoutError):
                # A complete answer must not fail because its token counts are late or broken.
                if reading.finish:
                    return
                raise
            response.event_left, response.pause = EVENT_BYTES, self._endpoint.stall_timeout
            # Other tasks go on, however many events have already arrived.
            await asyncio.sleep(0)
            finished = reading.finish
            yield event
            if reading.finish and not finished:
                until = clock() + _USAGE_WAIT
            elif reading.size > seen and not finished:
                until, seen = clock() + self._endpoint.first_token_timeout, reading.size

    def _notice(self) -> str:
        if not self.refused:
            return ""
        values = {"model": self._endpoint.model, "refused": tr(" and no ").join(self.refused)}
        return tr("“{model}” takes no {refused}: the server's default was used.", **values)
