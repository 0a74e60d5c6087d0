"""What a server sends: a body of bounded size, and the events of an answer.

The rest of the program gets whole characters, valid numbers, no key, and no more than an answer
can have.
"""

from __future__ import annotations

import asyncio
import json
from codecs import getincrementaldecoder
from collections.abc import AsyncGenerator
from contextlib import aclosing
from math import inf
from typing import Any

import httpx2

from engine.backends.openai.failures import Failure, FailureKind, StreamError, parse_error, text_of
from engine.core.text import Redactor, mend
from engine.core.types import Chunk, StopReason, Tokens

_EXCERPT_BYTES, _ERROR_SECONDS = 64 * 1024, 10.0
"""Read of a body that is no answer, to find an error message in it."""
_BODY_BYTES, EVENT_BYTES = 64 * 2**20, 2**20
"""Limits of a decompressed body, and of an event in it."""


class BodyTooLarge(httpx2.RequestError):
    """A body, or an event of a stream, is larger than what the program reads."""


class BoundedResponse(httpx2.Response):
    """A response whose decompressed body is limited in bytes and in seconds.

    `pause` is the longest silence; comments of a stream, which keep it alive, break it. The body of
    an error is cut off at a limit, any other fails.
    """

    left, event_left = _BODY_BYTES, EVENT_BYTES
    pause = until = inf

    def bound(self, seconds: float, pause: float = inf) -> None:
        """Limit the seconds to the end of the body, and each pause in it."""
        self.until, self.pause = asyncio.get_running_loop().time() + seconds, pause

    async def aiter_bytes(self, chunk_size: int | None = None) -> AsyncGenerator[bytes]:
        """Yield the decompressed body. Raises BodyTooLarge or ReadTimeout."""
        if not self.is_success:
            self.left = _EXCERPT_BYTES
            self.bound(_ERROR_SECONDS)
        kind = self.headers.get("content-type", "")
        # Browsers, too, replace invalid UTF-8 in a stream.
        utf8 = getincrementaldecoder("utf-8")("replace") if "event-stream" in kind else None
        async with aclosing(super().aiter_bytes(chunk_size)) as parts:
            while part := await self._next(parts):
                yield utf8.decode(part).encode() if utf8 else part

    async def _next(self, parts: AsyncGenerator[bytes]) -> bytes:
        now = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout_at(min(self.until, now + self.pause)):
                part = await anext(parts, b"")
        except TimeoutError:
            if self.is_success:
                raise httpx2.ReadTimeout("", request=self.request) from None
            return b""
        if not self.is_success:
            part = part[: self.left]
        self.left, self.event_left = self.left - len(part), self.event_left - len(part)
        if min(self.left, self.event_left) < 0:
            raise BodyTooLarge("", request=self.request)
        return part

    async def check_is_stream(self) -> None:
        """Raise StreamError for an HTML page or a JSON object, which are an empty stream too."""
        kind = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "text/html" and not kind.endswith(("json", "xml")):
            return
        _, _, words = parse_error(await self._error() if kind.endswith("json") else None)
        raise StreamError(Failure(FailureKind.NOT_A_STREAM, words=words or kind))

    async def _error(self) -> object:
        read = bytearray()
        async for part in self.aiter_bytes():
            read += part
            if len(read) > _EXCERPT_BYTES:
                return None
        body = json.loads(read)
        return body if isinstance(body, dict) and "error" in body else None


_CHARACTERS_PER_TOKEN, _SPARE = 64, 1000
"""Where an answer ends if the server ignores its limit. Long runs of blanks are one token."""
_BYTES_PER_CHARACTER = 128
"""What an event adds to its text."""
_MOST_TOKENS = 2**53
"""Above it, not every JSON reader has whole numbers."""


