"""Streams of any bytes and events: nothing but an answer, or one of the program's errors."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from functools import cache
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai import AsyncStream

from engine.backends.openai.client import OpenAIClient
from engine.backends.openai.engine import OpenAIConfig
from engine.backends.openai.failures import parse_error
from engine.backends.openai.stream import BoundedResponse, StreamReader
from engine.core.errors import EngineFailed
from engine.core.text import mend
from engine.core.types import Chunk
from tests.engine.backends.openai.conftest import CANARY, request_of
from tests.engine.backends.openai.server import DONE, HELLO, sse, words

NAMES = st.sampled_from(
    [
        *("choices", "delta", "content", "finish_reason", "index", "refusal", "reasoning"),
        *("reasoning_content", "logprobs", "logprob", "usage", "prompt_tokens"),
        *("completion_tokens", "error", "message", "detail", "loc", "msg", "code", "param"),
    ]
)
# Lone surrogates, too: JSON may have them.
TEXT = st.text(st.characters(exclude_categories=()), max_size=8)
LEAF = st.none() | st.booleans() | st.integers() | st.floats() | TEXT
JSON = st.recursive(
    LEAF, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner), max_leaves=12
)


def _delta(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    choice = st.fixed_dictionaries(
        {"delta": st.fixed_dictionaries({"content": inner}) | inner},
        optional={"index": inner, "finish_reason": inner, "logprobs": inner},
    )
    return st.fixed_dictionaries({"choices": st.lists(choice | inner, max_size=2)})


EVENT = JSON | _delta(TEXT) | _delta(JSON)


def _check(chunk: Chunk) -> None:
    (chunk.text + chunk.thinking).encode()
    assert all(value <= 0 for value in chunk.logprobs)


@given(st.lists(EVENT, max_size=6))
def test_any_events_are_read(events: list[Any]) -> None:
    reading = StreamReader(10, (CANARY,))
    for event in [*events, None]:
        _check(reading.take(event))
    _check(reading.flush())
    if reading.tokens:
        assert type(reading.tokens.prompt) is int
        assert 0 <= reading.tokens.prompt <= 2**53
        assert 0 <= reading.tokens.completion <= 2**53


@given(JSON)
def test_any_error_is_read(body: Any) -> None:
    assert all(isinstance(part, str) for part in parse_error(body))


@given(st.text(st.characters(exclude_categories=()), max_size=40), st.integers(1, 5))
def test_text_cut_anywhere_is_whole_again(text: str, size: int) -> None:
    units = text.encode("utf-16-le", "surrogatepass")
    pieces = [
        units[at : at + 2 * size].decode("utf-16-le", "surrogatepass")
        for at in range(0, len(units), 2 * size)
    ]
    reading = StreamReader(100, (CANARY,))
    chunks = [reading.take({"choices": [{"delta": {"content": piece}}]}) for piece in pieces]
    assert "".join(chunk.text for chunk in [*chunks, reading.flush()]) == mend(text)


@cache
def _client() -> OpenAIClient:
    config = OpenAIConfig(model="m", base_url="http://127.0.0.1:9/v1", stall_timeout=5.0)
    return OpenAIClient(config.endpoint("remote", config.base_url), CANARY)


class _Parts(httpx2.AsyncByteStream):
    def __init__(self, parts: list[bytes]) -> None:
        self._parts = parts

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self._parts:
            yield part


async def _answer(data: bytes, size: int, monkeypatch: pytest.MonkeyPatch) -> list[Chunk]:
    """What the client makes of a body that arrives in parts of `size` bytes."""
    client = _client()
    parts = [data[at : at + size] for at in range(0, len(data), size)]
    request = httpx2.Request("POST", "http://127.0.0.1:9/v1")
    headers = {"content-type": "text/event-stream"}
    response = BoundedResponse(200, headers=headers, stream=_Parts(parts), request=request)
    stream = AsyncStream[object](cast_to=object, response=response, client=client._client)

    async def opened(_: object) -> AsyncStream[object]:
        return stream

    monkeypatch.setattr(client, "_open", opened)
    return [chunk async for chunk in client.answer(request_of())]


async def _outcome(data: bytes, size: int) -> tuple[str, str]:
    with pytest.MonkeyPatch.context() as patch:
        try:
            chunks = await _answer(data, size, patch)
        except EngineFailed as failure:
            return "", failure.message
    for chunk in chunks:
        _check(chunk)
    return "".join(chunk.text for chunk in chunks), ""


PIECE = (
    EVENT.map(lambda event: sse(json.dumps(event)))
    | st.binary(max_size=20)
    | st.sampled_from([*HELLO, DONE, words("", "stop"), b"\r\n", b"\n\n", b": ping\n\n", b"data:"])
)


@given(st.lists(PIECE, max_size=6), st.integers(1, 50))
async def test_any_bytes_end_in_an_answer_or_a_sentence(parts: list[bytes], size: int) -> None:
    whole = b"".join(parts)
    assert await _outcome(whole, size) == await _outcome(whole, len(whole) + 1)
