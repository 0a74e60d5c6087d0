"""The engine before it is asked: what it needs, what it loads, and how long its models live."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from engine.backends.openai.engine import OpenAIConfig, OpenAIEngine, base_model, shutdown_notice
from engine.core.errors import EngineUnavailable
from tests.engine.backends.openai.conftest import KEY_ENV, Make, gather, text_of
from tests.engine.backends.openai.server import HELLO, Server, answer, hello

ROOT = Path(__file__).parents[4]


def engine_of(**row: object) -> OpenAIEngine:
    values = {"model": "m", "api_key_env": KEY_ENV, **row}
    return OpenAIEngine("remote", OpenAIConfig(**values))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "row",
    [
        {},
        {"base_url": "http://localhost:8000/v1"},
        {"base_url": "http://localhost:8000/v1", "api_key_env": "BALCAO_TEST_UNSET_KEY"},
        {"base_url": "https://models.example/v1", "api_key_env": ""},
    ],
)
def test_ready(row: dict[str, object]) -> None:
    assert engine_of(**row).availability().ready


@pytest.mark.parametrize(
    ("row", "reason", "remedy"),
    [
        ({"model": ""}, "No model", "`model` under [engines.remote]"),
        ({"api_key_env": "BALCAO_TEST_UNSET_KEY"}, "is not set", "BALCAO_TEST_UNSET_KEY"),
        ({"api_key_env": ""}, "needs an API key", "key"),
        ({"base_url": "localhost:8000/v1"}, "not a web address", "http://localhost:8000/v1"),
        ({"base_url": "http://[::1/v1"}, "not a web address", "base_url"),
        ({"base_url": "http://localhost:99999/v1"}, "not a web address", "base_url"),
        ({"base_url": "https://a.example/v1?api-version=1"}, "not a web address", "base_url"),
    ],
)
async def test_not_ready(row: dict[str, object], reason: str, remedy: str) -> None:
    engine = engine_of(**row)
    state = engine.availability()
    assert not state.ready
    assert reason in state.reason
    assert remedy in state.remedy
    with pytest.raises(EngineUnavailable, match=r"Write|Set|Store"):
        await gather(engine)
    assert not engine.loaded


@pytest.mark.parametrize("key", ["sk-café", "sk-one\nsk-two", "sk-\x00"[:3] + "\x7f"])
def test_a_key_that_cannot_be_sent(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv(KEY_ENV, key)
    state = engine_of().availability()
    assert not state.ready
    assert "Invalid API key" in state.reason
    assert key not in str(state)


def test_an_address_that_the_client_refuses() -> None:
    async def load() -> None:
        async for _ in engine_of(base_url="http://exämple..test/v1").load():
            pass

    with pytest.raises(EngineUnavailable, match="Cannot set up"):
        asyncio.run(load())


async def test_load_and_unload(server: Server, make: Make) -> None:
    engine = make()
    loaded = [engine.loaded]
    steps = [step async for step in engine.load()]
    loaded.append(engine.loaded)
    assert steps[-1].fraction == 1.0
    assert [step async for step in engine.load()] == steps
    for _ in range(2):
        await engine.unload()
        loaded.append(engine.loaded)
    assert loaded == [False, True, False, False]
    assert not server.asked
    server.script = [hello()]
    assert text_of(await gather(engine)) == "Hello there"


async def test_loading_can_be_cancelled(make: Make) -> None:
    engine = make()
    loading = engine.load()
    await anext(loading)
    await loading.aclose()
    assert not engine.loaded


async def test_first_questions_at_once_share_one_client(server: Server, make: Make) -> None:
    server.always = hello()
    engine = make()
    first, second = await asyncio.gather(gather(engine), gather(engine))
    assert text_of(first) == text_of(second) == "Hello there"


class _KeepsOpen(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        body = b"".join(HELLO)
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as it is called
        """Nothing on the terminal."""


def test_one_event_loop_after_another() -> None:
    # Pins: a kept connection of the first loop made the second fail with a bare RuntimeError.
    with ThreadingHTTPServer(("127.0.0.1", 0), _KeepsOpen) as listening:
        listening.daemon_threads = True
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        engine = engine_of(base_url=f"http://127.0.0.1:{listening.server_address[1]}/v1")
        for _ in range(2):
            assert text_of(asyncio.run(gather(engine))) == "Hello there"
        asyncio.run(engine.unload())
        listening.shutdown()
    assert not engine.loaded


_LAZY = """
import asyncio, json, sys, threading
from engine.backends.openai.engine import OpenAIConfig, OpenAIEngine

