"""Read requests and write replies in the form of OpenAI's chat completions.

The names are those of OpenAI's published description of its API.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from aiohttp import web
from msgspec import Meta, Struct

from engine.core.text import mend
from engine.core.types import Tokens

Body = dict[str, Any]
T = TypeVar("T")

MAX_BODY = 2 * 1024 * 1024
"""Bytes of a request."""
BODY_WITHIN = 30.0
"""Seconds in which a client must send its request."""
_MAX_TEXT = 200_000
"""Characters of all messages together; the body's size is limited before."""

_IGNORED = frozenset(
    (  # noqa: SIM905 - a table
        "user metadata store seed service_tier safety_identifier prompt_cache_key"
        " prompt_cache_retention prompt_cache_options reasoning_effort verbosity"
        " parallel_tool_calls prediction moderation tool_choice function_call"
    ).split()
)
"""Hints that change nothing here."""

_NEUTRAL: dict[str, tuple[object, ...]] = {
    "n": (1,),
    "stop": ([], ""),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "tools": ([],),
    "functions": ([],),
    "modalities": (["text"],),
    "response_format": ({"type": "text"},),
    "audio": (),
    "web_search_options": (),
}
"""Fields that are not supported, with the values that ask for nothing; null is always one."""


class ApiError(Exception):
    """A refusal, with the HTTP status and the fields of OpenAI's errors."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers or {}
        self.body = error_body(status, message, code, param)


def error_body(
    status: int, message: str, code: str | None = None, param: str | None = None
) -> Body:
    """Return the body of an error."""
    kind = "server_error" if status >= 500 else "invalid_request_error"  # noqa: PLR2004 - HTTP's
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


class TextPart(Struct, frozen=True):
    """A part of a message."""

    type: Literal["text"]
    text: str


class ChatMessage(Struct, frozen=True):
    """A message of a request; other fields, as of an earlier reply, are ignored."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart] | None = None

    @property
    def text(self) -> str:
        """The message's text."""
        if isinstance(self.content, list):
            return mend("\n".join(part.text for part in self.content))
        return mend(self.content or "")


class _StreamOptions(Struct, frozen=True):
    include_usage: bool | None = False
    include_obfuscation: bool | None = False


class ChatRequest(Struct, frozen=True):
    """The fields of a request that decide the reply."""

    model: str
    messages: Annotated[list[ChatMessage], Meta(min_length=1)]
    stream: bool | None = False
    stream_options: _StreamOptions | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    max_tokens: Annotated[int, Meta(ge=1, le=10**9)] | None = None
    max_completion_tokens: Annotated[int, Meta(ge=1, le=10**9)] | None = None

    @property
    def with_usage(self) -> bool:
        """Whether a stream ends with the token counts."""
        return bool(self.stream_options and self.stream_options.include_usage)

    def sampling(self) -> Body:
        """Return the values of a `Request` that this request changes."""
        values = {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "max_tokens": self.max_completion_tokens or self.max_tokens,
        }
        return {name: value for name, value in values.items() if value is not None}


async def read_body(request: web.Request) -> bytes:
    """Read a body within its time. Raises ApiError."""
    try:
        async with asyncio.timeout(BODY_WITHIN):
            return await request.read()
    except TimeoutError:
        raise ApiError(408, "The request did not arrive in time.") from None


def read_chat_request(body: bytes) -> ChatRequest:
    """Decode and check the body of a request for an answer. Raises ApiError."""
    fields = read_object(body)
    for name, value in fields.items():
        _check_field(name, value)
    request = convert(fields, ChatRequest)
    _check_messages(request)
    return request


def read_object(body: bytes) -> Body:
    """Decode a body. Raises ApiError."""
    try:
        fields = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ApiError(400, "The body is not valid JSON.") from None
    if not isinstance(fields, dict):
        raise ApiError(400, "The body must be a JSON object.")
    return fields


def convert(fields: Body, kind: type[T]) -> T:
    """Check the fields of a body. Raises ApiError."""
    try:
        return msgspec.convert(fields, kind)
    except msgspec.ValidationError as error:
        message, _, place = str(error).partition(" - at ")
        param = place.strip("`$.") or None
        raise ApiError(400, f"{message}.", code="invalid_value", param=param) from None


def page(items: Sequence[Body], query: Mapping[str, str], most: int) -> Body:
    """Return the part of a list that a client asks for with `after` and `limit`."""
    try:
        limit = max(1, min(int(query.get("limit", "") or 20), most))
    except ValueError:
        raise ApiError(400, "Expected an integer.", code="invalid_value", param="limit") from None
    if after := query.get("after"):
        places = [place for place, item in enumerate(items) if item["id"] == after]
        items = items[places[0] + 1 :] if places else []
    shown = list(items[:limit])
    return {
        "object": "list",
        "data": shown,
        "first_id": shown[0]["id"] if shown else "",
        "last_id": shown[-1]["id"] if shown else "",
        "has_more": len(items) > limit,
    }


def _check_field(name: str, value: object) -> None:
    if name in ChatRequest.__struct_fields__ or name in _IGNORED:
        return
    if name not in _NEUTRAL:
        shown = mend(name)[:100]
        raise ApiError(
            400, f"Unrecognized request argument supplied: {shown}", code="unknown_parameter"
        )
    if value is not None and value not in _NEUTRAL[name]:
        message = f"This server does not support “{name}”. Leave it out."
        raise ApiError(400, message, code="unsupported_parameter", param=name)


def _check_messages(request: ChatRequest) -> None:
    last = request.messages[-1]
    if last.role != "user" or not last.text.strip():
        message = "The last message must be a question of the user."
        raise ApiError(400, message, code="invalid_value", param="messages")
    if sum(len(one.text) for one in request.messages) > _MAX_TEXT:
        raise too_long(f"The messages have more than {_MAX_TEXT:,} characters.")


def too_long(message: str) -> ApiError:
    """Return the error for more text than the model can read."""
    return ApiError(400, message, code="context_length_exceeded", param="messages")


def usage(tokens: Tokens) -> Body:
    """Return token counts."""
    total = tokens.prompt + tokens.completion
    return {
        "prompt_tokens": tokens.prompt,
        "completion_tokens": tokens.completion,
        "total_tokens": total,
    }


class Reply:
    """The reply to one request, whole or in chunks; `model` is the name that was asked for."""

    def __init__(self, number: str, model: str) -> None:
        self._head = {"id": f"chatcmpl-{number}", "created": int(time.time()), "model": model}

    def whole(self, text: str, finish_reason: str, tokens: Tokens | None, extra: Body) -> Body:
        """Return the reply to a request without `stream`."""
        message = {"role": "assistant", "content": text, "refusal": None}
        choice = {
            "index": 0,
            "message": message,
            "logprobs": None,
            "finish_reason": finish_reason,
        }
        counts = {"usage": usage(tokens)} if tokens else {}
        return {
            **self._head,
            "object": "chat.completion",
            "choices": [choice],
            **counts,
            "balcao": extra,
        }

    def chunk(self, delta: Body, finish_reason: str | None = None, **extra: object) -> Body:
        """Return a chunk with more of the message."""
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return {**self._head, "object": "chat.completion.chunk", "choices": [choice], **extra}

    def usage_chunk(self, tokens: Tokens) -> Body:
        """Return the last chunk, with the token counts."""
        counts = usage(tokens)
        return {**self._head, "object": "chat.completion.chunk", "choices": [], "usage": counts}
