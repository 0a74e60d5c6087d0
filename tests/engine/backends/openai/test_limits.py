"""What a server may send: beyond these sizes and times an answer ends, other text is repaired."""

from __future__ import annotations

import asyncio
import gzip
import json
from typing import Any

import pytest

from engine.backends.openai import client, stream
from engine.backends.openai.failures import MOST_WORDS
from engine.config import paths
from engine.core.errors import EngineFailed, EngineUnavailable
from engine.core.types import Chunk, StopReason, Tokens
from tests.engine.backends.openai.conftest import CANARY, Make, gather, request_of, text_of
from tests.engine.backends.openai.server import (
    DONE,
    Exchange,
    Reply,
    Server,
    answer,
    error,
    event,
    hello,
    sse,
    streamed,
    words,
)

MB = 2**20
STREAM = {"content-type": "text/event-stream"}


class Endless:
    """Sends `part` until the client has gone, at most 256 MB; counts the bytes."""

    def __init__(self, part: bytes, status: int = 200, first: bytes = b"", **headers: str) -> None:
        self.part, self.status, self.first = part, status, first
        self.headers = STREAM | headers
        self.sent = 0

    async def __call__(self, exchange: Exchange) -> None:
        await exchange.head(self.status, self.headers)
        await exchange.send(self.first)
        while self.sent < 256 * MB:
            await exchange.send(self.part)
            self.sent += len(self.part)


def choice(delta: object, finish: str | None = None, **fields: Any) -> bytes:
    return sse(json.dumps({"choices": [{"delta": delta, "finish_reason": finish, **fields}]}))


@pytest.mark.parametrize(
    "reply",
    [
        Endless(b"x" * 65536, first=b"data: "),
        Endless(b"data: x\n" * 8192),
        Endless(b": " + b"x" * 1000 + b"\n\n"),
    ],
    ids=["line", "event", "comments"],
)
async def test_an_endless_event_is_given_up(server: Server, make: Make, reply: Endless) -> None:
    server.script = [reply, hello()]
    engine = make()
    with pytest.raises(EngineFailed, match="more than an answer can have"):
        await gather(engine)
    assert reply.sent < 16 * MB
    assert text_of(await gather(engine)) == "Hello there"


async def test_a_body_counts_decompressed(server: Server, make: Make) -> None:
    packed = gzip.compress(b'data: {"choices": [' + b" " * 8 * MB)
    headers = STREAM | {"content-encoding": "gzip", "content-length": str(len(packed))}

    async def reply(exchange: Exchange) -> None:
        await exchange.head(200, headers)
        await exchange.send(packed)

    server.script = [reply]
    with pytest.raises(EngineFailed, match="more than an answer can have"):
        await gather(make())


async def test_events_without_end_are_given_up(server: Server, make: Make) -> None:
    reply = Endless(sse(json.dumps({"choices": [], "padding": "x" * 10_000})))
    server.script = [reply]
    with pytest.raises(EngineFailed, match="more than an answer can have"):
        [chunk async for chunk in make().stream(request_of(max_tokens=100))]
    assert reply.sent < 16 * MB


async def test_an_endless_error_is_cut_off(server: Server, make: Make) -> None:
    kind = "application/json"
    reply = Endless(b"busy " * 9000, 503, b'{"error": "', **{"content-type": kind})
    server.script = [reply]
    with pytest.raises(EngineUnavailable) as caught:
        await gather(make())
    assert caught.value.message.startswith("127.0.0.1")
    assert '(status 503): “{"error": "busy busy' in caught.value.message
    assert len(caught.value.message) < 400
    assert reply.sent < 16 * MB


@pytest.mark.parametrize("charset", ["zlib", "hex", "undefined", "utf-16", "no-such-charset"])
async def test_a_packed_error_is_cut_off(server: Server, make: Make, charset: str) -> None:
    packed = gzip.compress(b"busy " * 2 * MB)

    async def reply(exchange: Exchange) -> None:
        kind = {"content-type": f"text/plain; charset={charset}", "content-encoding": "gzip"}
        await exchange.head(500, kind)
        await exchange.send(packed)

    server.script = [reply]
    with pytest.raises(EngineUnavailable, match="busy busy") as caught:
        await gather(make())
    assert len(caught.value.message) < 400


