"""The worker process: cancelled, killed, orphaned, shared, and without a terminal."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from contextlib import aclosing
from pathlib import Path

import pytest

from engine.backends.llama.engine import LlamaEngine
from engine.backends.llama.host import WorkerProcess
from engine.chat.session import Session
from engine.config.settings import load
from engine.core.errors import EngineFailed
from engine.core.types import Chunk
from tests.engine.backends.llama.conftest import (
    Engines,
    cut_off,
    engine,
    gather,
    kill,
    lives,
    request_of,
    text_of,
)
from tests.engine.backends.llama.make_model import BASE, HELLO, LONG, LOOP
from tests.engine.backends.llama.tiny import Tiny

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"),
]


async def test_closed_stream_frees_the_worker(engines: Engines) -> None:
    await gather(engines.base, request_of(HELLO))
    worker = engines.base._host.pid
    for _ in range(5):
        async with aclosing(engines.base.stream(request_of(LOOP, max_tokens=500))) as chunks:
            first = await anext(chunks)
            assert first.text
        assert text_of(await gather(engines.base, request_of(HELLO))) == BASE[HELLO]
    assert engines.base._host.pid == worker


async def test_cancelled_task_frees_the_worker(engines: Engines) -> None:
    cancelled: list[bool] = []
    for pieces in (0, 1, 2):
        came: asyncio.Queue[Chunk] = asyncio.Queue()
        task = asyncio.create_task(_pour(engines.base, came))
        await asyncio.sleep(0)
        for _ in range(pieces):
            await came.get()
        task.cancel()
        await asyncio.wait([task])
        cancelled.append(task.cancelled())
    assert cancelled[0]  # on a busy machine the others may have ended already
    assert text_of(await gather(engines.base, request_of(HELLO))) == BASE[HELLO]


async def _pour(asked: LlamaEngine, into: asyncio.Queue[Chunk]) -> None:
    async for chunk in asked.stream(request_of(LOOP, max_tokens=500)):
        into.put_nowait(chunk)


async def test_two_questions_are_answered_in_turn(engines: Engines, tiny: Tiny) -> None:
    both = await asyncio.gather(
        gather(engines.tuned, request_of(HELLO)), gather(engines.base, request_of(HELLO))
    )
    assert [text_of(chunks) for chunks in both] == [
        tiny.expected["tuned"][HELLO]["text"],
        BASE[HELLO],
    ]


async def test_killed_worker_fails_one_answer(engines: Engines) -> None:
    came, failure = await cut_off(engines.base, kill)
    assert "process was killed" in str(failure)
    assert "reload the model" in failure.remedy
    assert BASE[LONG].startswith(text_of(came))
    assert not engines.base.loaded
    assert not engines.tuned.loaded
    assert text_of(await gather(engines.base, request_of(HELLO))) == BASE[HELLO]


async def test_unload_ends_the_worker_at_any_time(tiny: Tiny) -> None:
    own = engine(model=str(tiny.model))
    await own.unload()
    labels = [step.label async for step in own.load()]
    assert labels == ["starting", "importing torch", "reading weights", "ready"]
    assert [step.label async for step in own.load()] == ["ready"]
    worker = own._host.pid
    assert worker is not None
    _, failure = await cut_off(own, LlamaEngine.unload)
    assert "unloaded" in str(failure)
    assert not lives(worker)
    assert not own.loaded
    await own.unload()


async def test_closed_load_ends_the_worker(tiny: Tiny) -> None:
    own = engine(model=str(tiny.model))
    async with aclosing(own.load()) as steps:
        async for step in steps:
            if step.label == "importing torch":
                async with aclosing(own.load()) as waiting:
                    assert (await anext(waiting)).label == "importing torch"
                break
        worker = own._host.pid
        assert worker is not None
    assert not lives(worker)
    assert not own.loaded


_SECRETS = (
    *("SHOP_API_KEY", "MY_KEY", "PGPASSWORD", "AWS_SECRET_ACCESS_KEY", "DATABASE_URL", "HF_TOKEN"),
    *("GITHUB_PAT", "BALCAO_ENGINES__OPENAI__BASE_URL", "PYTHON_SIGNING_KEY", "http_proxy"),
)


async def test_model_loads_while_the_chat_is_imported(tiny: Tiny) -> None:
    values = {"model": str(tiny.model), "runtime": "transformers"}
    session = Session(load(flags={"engine": "base", "engines": {"base": values}}))
    asked = session.registry.get("base")
    assert isinstance(asked, LlamaEngine)
    await session.begin_loading()
    assert asked._host.loading
    # From here on this process runs nothing but this test.
    worker = asked._host.pid
    assert worker is not None
    libraries = Path(f"/proc/{worker}/maps")
    while "torch" not in libraries.read_text(encoding="utf-8"):  # noqa: ASYNC240
        assert lives(worker)
        time.sleep(0.05)  # noqa: ASYNC251 - the point of the test
    await session.preload()
    assert asked.loaded
    await asked.unload()


async def test_worker_gets_no_terminal_ctrl_c_or_secret(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in _SECRETS:
        monkeypatch.setenv(name, "sk-canary")
    wanted = {"OMP_NUM_THREADS": "1", "HF_HUB_CACHE": "/models", "CUDA_VISIBLE_DEVICES": "0"}
    for name, value in wanted.items():
        monkeypatch.setenv(name, value)
    worker = await _started()
    try:
        assert os.getsid(worker.pid) == worker.pid
        assert [_stream(worker.pid, number) for number in (0, 1)] == ["/dev/null"] * 2
        assert _stream(worker.pid, 2).endswith("(deleted)")  # the unnamed log
        assert b"sk-canary" not in _environment(worker.pid)
        kept = {"LANGUAGE": "en", "BALCAO_HOME": os.environ["BALCAO_HOME"], **wanted}
        given = _environment(worker.pid).decode().split("\0")
        assert {f"{name}={value}" for name, value in kept.items()} <= set(given)
        os.kill(worker.pid, signal.SIGINT)
        await asyncio.sleep(0.2)
        assert worker.alive
    finally:
        await worker.kill()
    assert not lives(worker.pid)


async def _started() -> WorkerProcess:
    """Start a worker and wait for its first reply, before which it sets up its streams."""
    from engine.backends.llama.messages import Attach

    worker = await WorkerProcess.start()
    with pytest.raises(EngineFailed, match="No model is loaded"):
        async for _ in worker.call(Attach("nowhere")):
            pass
    return worker


def _stream(pid: int, number: int) -> str:
    return str(Path(f"/proc/{pid}/fd/{number}").readlink())


def _environment(pid: int) -> bytes:
    return Path(f"/proc/{pid}/environ").read_bytes()
