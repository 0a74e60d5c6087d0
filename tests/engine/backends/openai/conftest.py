"""A server for each test, and no settings of the machine's own."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from engine.backends.openai.engine import OpenAIConfig, OpenAIEngine
from engine.core.types import Chunk, Decision, Message, Mode, Request, Role, Status
from tests.engine.backends.openai import server as scripted

KEY_ENV = "BALCAO_TEST_KEY"
CANARY = "sk-canary-3f9b2e77c1d04a58"

Make = Callable[..., OpenAIEngine]


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("OPENAI_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv(KEY_ENV, CANARY)


@pytest.fixture
async def make(server: scripted.Server) -> AsyncIterator[Make]:
    """Makes engines that ask the server; settings by name."""
    made: list[OpenAIEngine] = []

    def engine(**row: Any) -> OpenAIEngine:
        values: dict[str, Any] = {"model": "m", "base_url": server.url, "api_key_env": KEY_ENV}
        values = values | {"max_retries": 0} | row
        made.append(OpenAIEngine("remote", OpenAIConfig(**values)))
        return made[-1]

    yield engine
    for used in made:
        await used.unload()


def request_of(question: str = "Is it there?", **fields: Any) -> Request:
    messages = (
        Message(Role.SYSTEM, "Answer from the record."),
        Message(Role.USER, "Mog?"),
        Message(Role.ASSISTANT, "A cat."),
        Message(Role.USER, question),
    )
    return Request(question, Mode.MEMORY, messages, Decision(Status.NONE), **fields)


async def gather(engine: OpenAIEngine, into: list[Chunk] | None = None) -> list[Chunk]:
    """The whole answer; `into` keeps what came before an error."""
    chunks = [] if into is None else into
    async for chunk in engine.stream(request_of()):
        chunks.append(chunk)
    return chunks


def text_of(chunks: list[Chunk]) -> str:
    return "".join(chunk.text for chunk in chunks)