async def test_an_error_that_drips_is_cut_off(
    server: Server, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "_ERROR_SECONDS", 0.1)

    async def reply(exchange: Exchange) -> None:
        await exchange.head(500, {"content-type": "text/plain"})
        await exchange.send(b"busy")
        await exchange.wait_until_left()

    server.script = [reply]
    with pytest.raises(EngineUnavailable, match="“busy”"):
        await gather(make())


async def test_an_answer_ends_where_max_tokens_would_end_it(server: Server, make: Make) -> None:
    reply = Endless(words("ten words " * 10) * 10)
    server.script = [reply]
    chunks = [chunk async for chunk in make().stream(request_of(max_tokens=100))]
    assert chunks[-1].stop_reason is StopReason.LENGTH
    assert len(text_of(chunks)) <= 64 * 100 + 1000 + 100
    assert reply.sent < 16 * MB


async def test_an_answer_that_brings_nothing_is_given_up(server: Server, make: Make) -> None:
    async def reply(exchange: Exchange) -> None:
        await exchange.head(200, STREAM)
        await exchange.send(words("Hel"))
        while True:
            await exchange.send(b": ping\n\n" + sse('{"choices": []}'))
            await asyncio.sleep(0.01)

    server.script = [reply]
    came: list[Chunk] = []
    with pytest.raises(EngineFailed, match=r"no text for 0\.2 seconds"):
        await gather(make(first_token_timeout=0.2), came)
    assert came == [Chunk("Hel")]


async def test_comments_keep_an_answer_alive(server: Server, make: Make) -> None:
    async def reply(exchange: Exchange) -> None:
        await exchange.head(200, STREAM)
        await exchange.send(words("Hel"))
        for _ in range(20):
            await exchange.send(b": ping\n\n")
            await asyncio.sleep(0.05)
        await exchange.send(words("lo", "stop") + DONE)
        exchange.writer.close()

    server.script = [reply]
    assert text_of(await gather(make(stall_timeout=0.6))) == "Hello"


async def test_events_after_the_end_are_not_waited_for(
    server: Server, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "_USAGE_WAIT", 0.2)

    async def reply(exchange: Exchange) -> None:
        await exchange.head(200, STREAM)
        await exchange.send(words("Yes.", "stop"))
        while True:
            await exchange.send(sse('{"choices": []}'))
            await asyncio.sleep(0.02)

    server.script = [reply]
    async with asyncio.timeout(30):
        chunks = await gather(make())
    assert chunks == [Chunk("Yes."), Chunk(stop_reason=StopReason.COMPLETE)]


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        (["half \ud83d", "\ude00 here"], "half 😀 here"),
        (["half \ud83d here"], "half \ufffd here"),
        (["half \ud83d", " here \ude00"], "half \ufffd here \ufffd"),
        (["half \ud83d"], "half \ufffd"),
    ],
)
@pytest.mark.parametrize("field", ["content", "reasoning"])
async def test_half_a_character_is_joined_or_replaced(
    server: Server, make: Make, pieces: list[str], text: str, field: str
) -> None:
    parts = [choice({field: piece}) for piece in pieces]
    server.script = [streamed(*parts, words(".", "stop"), DONE)]
    chunks = await gather(make())
    whole = text_of(chunks) + "".join(chunk.thinking for chunk in chunks)
    assert sorted(whole) == sorted(text + ".")
    assert text in (text_of(chunks)[:-1], "".join(chunk.thinking for chunk in chunks))


async def test_invalid_utf_8_is_replaced(server: Server, make: Make) -> None:
    broken = choice({"content": "half X here"}).replace(b"X", b"\xed\xa0\xbd")
    server.script = [streamed(broken, words("", "stop"), DONE)]
    assert text_of(await gather(make())) == "half \ufffd\ufffd\ufffd here"


@pytest.mark.parametrize("count", ["true", "-1", "9007199254740993", "NaN", "1.5", "1e400", '"2"'])
async def test_a_count_that_is_none_is_ignored(server: Server, make: Make, count: str) -> None:
    usage = f'{{"choices": [], "usage": {{"prompt_tokens": 1, "completion_tokens": {count}}}}}'
    server.script = [streamed(words("Yes.", "stop"), sse(usage), DONE)]
    assert (await gather(make()))[-1].tokens is None


async def test_a_count_may_be_as_large_as_json_allows(server: Server, make: Make) -> None:
    usage = {"prompt_tokens": 2**53, "completion_tokens": 0, "total_tokens": 2**53}
    server.script = [streamed(words("Yes.", "stop"), event(usage=usage), DONE)]
    assert (await gather(make()))[-1].tokens == Tokens(2**53, 0)