threads = {}
def note(event, args):
    if event == "import":
        threads.setdefault(args[0], threading.current_thread() is threading.main_thread())
sys.addaudithook(note)

async def main():
    engine = OpenAIEngine("x", OpenAIConfig(model="m", base_url="http://localhost:1/v1"))
    ready = engine.availability().ready
    before = sorted(set(sys.modules) & {"openai", "httpx2", "pydantic", "anyio", "socket"})
    async for _ in engine.load():
        pass
    await engine.unload()
    print(json.dumps([ready, before, threads["openai"], "openai" in sys.modules]))

asyncio.run(main())
"""


def test_the_package_is_loaded_late_and_off_the_main_thread() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _LAZY], cwd=ROOT, capture_output=True, text=True, check=True
    )
    ready, before, on_main_thread, loaded = json.loads(done.stdout)
    assert ready
    assert not {"openai", "httpx2", "pydantic", "anyio"} & set(before)
    assert not on_main_thread
    assert loaded


@pytest.mark.parametrize(
    ("model", "base"),
    [
        ("gpt-4o-mini", "gpt-4o-mini"),
        ("gpt-4o-mini-2024-07-18", "gpt-4o-mini"),
        ("ft:gpt-4.1-2025-04-14:shop:counter:abc", "gpt-4.1"),
        ("ft:gpt-4o-mini-2024-07-18:shop::abc:ckpt-step-88", "gpt-4o-mini"),
        ("gpt-4o-audio-preview", "gpt-4o-audio-preview"),
        ("", ""),
    ],
)
def test_base_of_a_model(model: str, base: str) -> None:
    assert base_model(model) == base


@pytest.mark.parametrize(
    ("model", "today", "told"),
    [
        ("gpt-4o-mini", date(2026, 7, 14), ""),
        ("gpt-4o-mini", date(2026, 7, 15), "reportedly shut down gpt-4o-mini on 2027-01-14."),
        ("ft:gpt-4.1-mini-2025-04-14:s::a", date(2026, 11, 23), "with it this fine-tuned model."),
        ("gpt-4.1", date(2027, 1, 14), "planned to shut down gpt-4.1 on 2027-01-14."),
        ("gpt-4.1-nano", date(2026, 11, 23), "has reportedly shut down"),
        ("gpt-4o-audio-preview", date(2026, 11, 23), ""),
        ("gpt-9", date(2026, 11, 23), ""),
    ],
)
def test_the_end_of_a_model_is_told_in_time(model: str, today: date, told: str) -> None:
    told_now = shutdown_notice(model, today)
    assert told in told_now
    assert bool(told) == bool(told_now)


async def test_the_last_chunk_tells_of_the_end(server: Server, make: Make) -> None:
    # Shut already: no calendar changes this answer.
    engine = make(model="gpt-4.1-nano", base_url=None)
    async for _ in engine.load():
        pass
    assert engine._session is not None
    engine._session._client.base_url = server.url
    server.script = [hello()]
    chunks = await gather(engine)
    assert [chunk.notice for chunk in chunks[:-1]] == ["", ""]
    assert "gpt-4.1-nano" in chunks[-1].notice


async def test_another_servers_model_of_that_name_lives_on(server: Server, make: Make) -> None:
    server.script = [hello()]
    chunks = await gather(make(model="gpt-4.1-nano"))
    assert chunks[-1].notice == ""


async def test_the_servers_shutdown_date_is_a_warning(server: Server, make: Make) -> None:
    row = {"id": "other", "shutdown_date": "2027-01-01"}
    for rows, warned in (
        ([row, {"id": "test-model", "shutdown_date": "2027-02-03"}], True),
        ([row, {"id": "test-model", "shutdown_date": "soon"}], False),
        ([row], False),
        ([5, None], False),
    ):
        engine = make(model="test-model")
        body = json.dumps({"object": "list", "data": rows})
        server.script = [answer(200, body)]
        await engine.look_up()
        await engine.look_up()
        found = f"The model is shut down on 2027-02-03, says 127.0.0.1:{server.port}."
        assert (found in engine.warnings()) is warned
        assert not engine.loaded
    assert [asked.path for asked in server.asked] == ["/v1/models"] * 4


async def test_a_server_that_lists_no_models_gives_no_warning(server: Server, make: Make) -> None:
    for status, body in ((404, "{}"), (200, "[]"), (200, '{"data": 5}'), (200, "<html>")):
        server.script = [answer(status, body)]
        engine = make(model="test-model")
        await engine.look_up()
        assert engine.warnings() == []
