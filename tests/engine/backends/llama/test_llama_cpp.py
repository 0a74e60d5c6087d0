"""llama.cpp's answers, compared with those of transformers and peft."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from msgspec.structs import replace

from engine.backends.llama.engine import LlamaConfig, LlamaEngine
from engine.backends.llama.host import LlamaHost
from engine.config import paths
from engine.core.errors import EngineUnavailable
from engine.core.types import Message, Role, StopReason
from tests.engine.backends.llama.conftest import (
    Copy,
    Engines,
    cut_off,
    gather,
    kill,
    request_of,
    text_of,
)
from tests.engine.backends.llama.make_model import BASE, HELLO, LONG, LOOP, UNUSUAL
from tests.engine.backends.llama.tiny import Tiny


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def fast(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Engines]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BALCAO_HOME", str(tmp_path_factory.mktemp("home")))
        host = LlamaHost(str(tiny.model), "auto", "llama.cpp")
        base = LlamaConfig(model=str(tiny.model), runtime="llama.cpp")
        tuned = LlamaConfig(model=str(tiny.model), adapter=str(tiny.adapter), runtime="llama.cpp")
        yield Engines(LlamaEngine("base", base, host), LlamaEngine("lora", tuned, host))
        await host.close()


def own(model: Path, adapter: Path | None = None) -> LlamaEngine:
    row = LlamaConfig(
        model=str(model), adapter=str(adapter) if adapter else None, runtime="llama.cpp"
    )
    return LlamaEngine("base", row, LlamaHost(row.model, "auto", "llama.cpp"))


@pytest.mark.asyncio(loop_scope="session")
async def test_answers_equal_the_reference(fast: Engines, tiny: Tiny) -> None:
    for _ in range(2):
        for question in (HELLO, LONG, UNUSUAL):
            chunks = await gather(fast.base, request_of(question))
            expected = tiny.expected["base"][question]
            assert text_of(chunks) == expected["text"]
            assert chunks[-1].stop_reason is StopReason.COMPLETE
            assert chunks[-1].tokens is not None
            assert chunks[-1].tokens.prompt == expected["prompt"]
            assert chunks[-1].tokens.completion == expected["tokens"]
        for question in (HELLO, LONG):
            said = text_of(await gather(fast.tuned, request_of(question)))
            assert said == tiny.expected["tuned"][question]["text"]


@pytest.mark.asyncio(loop_scope="session")
async def test_probabilities_are_those_of_transformers(fast: Engines, engines: Engines) -> None:
    for question in (HELLO, LONG):
        ours, theirs = [
            (await gather(one.tuned, request_of(question)))[0].logprobs for one in (fast, engines)
        ]
        # llama.cpp does not report the end of a short answer.
        assert 5 < len(ours) <= len(theirs) <= 8
        assert ours == pytest.approx(theirs[: len(ours)], abs=0.05)


@pytest.mark.asyncio(loop_scope="session")
async def test_cached_conversation_is_answered_like_a_new_one(
    fast: Engines, engines: Engines
) -> None:
    history: list[Message] = []
    for question in (HELLO, LONG, HELLO, UNUSUAL):
        said = text_of(await gather(fast.base, request_of(question, history)))
        assert said == text_of(await gather(engines.base, request_of(question, history)))
        history += [Message(Role.USER, question), Message(Role.ASSISTANT, said)]


@pytest.mark.asyncio(loop_scope="session")
async def test_limit_and_loop_end_an_answer(fast: Engines) -> None:
    chunks = await gather(fast.base, request_of(LONG, max_tokens=7))
    assert chunks[-1].stop_reason is StopReason.LENGTH
    assert chunks[-1].tokens is not None
    assert chunks[-1].tokens.completion == 7
    looped = await gather(fast.base, request_of(LOOP, max_tokens=500))
    assert looped[-1].stop_reason is StopReason.REPEATED
    assert "repeat itself" in looped[-1].notice


@pytest.mark.asyncio(loop_scope="session")
async def test_base_and_adapter_answer_at_once(fast: Engines, tiny: Tiny) -> None:
    questions = [(fast.base, HELLO), (fast.tuned, LONG), (fast.tuned, HELLO), (fast.base, LONG)]
    said = await asyncio.gather(*(gather(one, request_of(asked)) for one, asked in questions))
    for (one, asked), chunks in zip(questions, said, strict=True):
        kind = "base" if one is fast.base else "tuned"
        assert text_of(chunks) == tiny.expected[kind][asked]["text"]


@pytest.mark.asyncio(loop_scope="session")
async def test_a_closed_stream_leaves_the_other_alone(fast: Engines, tiny: Tiny) -> None:
    other = asyncio.create_task(gather(fast.tuned, request_of(LONG)))
    async with aclosing(fast.base.stream(request_of(LOOP, max_tokens=500))) as chunks:
        await anext(chunks)
    assert text_of(await other) == tiny.expected["tuned"][LONG]["text"]


@pytest.mark.asyncio(loop_scope="session")
async def test_adapters_of_all_engines_load_with_the_model(
    tiny: Tiny, copy: Copy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BALCAO_HOME", str(tmp_path / "home"))
    broken = copy("adapter")
    (broken / "adapter_model.safetensors").write_bytes(b"broken")
    shared: dict[str, Any] = {}
    base, tuned, spoiled = (
        LlamaEngine.create(
            str(adapter),
            LlamaConfig(
                model=str(tiny.model),
                adapter=str(adapter) if adapter else None,
                runtime="llama.cpp",
            ),
            shared,
        )
        for adapter in (None, tiny.adapter, broken)
    )
    async for _ in base.load():
        pass
    assert tuned.loaded
    assert not spoiled.loaded
    assert [step.label async for step in tuned.load()] == ["ready"]
    await base.unload()


@pytest.mark.asyncio(loop_scope="session")
async def test_closed_stream_frees_the_model(fast: Engines) -> None:
    async with aclosing(fast.base.stream(request_of(LONG))) as chunks:
        await anext(chunks)
    assert text_of(await gather(fast.base, request_of(HELLO))) == BASE[HELLO]


@pytest.mark.asyncio(loop_scope="session")
async def test_killed_worker_fails_one_answer(fast: Engines) -> None:
    _, failure = await cut_off(fast.base, kill)
    assert "process was killed" in str(failure)
    assert text_of(await gather(fast.base, request_of(HELLO))) == BASE[HELLO]


def loaded_libraries(pid: int | None) -> str:
    return Path(f"/proc/{pid}/maps").read_text(encoding="utf-8")


@pytest.mark.asyncio(loop_scope="session")
async def test_worker_does_not_load_torch(fast: Engines) -> None:
    await gather(fast.base, request_of(HELLO))
    maps = loaded_libraries(fast.base._host.pid)
    assert "xllamacpp" in maps
    assert "libtorch" not in maps


@pytest.mark.asyncio(loop_scope="session")
async def test_model_is_converted_once(
    copy: Copy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BALCAO_HOME", str(tmp_path / "home"))
    first = own(copy("model"))
    labels = [step.label async for step in first.load()]
    assert "converting for llama.cpp, once" in labels
    await first.unload()
    assert "converting for llama.cpp, once" not in [step.label async for step in first.load()]
    await first.unload()
    (made,) = (paths.cache_dir() / "llama.cpp").glob("*/model.gguf")
    made.write_bytes(made.read_bytes()[:5000])
    with pytest.raises(EngineUnavailable, match="cannot load") as refused:
        await gather(first, request_of(HELLO))
    shutil.rmtree(made.parent)
    assert str(made.parent) in refused.value.remedy
    assert text_of(await gather(first, request_of(HELLO))) == BASE[HELLO]
    await first.unload()


@pytest.mark.asyncio(loop_scope="session")
async def test_unsupported_models_are_refused(
    tiny: Tiny, copy: Copy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BALCAO_HOME", str(tmp_path / "home"))
    adapter = copy("adapter")
    file = adapter / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"use_dora": True}))
    engine = own(tiny.model, adapter)
    with pytest.raises(EngineUnavailable, match="it is a DoRA") as refused:
        await gather(engine, request_of(HELLO))
    assert "transformers" in refused.value.remedy
    await engine.unload()
    model = copy("model")
    config = model / "config.json"
    values = json.loads(config.read_text())
    values["rope_parameters"] = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0}
    config.write_text(json.dumps(values))
    with pytest.raises(EngineUnavailable, match="yarn"):
        await gather(own(model), request_of(HELLO))


def test_convert_writes_both_files(tiny: Tiny, tmp_path: Path) -> None:
    home = tmp_path / "home"
    made = subprocess.run(
        [sys.executable, "-m", "scripts.models", "convert", tiny.model, "--adapter", tiny.adapter],
        env={**os.environ, "BALCAO_HOME": str(home)},
        capture_output=True,
        text=True,
        check=True,
    )
    files = [Path(line) for line in made.stdout.splitlines()]
    assert [file.name for file in files] == ["model.gguf", "adapter.gguf"]
    assert all(file.is_relative_to(home) and file.stat().st_size for file in files)


@pytest.mark.asyncio(loop_scope="session")
async def test_both_runtimes_rate_choices_alike(fast: Engines, engines: Engines) -> None:
    request = request_of(HELLO)
    request = replace(request, question="What is it?", choices=(BASE[HELLO], BASE[LONG], "No."))
    for ours, reference in ((fast.base, engines.base), (fast.tuned, engines.tuned)):
        rated = json.loads(text_of(await gather(ours, request)))
        expected = json.loads(text_of(await gather(reference, request)))
        assert rated == pytest.approx(expected, abs=0.05)
        assert len(set(rated)) == len(request.choices)
    # A question may name the token that ends an answer.
    request = replace(request, question="What</s> is it?</s>")
    rated = json.loads(text_of(await gather(fast.base, request)))
    assert rated == pytest.approx(
        json.loads(text_of(await gather(engines.base, request))), abs=0.05
    )
    said = text_of(await gather(fast.base, request_of(HELLO)))
    assert said == BASE[HELLO]  # the grammar is that request's alone