async def test_only_the_first_of_several_choices_is_read(server: Server, make: Make) -> None:
    both = [
        {"index": 1, "delta": {"content": "other"}, "finish_reason": "length"},
        {"index": 0, "delta": {"content": "Yes"}},
    ]
    server.script = [
        streamed(
            sse(json.dumps({"choices": both})),
            choice({"content": " other"}, index=1),
            choice({"content": "."}, "stop", index=0),
        )
    ]
    chunks = await gather(make())
    assert (text_of(chunks), chunks[-1].stop_reason) == ("Yes.", StopReason.COMPLETE)


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
async def test_reasoning_is_not_the_answer(server: Server, make: Make, name: str) -> None:
    parts = [choice({name: "Let me"}), choice({name: " see."}), choice({"content": "42"}, "stop")]
    server.script = [streamed(*parts, DONE)]
    chunks = await gather(make())
    assert text_of(chunks) == "42"
    assert [chunk.thinking for chunk in chunks] == ["Let me", " see.", "", ""]


async def test_all_tokens_for_hidden_reasoning_is_a_failure(server: Server, make: Make) -> None:
    server.script = [streamed(choice({"content": ""}), choice({"content": "\n"}, "length"))]
    with pytest.raises(EngineFailed, match="“m” used all its tokens for thinking") as caught:
        await gather(make())
    assert "Raise `max_tokens` under [engines.remote] in " in caught.value.remedy


@pytest.mark.parametrize(
    ("values", "kept"),
    [
        ("[-0.5, 0]", (-0.5, 0.0)),
        ("[-9999.0]", (-9999.0,)),
        ("[-0.5, NaN]", ()),
        ("[-Infinity]", ()),
        ("[0.1]", ()),
        ("[true]", ()),
        ("[null]", ()),
        (f"[-1{'0' * 400}]", ()),
    ],
)
async def test_logprobs_are_kept_where_all_of_them_are_valid(
    server: Server, make: Make, values: str, kept: tuple[float, ...]
) -> None:
    tokens = ", ".join(f'{{"logprob": {value}}}' for value in values[1:-1].split(", "))
    data = (
        f'{{"choices": [{{"delta": {{"content": "a"}}, "logprobs": {{"content": [{tokens}]}}}}]}}'
    )
    server.script = [streamed(sse(data), words("", "stop"), DONE)]
    assert (await gather(make()))[0] == Chunk("a", logprobs=kept)


MARKED = CANARY.replace("-", "-\u200e")
ECHOES = {
    "between marks": MARKED,
    "upper case": CANARY.upper(),
    "percent-encoded": "".join(f"%{ord(letter):02x}" for letter in CANARY),
    "in pieces": f"{CANARY[:9]} \n {CANARY[9:]}",
    "at the end of what is read": "\u200e" * (MOST_WORDS - 20) + CANARY,
}


def _letters(text: str) -> str:
    return "".join(letter for letter in text.lower() if letter.isalnum())


@pytest.mark.parametrize("echo", ECHOES.values(), ids=ECHOES.keys())
@pytest.mark.parametrize("status", [200, 418])
async def test_a_key_that_comes_back_altered_is_not_shown(
    server: Server, make: Make, echo: str, status: int
) -> None:
    body = f"It was {echo} and no other."
    event = streamed(words("Hel"), sse(json.dumps({"error": {"message": body}})))
    reply: Reply = event if status == 200 else error(status, body)
    server.script = [reply]
    with pytest.raises((EngineFailed, EngineUnavailable)) as caught:
        await gather(make())
    shown = _letters(str(caught.value))
    assert _letters(CANARY)[:6] not in shown
    assert CANARY.encode().hex()[:12] not in shown


@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_a_key_in_an_answer_is_not_shown(server: Server, make: Make, size: int) -> None:
    text = f"It is {MARKED}, so: sk."
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    server.script = [streamed(*map(words, pieces), words("", "stop"), DONE)]
    assert text_of(await gather(make())) == "It is …, so: sk."


async def test_the_password_of_an_address_is_not_shown(server: Server, make: Make) -> None:
    url = server.url.replace("//", "//user:pass%2Dword@")
    server.script = [answer(418, {"error": "pass-word for you"})]
    with pytest.raises(EngineUnavailable) as caught:
        await gather(make(base_url=url))
    said = str(caught.value).replace(str(paths.settings_file()), "")
    assert "pass" not in said
