"""One tiny trained Llama and one worker that holds it, for the whole session."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from engine.backends.llama.engine import LlamaConfig, LlamaEngine
from engine.backends.llama.host import LlamaHost
from engine.backends.llama.messages import Ask, Done, Open
from engine.core.errors import EngineFailed
from engine.core.types import Chunk, Decision, Message, Mode, Request, Status
from engine.prompts import chat_messages
from tests.engine.backends.llama.tiny import Tiny

Copy = Callable[[str], Path]


@pytest.fixture
def copy(tiny: Tiny, tmp_path: Path) -> Copy:
    """Return a function that copies `model` or `adapter`, for a test to break."""

    def copied(name: str) -> Path:
        return Path(shutil.copytree(getattr(tiny, name), tmp_path / name))

    return copied


@dataclass(frozen=True)
class Engines:
    """The plain base and the tuned engine, on one host."""

    base: LlamaEngine
    tuned: LlamaEngine


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def engines(tiny: Tiny) -> AsyncIterator[Engines]:
    host = LlamaHost(str(tiny.model), "auto")
    base = LlamaConfig(model=str(tiny.model))
    tuned = LlamaConfig(model=str(tiny.model), adapter=str(tiny.adapter))
    yield Engines(LlamaEngine("base", base, host), LlamaEngine("lora", tuned, host))
    await host.close()


@dataclass
class Reader:
    """A runtime in this process, and the tokens of each of its forward passes."""

    runtime: Any
    read: list[int]
    done: Done | None = None

    def answer(
        self, question: str, history: list[Message], adapter: str | None = None, **fields: Any
    ) -> str:
        self.read.clear()
        messages = chat_messages(question, None, Mode.MEMORY, history)
        values = {"max_tokens": 120, "temperature": 0.0, "adapter": adapter} | fields
        said: list[str] = []
        self.done = self.runtime.answer(Ask(messages, **values), said.append, lambda: False)
        return "".join(said)


@pytest.fixture
def make(tiny: Tiny) -> Callable[[], Reader]:
    from engine.backends.llama.transformers import TransformersRuntime

    def made() -> Reader:
        runtime = TransformersRuntime(Open(str(tiny.model), "none", 1))
        read: list[int] = []
        runtime._model.model.register_forward_pre_hook(
            lambda _module, args, kwargs: read.append(_length(args, kwargs)), with_kwargs=True
        )
        return Reader(runtime, read)

    return made


def _length(args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    tokens = args[0] if args else kwargs["input_ids"]
    return int(tokens.shape[1])


def engine(engine_id: str = "base", **row: Any) -> LlamaEngine:
    """Make an engine with its own worker, which starts when the model loads."""
    values = LlamaConfig(**row)
    return LlamaEngine(engine_id, values, LlamaHost(values.model, values.quantization))


def request_of(question: str, history: Sequence[Message] = (), **fields: Any) -> Request:
    messages = chat_messages(question, None, Mode.MEMORY, history)
    values: dict[str, Any] = {"max_tokens": 120} | fields
    return Request(question, Mode.MEMORY, messages, Decision(Status.NONE), **values)


async def gather(asked: LlamaEngine, request: Request) -> list[Chunk]:
    return [chunk async for chunk in asked.stream(request)]


def text_of(chunks: Sequence[Chunk]) -> str:
    return "".join(chunk.text for chunk in chunks)


def lives(pid: int) -> bool:
    """Check whether a process runs; a zombie does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state.rpartition(")")[2].split()[0] != "Z"


async def kill(asked: LlamaEngine) -> None:
    """Kill the worker of `asked`, as the kernel does when memory runs out."""
    assert asked._host.pid is not None
    os.kill(asked._host.pid, signal.SIGKILL)


async def cut_off(
    asked: LlamaEngine, cut: Callable[[LlamaEngine], Awaitable[None]]
) -> tuple[list[Chunk], EngineFailed]:
    """Call `cut` after the first chunk of an answer; return its chunks and its error.

    The whole answer takes 50 ms, so it asks again if a busy machine let it finish.
    """
    from tests.engine.backends.llama.make_model import HELLO, LONG  # torch comes with it

    for _ in range(10):
        await gather(asked, request_of(HELLO))
        async with aclosing(asked.stream(request_of(LONG))) as chunks:
            came = [await anext(chunks)]
            await cut(asked)
            try:
                came.extend([chunk async for chunk in chunks])
            except EngineFailed as failure:
                return came, failure
    pytest.fail("no answer of ten was cut off")
