"""Ask the server as the unmodified `openai` client and a bare HTTP client do."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest
from aiohttp import web
from openai import AsyncOpenAI

from engine.backends.registry import Registry
from engine.catalogue.catalogue import Catalogue
from engine.chat.open import Resources
from engine.config.settings import load
from scripts import cli
from scripts.api import bodies, chat_routes
from scripts.api.server import ApiServer
from tests.engine.backends.openai import server as scripted

TOKEN = "a-token-of-the-tests"  # noqa: S105 - it opens nothing
LIGHTHOUSE = (
    "A keeper of sixty climbs three hundred steps each dusk. "
    "Written by Ada Quillfeather for readers of 9 to 12 years. 212 pages."
)


@dataclass
class Served:
    client: AsyncOpenAI
    url: str
    remote: scripted.Server
    """The model behind the engine `openai`."""

    async def ask(self, *said: str, model: str = "catalogue", **fields: Any) -> Any:
        roles = ("user", "assistant")
        messages = [
            {"role": roles[number % 2], "content": text} for number, text in enumerate(said)
        ]
        return await self.client.chat.completions.create(
            model=model, messages=fields.pop("messages", messages), **fields
        )


@pytest.fixture
async def served(catalogue_dir: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Served]:
    async with scripted.running() as remote:
        monkeypatch.setenv("BALCAO_ENGINES__OPENAI__MODEL", "m")
        monkeypatch.setenv("BALCAO_ENGINES__OPENAI__BASE_URL", remote.url)
        resources = Resources(Registry(load()), Catalogue.open(catalogue_dir))
        server = ApiServer(resources, "127.0.0.1", 0, TOKEN)
        async with _running(server):
            client = AsyncOpenAI(api_key=TOKEN, base_url=server.address)
            async with client:
                yield Served(client, server.address, remote)


@asynccontextmanager
async def _running(server: ApiServer) -> AsyncIterator[None]:
    runner = web.AppRunner(
        server.app(), access_log=None, handler_cancellation=True, shutdown_timeout=1
    )
    await runner.setup()
    await web.SockSite(runner, server.listening).start()
    try:
        yield
    finally:
        await runner.cleanup()


async def test_the_catalogue_answers_word_for_word_with_its_source(served: Served) -> None:
    reply = await served.ask("the tin lighthouse")
    assert reply.choices[0].message.content == LIGHTHOUSE
    assert reply.choices[0].finish_reason == "stop"
    assert reply.usage.total_tokens == 0  # no model was asked
    found = reply.balcao
    assert (found["status"], found["fidelity"]) == ("exact", 1.0)
    assert [one["uid"] for one in found["sources"]] == ["1000000001"]


async def test_a_followup_knows_its_product_from_the_messages(served: Served) -> None:
    reply = await served.ask("the tin lighthouse", LIGHTHOUSE, "who wrote it?")
    assert "Ada Quillfeather" in reply.choices[0].message.content
    assert reply.balcao["sources"][0]["uid"] == "1000000001"


async def test_a_number_picks_from_the_list_before(served: Served) -> None:
    listed = (await served.ask("striped apron")).choices[0].message.content
    reply = await served.ask("striped apron", listed, "2")
    assert reply.choices[0].message.content == "Woven from cotton ends; no two alike."


async def test_what_the_catalogue_lacks_is_an_honest_no(served: Served) -> None:
    reply = await served.ask("a hydraulic submarine periscope")
    assert reply.balcao["status"] == "none"
    assert reply.balcao["sources"] == []


async def test_a_stream_has_the_same_words_then_the_source_and_the_tokens(served: Served) -> None:
    stream = await served.ask(
        "the tin lighthouse", stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    assert deltas[0].role == "assistant"
    assert "".join(delta.content or "" for delta in deltas) == LIGHTHOUSE
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-2].balcao["fidelity"] == 1.0
    assert chunks[-1].usage.total_tokens == 0
    assert {chunk.id for chunk in chunks} == {chunks[0].id}


async def test_the_models_are_the_engines_that_are_ready(served: Served) -> None:
    names = [model.id async for model in await served.client.models.list()]
    assert {"catalogue", "openai", "openai:memory"} <= set(names)
    assert "catalogue:memory" not in names
    assert "lora" not in names  # its model is not on this machine
    assert (await served.client.models.retrieve("openai:memory")).id == "openai:memory"


async def test_a_request_reaches_the_model_with_its_values(served: Served) -> None:
    served.remote.script = [scripted.hello()]
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "the tin lighthouse"}]},
    ]
    reply = await served.ask(
        model="openai", messages=messages, temperature=0.5, top_p=0.9, max_tokens=7
    )
    assert reply.choices[0].message.content == "Hello there"
    assert reply.usage.total_tokens == 21
    sent = served.remote.bodies[0]
    assert (sent["temperature"], sent["top_p"]) == (0.5, 0.9)
    assert 7 in (sent.get("max_tokens"), sent.get("max_completion_tokens"))
    assert sent["messages"][0] == {"role": "system", "content": "Be brief."}
    assert LIGHTHOUSE in sent["messages"][-1]["content"]


async def test_from_memory_the_model_sees_no_record(served: Served) -> None:
    served.remote.script = [scripted.hello()]
    reply = await served.ask("the tin lighthouse", model="openai:memory")
    assert LIGHTHOUSE not in str(served.remote.bodies[0])
    assert reply.balcao["mode"] == "memory"


async def test_a_client_that_leaves_stops_its_model(served: Served) -> None:
    served.remote.script = [scripted.stalled(scripted.words("Half"))]
    stream = await served.ask("the tin lighthouse", model="openai", stream=True)
    async for chunk in stream:
        if chunk.choices[0].delta.content:
            break
    await stream.close()
    async with asyncio.timeout(20):
        await served.remote.asked[0].left.wait()


async def test_an_error_of_the_model_is_told_once_in_openai_s_form(served: Served) -> None:
    served.remote.always = scripted.error(400, "The model is broken")
    with pytest.raises(openai.APIStatusError) as failed:
        await served.ask("the tin lighthouse", model="openai", stream=True)
    assert failed.value.status_code in (500, 503)
    assert isinstance(failed.value.body, dict)
    assert failed.value.body["type"] == "server_error"
    assert len(served.remote.asked) == 1


async def test_an_error_after_the_first_words_ends_the_stream(served: Served) -> None:
    served.remote.always = scripted.cut(scripted.words("Half"))
    said: list[str] = []
    with pytest.raises(openai.APIError):
        await _read(await served.ask("the tin lighthouse", model="openai", stream=True), said)
    assert "".join(said) == "Half"


async def _read(stream: Any, said: list[str]) -> None:
    async for chunk in stream:
        said.append(chunk.choices[0].delta.content or "")  # noqa: PERF401 - it may break off


async def test_a_wrong_token_model_or_field_is_refused(served: Served) -> None:
    wrong = served.client.with_options(api_key="a-token-of-the-test")
    with pytest.raises(openai.AuthenticationError):
        await wrong.models.list()
    with pytest.raises(openai.NotFoundError, match="does not exist"):
        await served.ask("x", model="gpt-none")
    with pytest.raises(openai.NotFoundError):
        await served.ask("x", model="catalogue:memory")
    with pytest.raises(openai.BadRequestError, match="does not support “n”"):
        await served.ask("x", n=2)
    with pytest.raises(
        openai.BadRequestError, match="Unrecognized request argument supplied: colour"
    ):
        await served.ask("x", extra_body={"colour": "red"})
    with pytest.raises(openai.BadRequestError, match="float"):
        await served.ask("x", temperature=3)
    with pytest.raises(openai.BadRequestError) as failed:
        await served.ask("word " * 50_000)
    assert failed.value.code == "context_length_exceeded"
    tools = [{"type": "function", "function": {"name": "f"}}]
    with pytest.raises(openai.BadRequestError, match="tools"):
        await served.ask("x", tools=tools)


async def test_what_asks_for_nothing_is_accepted(served: Served) -> None:
    fields: dict[str, Any] = {
        "n": 1,
        "stop": None,
        "presence_penalty": 0.0,
        "user": "u",
        "seed": 3,
        "tools": [],
    }
    assert (await served.ask("striped apron", extra_body=fields)).choices


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[]", 400),
        (b"[" * 100_000, 400),
        (b'{"model": "catalogue", "messages": 3}', 400),
        (b'{"model": "catalogue", "messages": [{"role": "assistant", "content": "x"}]}', 400),
        (b'{"model": "catalogue", "messages": [{"role": "user", "content": "\\ud800"}]}', 400),
        (b"\xff", 400),
    ],
)
async def test_a_bad_body_is_refused_in_openai_s_form(
    served: Served, body: bytes, status: int
) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with (
        aiohttp.ClientSession(headers=headers) as client,
        client.post(f"{served.url}/chat/completions", data=body) as reply,
    ):
        error = (await reply.json())["error"]
        assert reply.status == status
        assert set(error) == {"message", "type", "param", "code"}
        assert TOKEN not in str(error)


async def test_a_body_that_is_too_large_is_refused(served: Served) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    body = io.BytesIO(bytes(bodies.MAX_BODY + 1))
    async with (
        aiohttp.ClientSession(headers=headers) as client,
        client.post(f"{served.url}/chat/completions", data=body) as reply,
    ):
        assert reply.status == 413
        assert "larger than" in (await reply.json())["error"]["message"]


async def test_pages_and_foreign_names_are_refused(served: Served) -> None:
    allowed = {"Authorization": f"Bearer {TOKEN}"}
    url = f"{served.url}/models"
    async with aiohttp.ClientSession(headers=allowed) as client:
        for header in ({"Origin": "http://elsewhere.example"}, {"Host": "elsewhere.example"}):
            async with client.get(url, headers=header) as reply:
                assert reply.status == 403
        async with client.get(url) as reply:
            assert reply.status == 200
        async with client.delete(url) as reply:
            assert (reply.status, reply.headers["Allow"]) == (405, "GET,HEAD")
        async with client.get(f"{served.url}/nothing") as reply:
            assert reply.status == 404


async def test_more_answers_than_allowed_are_told_to_wait(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat_routes, "_MAX_ANSWERS", 1)
    served.remote.always = scripted.stalled(scripted.words("Half"))
    first = asyncio.create_task(served.ask("the tin lighthouse", model="openai"))
    await served.remote.came.wait()
    impatient = Served(served.client.with_options(max_retries=0), served.url, served.remote)
    with pytest.raises(openai.RateLimitError):
        await impatient.ask("striped apron")
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)


async def test_a_client_that_sends_too_slowly_is_cut_off(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "BODY_WITHIN", 0.05)
    port = int(served.url.split(":")[2].split("/")[0])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
        f"Authorization: Bearer {TOKEN}\r\nContent-Length: 100\r\n\r\n" + "{"
    )
    writer.write(head.encode())
    async with asyncio.timeout(20):
        assert b" 408 " in await reader.readline()
    writer.close()


def test_other_machines_need_a_token_of_their_own(
    capsys: pytest.CaptureFixture[str], catalogue_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve = ["serve", "--api", "--port", "0", "--catalogue", str(catalogue_dir)]
    assert cli.main([*serve, "--host", "0.0.0.0"]) == 2  # noqa: S104 - it must be refused
    assert "Set BALCAO_API_TOKEN" in capsys.readouterr().err
    monkeypatch.setenv("BALCAO_API_TOKEN", "short")
    assert cli.main(serve) == 2
    assert "at least 16 characters" in capsys.readouterr().err
    assert cli.main(["serve", "--host", "127.0.0.1"]) == 2
    assert "--host is for --api" in capsys.readouterr().err
