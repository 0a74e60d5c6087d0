"""Talks to an OpenAI-compatible server by the openai package; imported late, by openai_chat alone.

Importing this module takes about a second: do it off the event loop.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from types import TracebackType
from typing import TYPE_CHECKING

import httpx2
import openai
from openai import (
    AsyncOpenAI,
    AsyncStream,
    omit,
)
from openai.types.chat import (
    ChatCompletionChunk,
    ChatCompletionMessageParam,
)

from engine.backends.openai.failures import (
    FIRST_WAIT,
    Asked,
    Failure,
    Trouble,
    explain,
    server_words,
    wait_before_retry,
)
from engine.core.errors import EngineFailed, EngineUnavailable
from engine.core.i18n import tr
from engine.core.types import Chunk, Message, Request, Role, StopReason, Tokens

if TYPE_CHECKING:
    from openai.types.chat.chat_completion_chunk import Choice


_LIMITS = httpx2.Limits(max_keepalive_connections=0)
"""A connection for each question: one kept open is stale by the next (a server that was started
again, another event loop), and a handshake is little beside an answer."""


def make_client(
    server: str, base_url: str | None, key: str, *, connect: float, stall: float
) -> AsyncOpenAI:
    """A client for the server, whose name is for errors. `connect` and `stall` are seconds.

    The package's own retries are off, since they would also repeat what no repetition helps (an
    empty account), and what must not be done twice. Raises EngineUnavailable if none can be made.
    """
    timeout = httpx2.Timeout(stall, connect=connect)
    try:
        # The package's own HTTP client closes itself in `__del__`, which logs an error on the
        # terminal if it was never made whole: after a proxy that is no address, for example.
        http = openai.DefaultAsyncHttpx2Client(timeout=timeout, limits=_LIMITS)
        return AsyncOpenAI(
            api_key=key, base_url=base_url, timeout=timeout, max_retries=0, http_client=http
        )
    except (httpx2.InvalidURL, ValueError, ImportError, OSError):
        # A strange address or proxy, SOCKS without its package, certificates that are not there.
        raise EngineUnavailable(
            tr("No connection to {server} can be set up.", server=server),
            tr(
                "Check `base_url` of this engine, and the proxy and certificates of the "
                "environment."
            ),
        ) from None


Words = Callable[[Failure, Asked], tuple[str, str]]
"""What a failure is told as: the message, and what to do."""


class Broken(Exception):
    """A failure that the package does not see as one."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.trouble)
        self.failure = failure


class Edge:
    """A context in which the package is used; raises EngineUnavailable, or EngineFailed once begun.

    A traceback that shows local variables, as the chat's does, must not show the key. So the
    package's error, whose frames hold it, is no cause of ours (`from None`), and neither it nor a
    server's words that repeat the key are left in a local here.
    """

    def __init__(self, asked: Asked, key: str, *, began: bool, words: Words = explain) -> None:
        self._asked = asked
        self._key = key
        self._began = began
        self._words = words

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Raises ours for the package's; what else was raised goes on, cancelling above all."""
        failure = _any_failure(error, began=self._began)
        del error, trace
        if failure is None:
            return
        failure = replace(failure, words=failure.words.replace(self._key, "…"))
        message, remedy = self._words(failure, self._asked)
        raise (EngineFailed if self._began else EngineUnavailable)(message, remedy) from None


def failure_of(error: openai.APIError, *, began: bool = False) -> Failure:
    """The package's error in plain values; `began`: the stream was open already."""
    match error:
        case openai.APIStatusError():
            return _refusal(error)
        case openai.APITimeoutError():
            connecting = isinstance(error.__cause__, httpx2.ConnectTimeout)
            return Failure(Trouble.CONNECT_TIMEOUT if connecting else Trouble.SILENT)
        case openai.APIConnectionError():
            return _no_connection(error.__cause__, began=began)
        case _:
            code, param, words = server_words(error.body)
            return Failure(Trouble.ERROR_EVENT, 0, code, param, words)


def _any_failure(error: BaseException | None, *, began: bool) -> Failure | None:
    """The same for all that can come out of the package; None for what is not the server's."""
    match error:
        case openai.APIError():
            return failure_of(error, began=began)
        case Broken():
            return error.failure
        case ValueError() | RecursionError():
            # The package reads each event as UTF-8 and JSON and lets what that raises through.
            return Failure(Trouble.GARBLED)
        case httpx2.HTTPError() | httpx2.StreamError() | OSError():
            return _no_connection(error, began=began)
        case _:
            return None


def _refusal(error: openai.APIStatusError) -> Failure:
    headers = error.response.headers
    code, param, words = server_words(error.body)
    return Failure(
        Trouble.REFUSED,
        error.status_code,
        code,
        param,
        words,
        _retry_after(headers),
        {"true": True, "false": False}.get(headers.get("x-should-retry", "")),
    )


def _no_connection(cause: BaseException | None, *, began: bool) -> Failure:
    if began:
        return Failure(Trouble.CUT)
    answered_nothing = isinstance(cause, (httpx2.RemoteProtocolError, httpx2.ReadError))
    trouble = Trouble.HUNG_UP if answered_nothing else Trouble.UNREACHABLE
    return Failure(trouble, words=str(cause or ""))


def _retry_after(headers: httpx2.Headers) -> float | None:
    """Seconds, from Azure's milliseconds or the standard header; a date there is not read."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            wait = float(headers.get(name, "")) * unit
        except ValueError:
            continue
        if 0 <= wait < float("inf"):
            return wait
    return None


_NEW, _OLD = "max_completion_tokens", "max_tokens"


@dataclass(frozen=True, slots=True)
class Fields:
    """What a request carries besides model, messages and `stream`."""

    new_limit: bool
    """Whether the answer is limited by the new name; OpenAI's own servers begin with it."""
    limit_changed: bool = False
    temperature: bool = True
    top_p: bool = True
    usage: bool = True

    def without(self, failure: Failure) -> Fields | None:
        """The fields to try instead, or None if the failure is not about one that can go."""
        if self.usage and failure.refuses("stream_options"):
            return replace(self, usage=False)
        if self.temperature and failure.refuses("temperature"):
            return replace(self, temperature=False)
        if self.top_p and failure.refuses("top_p"):
            return replace(self, top_p=False)
        if not self.limit_changed and failure.refuses(_NEW if self.new_limit else _OLD):
            return replace(self, new_limit=not self.new_limit, limit_changed=True)
        return None


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
        return tr(
            "“{model}” takes no {refused}: the server's own was used.",
            model=self._asked.model,
            refused=refused,
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
