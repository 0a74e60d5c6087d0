"""The llama.cpp runtime itself: prompts that are kept, contexts that grow, prompts cut short."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from msgspec.structs import replace

from engine.backends.llama import llama_cpp
from engine.backends.llama.llama_cpp import LlamaCppRuntime
from engine.backends.llama.messages import Ask, Done, Open
from engine.core.types import Message, Mode, Role, StopReason
from engine.prompts import chat_messages
from tests.engine.backends.llama.make_model import BASE, HELLO, LONG, LOOP, UNUSUAL
from tests.engine.backends.llama.tiny import Tiny


@dataclass
class Reader:
    """A runtime in this process; `cached` has the cached tokens of each answer's prompt."""

    runtime: LlamaCppRuntime
    cached: list[int] = field(default_factory=list)

    def answer(
        self,
        question: str,
        history: list[Message],
        adapter: Path | None = None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> str | None:
        messages = chat_messages(question, None, Mode.MEMORY, history)
        said: list[str] = []
        self._watch()
        folder = str(adapter) if adapter else None
        done = self.runtime.answer(Ask(messages, 120, 0.0, adapter=folder), said.append, cancelled)
        return "".join(said) if done else None

    def _watch(self) -> None:
        server = self.runtime._server
        if isinstance(server, _Watched):
            return
        self.runtime._server = _Watched(server, self.cached)


@dataclass
class _Watched:
    server: Any
    cached: list[int]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.server, name)

    def handle_completions(self, job: dict[str, Any], read: Callable[[Any], bool]) -> None:
        found: list[int] = []

        def show(chunk: dict[str, Any]) -> bool:
            found.extend(timings["cache_n"] for timings in [chunk.get("timings")] if timings)
            return read(chunk)

        self.server.handle_completions(job, show)
        self.cached.extend(found[:1])


