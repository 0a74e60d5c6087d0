"""Every engine keeps the contract of engine/backends/base.py: the same tests for each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from engine.backends.base import Engine
from engine.backends.registry import Registry
from engine.config import settings
from engine.core.errors import EngineError
from engine.core.types import Chunk, Decision, Hit, Mode, Product, Request, Status, StopReason
from engine.prompts import chat_messages
from tests.engine.backends.llama.tiny import Tiny
from tests.engine.backends.openai import server as scripted

ENGINES = ("catalogue", "base", "lora", "openai")
PRODUCT = Product("012X", "Tin Bell", "Rings twice a day.")


def request() -> Request:
    messages = chat_messages("Who are you?", PRODUCT, Mode.MEMORY)
    decision = Decision(Status.EXACT, (Hit(PRODUCT, 1.0),))
    return Request("Who are you?", Mode.MEMORY, messages, decision, max_tokens=20)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def registry(tiny: Tiny) -> AsyncIterator[Registry]:
    """The real registry: a tiny Llama with its adapter, and a server on this machine."""
    async with scripted.running() as server:
        server.always = scripted.hello()
        llama: dict[str, Any] = {"model": str(tiny.model)}
        rows = {
            "base": llama,
            "lora": {**llama, "adapter": str(tiny.adapter)},
            "openai": {"model": "m", "base_url": server.url},
        }
        made = Registry(settings.load(Path("none"), {}, {"engines": rows}))
        yield made
        await made.close()


async def answer(engine: Engine) -> list[Chunk]:
    async with aclosing(engine.stream(request())) as chunks:
        return [chunk async for chunk in chunks]


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize("name", ENGINES)
async def test_it_is_ready_and_says_who_it_is(registry: Registry, name: str) -> None:
    engine = registry.get(name)
    assert engine.info.id == name
    assert engine.info.title
    availability = engine.availability()
    assert (availability.ready, availability.reason) == (True, "")


@pytest.mark.parametrize("name", ENGINES)
async def test_loading_twice_is_safe_and_tells_its_progress(registry: Registry, name: str) -> None:
    engine = registry.get(name)
    for _ in range(2):
        async with aclosing(engine.load()) as steps:
            fractions = [step.fraction async for step in steps]
        assert all(fraction is None or 0 <= fraction <= 1 for fraction in fractions)
        assert engine.loaded


@pytest.mark.parametrize("name", ENGINES)
async def test_it_tells_what_it_is_made_of_and_what_it_takes(registry: Registry, name: str) -> None:
    engine = registry.get(name)
    assert bool(engine.facts().model) == (name != "catalogue")
    assert bool(engine.facts().address) == (name == "openai")
    assert bool(engine.facts().adapter) == (name == "lora")
    async with aclosing(engine.load()) as steps:
        loading = [engine.facts().loading async for _ in steps]
    assert not engine.facts().loading
    assert not any(loading[1:]) or name in ("base", "lora")
    # A process with torch in it has at least that resident; without one there is nothing to tell.
    memory = engine.facts().memory
    assert memory is None if name in ("catalogue", "openai") else (memory or 0) > 50_000_000
    await engine.unload()
    assert engine.facts().memory is None


@pytest.mark.parametrize("name", ENGINES)
async def test_exactly_the_last_chunk_tells_why_it_ended(registry: Registry, name: str) -> None:
    chunks = await answer(registry.get(name))
    assert "".join(chunk.text for chunk in chunks).strip()
    assert chunks[-1].stop_reason in (StopReason.COMPLETE, StopReason.LENGTH)
    assert all(chunk.stop_reason is None for chunk in chunks[:-1])


@pytest.mark.parametrize("name", ENGINES)
async def test_closing_at_any_chunk_leaves_it_ready_for_the_next(
    registry: Registry, name: str
) -> None:
    engine = registry.get(name)
    whole = await answer(engine)
    for stop in range(len(whole)):
        async with aclosing(engine.stream(request())) as chunks:
            for _ in range(stop):
                await anext(chunks, None)
    # The worker joins text that comes fast, so how it is split into chunks may differ.
    again = await answer(engine)
    assert "".join(chunk.text for chunk in again) == "".join(chunk.text for chunk in whole)


@pytest.mark.parametrize("name", ENGINES)
async def test_a_cancelled_task_leaves_it_ready_for_the_next(registry: Registry, name: str) -> None:
    engine = registry.get(name)
    for pause in (0.0, 0.001, 0.01):
        task = asyncio.create_task(answer(engine))
        await asyncio.sleep(pause)
        task.cancel()
        await asyncio.wait([task])
    assert (await answer(engine))[-1].stop_reason is not None


@pytest.mark.parametrize("name", ENGINES)
async def test_unloaded_twice_it_loads_by_itself(registry: Registry, name: str) -> None:
    engine = registry.get(name)
    await engine.unload()
    await engine.unload()
    assert (await answer(engine))[-1].stop_reason is not None


@pytest.mark.parametrize("name", ["base", "lora", "openai"])
async def test_not_ready_it_says_why_and_what_to_do_and_raises_the_same(name: str) -> None:
    engine = Registry(settings.load(Path("none"), {})).get(name)
    availability = engine.availability()
    assert not availability.ready
    assert availability.reason
    assert availability.remedy
    with pytest.raises(EngineError) as caught:
        await answer(engine)
    assert caught.value.message == availability.reason