class _CleanText:
    """A server's text in pieces: whole characters, without secrets."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._half = ""
        self.blank = True

    def add(self, text: object, *, last: bool = False) -> str:
        """Return what is certain of the text so far; anything but a string is ignored."""
        text = self._half + text_of(text)
        # A server that cuts at UTF-16 units sends the other half in the next event.
        self._half = text[-1:] if not last and "\ud800" <= text[-1:] <= "\udbff" else ""
        whole = mend(text[: len(text) - len(self._half)])
        self.blank = self.blank and not whole.strip()
        return self._redactor.add(whole, last=last)


class StreamReader:
    """Collect text, end and token counts of an answer.

    Nothing is known of an event: any field may be missing or of another type.
    """

    def __init__(self, max_tokens: int, secrets: tuple[str, ...]) -> None:
        self.finish = ""
        self.tokens: Tokens | None = None
        self.size = 0
        self._most = _CHARACTERS_PER_TOKEN * max_tokens + _SPARE
        self.most_bytes = _BYTES_PER_CHARACTER * self._most
        self._text, self._thinking = (_CleanText(Redactor(*secrets)) for _ in range(2))

    @property
    def full(self) -> bool:
        """Whether the answer is longer than `max_tokens` allows."""
        return self.size > self._most

    def take(self, event: object) -> Chunk:
        """Read an event and return what it adds to the answer."""
        self._count(_field(event, "usage"))
        choices = _field(event, "choices")
        for choice in choices if isinstance(choices, list) else ():
            if _field(choice, "index") in (0, None):
                return self._take(choice)
        return Chunk()

    def flush(self) -> Chunk:
        """Return the rest of the text, after the last event."""
        return Chunk(self._text.add("", last=True), thinking=self._thinking.add("", last=True))

    def end(self) -> StopReason:
        """Return how the answer ended. Raises StreamError if it did not end properly."""
        if self.full:
            return StopReason.LENGTH
        match self.finish:
            case "":
                raise StreamError(Failure(FailureKind.CUT))
            case "length" if self._text.blank and self._thinking.blank:
                raise StreamError(Failure(FailureKind.NO_TOKENS_LEFT))
            case "length":
                return StopReason.LENGTH
            case "content_filter":
                raise StreamError(Failure(FailureKind.FILTERED))
            case "tool_calls" | "function_call":
                raise StreamError(Failure(FailureKind.WANTED_TOOL))
        return StopReason.COMPLETE

    def _take(self, choice: object) -> Chunk:
        delta = _field(choice, "delta")
        self.finish = text_of(_field(choice, "finish_reason")) or self.finish
        # A refusal is an answer as well. The names of the thinking are vLLM's, DeepSeek's.
        words = _field(delta, "content") or _field(delta, "refusal")
        thinking = _field(delta, "reasoning") or _field(delta, "reasoning_content")
        logprobs = _logprobs(_field(_field(choice, "logprobs"), "content"))
        self.size += len(text_of(words)) + len(text_of(thinking)) + len(logprobs)
        return Chunk(
            self._text.add(words), thinking=self._thinking.add(thinking), logprobs=logprobs
        )

    def _count(self, usage: object) -> None:
        counts = [_field(usage, name) for name in ("prompt_tokens", "completion_tokens")]
        if not all(map(_is_count, counts)):
            return
        details = _field(usage, "completion_tokens_details")
        names = ("accepted_prediction_tokens", "rejected_prediction_tokens")
        predicted = [_field(details, name) for name in names]
        accepted, rejected = predicted if all(map(_is_count, predicted)) else (0, 0)
        drafted = accepted + rejected
        # Both are among the answer's tokens.
        drafts = (drafted, accepted) if drafted <= counts[1] else ()
        self.tokens = Tokens(*counts, *drafts)


def _is_count(value: object) -> bool:
    # JSON's true is an int, too.
    return type(value) is int and 0 <= value <= _MOST_TOKENS


def _field(value: object, name: str) -> Any:  # noqa: ANN401 - JSON
    return value.get(name) if isinstance(value, dict) else None


def _logprobs(content: object) -> tuple[float, ...]:
    found = [_field(token, "logprob") for token in content] if isinstance(content, list) else []
    # Neither NaN nor Infinity, which Python servers send. Half of the tokens would be misleading.
    usable = all(type(value) in (int, float) and -_MOST_TOKENS <= value <= 0 for value in found)
    return tuple(map(float, found)) if usable else ()