@pytest.fixture
def reader(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Reader:
    monkeypatch.setenv("BALCAO_HOME", str(tmp_path))
    request = Open(str(tiny.model), "auto", 1, "llama.cpp", (str(tiny.adapter),))
    return Reader(LlamaCppRuntime(request, lambda _: None))


def test_base_and_adapter_keep_their_prompts(reader: Reader, tiny: Tiny) -> None:
    fresh = LlamaCppRuntime(
        Open(str(tiny.model), "auto", 1, "llama.cpp", (str(tiny.adapter),)), lambda _: None
    )
    histories: dict[Path | None, list[Message]] = {None: [], tiny.adapter: []}
    for question in (HELLO, LONG, HELLO):
        for adapter, history in histories.items():
            said = reader.answer(question, history, adapter)
            fresh._start()
            assert said == Reader(fresh).answer(question, history, adapter)
            history += [Message(Role.USER, question), Message(Role.ASSISTANT, said or "")]
    whole = tiny.expected["base"][HELLO]["prompt"]
    assert reader.cached[:2] == [0, 0]
    assert all(cached >= whole for cached in reader.cached[2:])


def test_answers_at_once_are_those_in_turn(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BALCAO_HOME", str(tmp_path))
    adapters = (str(tiny.adapter),)
    runtime = LlamaCppRuntime(
        Open(str(tiny.model), "auto", 1, "llama.cpp", adapters, parallel=3), lambda _: None
    )
    jobs = [
        (question, adapter) for question in (HELLO, LONG) for adapter in (None, tiny.adapter)
    ] * 4
    with ThreadPoolExecutor(len(jobs)) as threads:
        said = list(threads.map(lambda job: Reader(runtime).answer(job[0], [], job[1]), jobs))
    for (question, adapter), text in zip(jobs, said, strict=True):
        assert text == tiny.expected["tuned" if adapter else "base"][question]["text"]
    assert not runtime._busy


def test_a_context_grows_for_a_long_prompt(
    reader: Reader, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llama_cpp, "_CONTEXT_STEP", 64)
    reader.runtime._slot_size = 64
    reader.runtime._start()
    for _ in range(2):
        assert reader.answer(UNUSUAL, []) == tiny.expected["base"][UNUSUAL]["text"]
        assert reader.answer(LONG, [], tiny.adapter) == tiny.expected["tuned"][LONG]["text"]
    assert reader.runtime._slot_size == 192


def test_a_prompt_is_stopped_while_it_is_read(reader: Reader, tiny: Tiny) -> None:
    calls: list[int] = []

    def cancelled() -> bool:
        calls.append(1)
        return True

    long = " ".join(["stone"] * 200)
    assert reader.answer(long, [], cancelled=cancelled) is None
    assert len(calls) == 1
    assert reader.answer(HELLO, []) == tiny.expected["base"][HELLO]["text"]


def test_an_adapter_that_comes_later_restarts_the_server(tiny: Tiny, reader: Reader) -> None:
    runtime = LlamaCppRuntime(Open(str(tiny.model), "auto", 1, "llama.cpp"), lambda _: None)
    late = Reader(runtime)
    assert late.answer(HELLO, []) == tiny.expected["base"][HELLO]["text"]
    assert late.answer(HELLO, [], tiny.adapter) == tiny.expected["tuned"][HELLO]["text"]
    assert late.answer(HELLO, []) == tiny.expected["base"][HELLO]["text"]
    assert list(runtime.adapters) == [str(tiny.adapter)]
    del reader


def test_the_loopback_server_answers_nobody(reader: Reader) -> None:
    address = urlsplit(reader.runtime._server.listening_address)
    assert address.hostname == "127.0.0.1"
    for method, path in (
        ("GET", "/"),
        ("POST", "/completion"),
        ("GET", "/slots"),
        ("GET", "/props"),
    ):
        connection = HTTPConnection(address.hostname, address.port, timeout=10)
        connection.request(method, path, body=b'{"prompt": "a"}' if method == "POST" else None)
        reply = connection.getresponse()
        assert reply.status in (401, 403, 404), path
        assert b"<html" not in reply.read().lower()
        connection.close()


LOOPED = [Message(Role.USER, LONG), Message(Role.ASSISTANT, BASE[LOOP])]
REPEATING = (
    chat_messages(LOOP, None, Mode.MEMORY, LOOPED),
    (Message(Role.SYSTEM, BASE[UNUSUAL]), Message(Role.USER, UNUSUAL)),
)
"""Prompts whose answers have stretches of the prompt or of themselves."""


def test_guessed_tokens_are_those_that_the_model_writes_alone(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = [Ask(prompt, limit, 0.0) for prompt in REPEATING for limit in (200, 60, 25)]
    monkeypatch.setattr(llama_cpp, "_SEEN", 3)  # these answers are short
    monkeypatch.setattr(llama_cpp, "_GUESSED", 10)
    reader.runtime._start()
    guessed = [write(reader, ask) for ask in asked]
    assert all(done.accepted > 0 for done, _ in guessed[::3])
    monkeypatch.setattr(llama_cpp, "_GUESSED", 0)
    reader.runtime._start()
    alone = [write(reader, ask) for ask in asked]
    assert [done.drafted for done, _ in alone] == [0] * len(asked)
    for (one, text), (other, same) in zip(guessed, alone, strict=True):
        assert text == same
        assert replace(one, drafted=0, accepted=0) == other


def test_guesses_fit_a_context_that_is_nearly_full(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llama_cpp, "_CONTEXT_STEP", 1)
    reader.runtime._slot_size = 1
    whole, text = write(reader, Ask(REPEATING[0], 150, 0.0))
    for limit in (110, 111, 120):
        done, start = write(reader, Ask(REPEATING[0], limit, 0.0, context=whole.prompt + limit))
        assert done.accepted > 0
        assert done.stop_reason is StopReason.LENGTH
        assert done.completion == limit
        assert text.startswith(start)
    assert reader.runtime._slot_size == whole.prompt + 150


def test_guesses_do_not_hide_a_loop(reader: Reader) -> None:
    done, _ = write(reader, Ask(chat_messages(LOOP, None, Mode.MEMORY), 500, 0.0))
    assert done.stop_reason is StopReason.REPEATED


def write(reader: Reader, ask: Ask) -> tuple[Done, str]:
    said: list[str] = []
    done = reader.runtime.answer(ask, said.append, lambda: False)
    assert done is not None
    return done, "".join(said)
