"""All that can go wrong, through the real client: what is told, what stays, what is tried."""

from __future__ import annotations

import asyncio
import gc
import socket
from typing import Any

import pytest

from engine.core.errors import EngineFailed, EngineUnavailable
from engine.core.types import Chunk
from tests.engine.backends.openai.conftest import KEY_ENV, Make, gather, text_of
from tests.engine.backends.openai.server import (
    DONE,
    Reply,
    Server,
    answer,
    cut,
    error,
    hang_up,
    hello,
    sse,
    stalled,
    streamed,
    words,
)

TOO_LONG = "This model's maximum context length is 512 tokens."
OLD_VLLM = (
    "'max_tokens' or 'max_completion_tokens' is too large: {}. This model's maximum context "
    "length is 512 tokens and your request has 400 input tokens."
)
VLLM_LONG_CHAT = (
    "This model's maximum context length is 8192 tokens. However, you requested 1024 output tokens "
    "and your prompt contains at least 7169 input tokens, for a total of at least 8193 tokens. "
    "Please reduce the length of the input prompt or the number of requested output tokens."
)
OPENAI_OLD = (
    "This model's maximum context length is 512 tokens. However, you requested 620 tokens "
    "(20 in the messages, 600 in the completion). Please reduce the length."
)
TOO_MANY_TOKENS = {
    "OpenAI": "max_tokens is too large: 1024. This model supports at most 512 completion tokens.",
    "OpenAI, old": OPENAI_OLD,
    "vLLM, old": OLD_VLLM.format(1024),
    "vLLM": VLLM_LONG_CHAT.replace("8192", "1536"),
    "vLLM, more than the context": "max_tokens=1024cannot be greater than max_model_len=512.",
    "DeepSeek": "Invalid max_tokens value, the valid range of max_tokens is [1, 512]",
    "Groq": "`max_completion_tokens` must be less than or equal to `512`",
    "Anthropic": "max_tokens: 1024 > 512, which is the maximum allowed number of output tokens",
}
LOG_IN = "<!DOCTYPE html><html><body>Welcome to the hotel. data: log in</body></html>"

FINAL: dict[str, tuple[Reply, str, str]] = {
    "no credit": (
        error(429, "You exceeded your current quota.", code="insufficient_quota"),
        "no credit left",
        "another engine",
    ),
    "payment": (error(402, "Insufficient Balance"), "no credit left", "Add credit"),
    "401": (error(401, "Incorrect key", code="invalid_api_key"), f"key in {KEY_ENV}", "valid key"),
    "403": (error(403, "Country not supported"), "does not let", "permissions and region"),
    "404 model": (
        error(404, "The model `m` does not exist", code="model_not_found"),
        "does not serve a model “m”",
        "`model` in [engines.remote] in ",
    ),
    "404 model, Azure": (
        error(404, "No such deployment.", code="DeploymentNotFound"),
        "does not serve a model “m”",
        "`model`",
    ),
    "404 model, Ollama": (
        error(404, "model 'm' not found", kind="not_found_error"),
        "does not serve a model “m”",
        "`model`",
    ),
    "400 model, transformers serve": (
        answer(400, {"detail": "Server is pinned to '/x'; requested 'm'."}),
        "does not serve a model “m”: “Server is pinned to '/x'; requested 'm'”",
        "`model`",
    ),
    "404 path": (answer(404, {"detail": "Not Found"}), "does not offer chat completions", "/v1"),
    "405": (answer(405, {"detail": "Method Not Allowed"}), "status 405", "[engines.remote]"),
    "too long": (
        error(400, TOO_LONG, code="context_length_exceeded"),
        "too long for “m”",
        "new conversation",
    ),
    "too long, vLLM": (
        answer(400, {"error": {"message": VLLM_LONG_CHAT, "param": "input_tokens", "code": 400}}),
        "too long for “m”",
        "new conversation",
    ),
    "too long, older vLLM": (
        answer(400, {"object": "error", "message": OLD_VLLM.format(200), "code": 400}),
        "too long for “m”",
        "new conversation",
    ),
    "too long, llama.cpp": (
        answer(400, {"error": {"code": 400, "message": "!", "type": "exceed_context_size_error"}}),
        "too long for “m”",
        "new conversation",
    ),
    "too long, in the words of a refusal": (
        error(400, "max_tokens not allowed: it exceeds the context", param="max_tokens"),
        "too long for “m”",
        "`max_tokens`",
    ),
    "413": (answer(413, "too big", kind="text/plain"), "too long for “m”", "new conversation"),
    **{
        f"max_tokens too large, {server}": (
            error(400, words, param="max_tokens", code="invalid_value"),
            "“m” cannot give answers of that many tokens: “",
            "Lower `max_tokens` in [engines.remote] in ",
        )
        for server, words in TOO_MANY_TOKENS.items()
    },
    "redirect": (
        answer(307, "", {"location": "http://user:pw@login.hotel.example/portal?to=1"}),
        "redirects to http://login.hotel.example, which is not followed",
        "Set `base_url`",
    ),
    "redirect to the same host": (
        answer(302, LOG_IN, {"location": "/login"}, kind="text/html"),
        "redirects to http://127.0.0.1",
        "log in to the network",
    ),
    "redirect to no address": (
        answer(308, "", {"location": "http://[::1"}),
        "redirects to another address",
        "Set `base_url`",
    ),
    "422": (
        answer(422, {"detail": [{"loc": ["body", "messages", 0], "msg": "no system role"}]}),
        "status 422): “body.messages.0: no system role”",
        "[engines.remote]",
    ),
    "400 without a word": (answer(400, ""), "refused the request (status 400).", "settings"),
    "400 of strange shape": (answer(400, [1, {"error": []}]), "status 400", "settings"),
    "not to be retried": (
        error(503, "Down for good", headers={"x-should-retry": "false"}),
        "failed (status 503): “Down for good”",
        "Ask again",
    ),
    "a wait that is too long": (
        error(429, "Slow down", headers={"retry-after": "3600"}),
        "Too many requests to 127.0.0.1",
        "Wait",
    ),
    "HTML with 200": (answer(200, LOG_IN, kind="text/html"), "with a stream of events", "log-in"),
    "HTML as plain text": (
        answer(200, LOG_IN, kind="text/plain"),
        "broke before the end",
        "Ask again",
    ),
    "an error with 200": (
        answer(200, {"error": {"message": "No instance is free"}}),
        "did not answer with a stream of events: “No instance is free”",
        "/v1",
    ),
    "an object with 200": (
        answer(200, {"choices": [{"message": {"content": "All at once"}}]}),
        "did not answer with a stream of events: “application/json”",
        "/v1",
    ),
    "a broken object with 200": (answer(200, "{"), "invalid event", "Ask again"),
}


@pytest.mark.parametrize(("reply", "told", "remedy"), FINAL.values(), ids=FINAL.keys())
async def test_what_no_repetition_helps_is_told_at_once(
    server: Server, make: Make, reply: Reply, told: str, remedy: str
) -> None:
    server.always = reply
    with pytest.raises((EngineUnavailable, EngineFailed)) as caught:
        await gather(make(max_retries=3))
    assert told in caught.value.message
    assert remedy in caught.value.remedy
    assert "<" not in caught.value.message
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("has_key", "told"), [(True, f"key in {KEY_ENV}"), (False, "BALCAO_TEST_UNSET_KEY is not set")]
)
async def test_401_says_whether_there_was_a_key(
    server: Server, make: Make, has_key: bool, told: str
) -> None:
    server.script = [error(401, "Incorrect API key provided: sk-cana****d04a58.")]
    with pytest.raises(EngineUnavailable, match=told) as caught:
        await gather(make(api_key_env=KEY_ENV if has_key else "BALCAO_TEST_UNSET_KEY"))
    assert "sk-" not in str(caught.value)


PASSING: dict[str, Reply] = {
    "429": error(429, "Slow down", headers={"retry-after-ms": "10"}),
    "429 in seconds": error(429, "Slow down", headers={"retry-after": "0.01"}),
    "409": error(409, "Conflict"),
    "500 with a page": answer(500, "<html>", kind="text/html"),
    "503 with a strange wait": error(503, "Loading model", headers={"retry-after": "soon"}),
    "asked to come again": error(501, "Not now", headers={"x-should-retry": "true"}),
    "no answer": hang_up(),
}


@pytest.mark.parametrize("reply", PASSING.values(), ids=PASSING.keys())
async def test_what_passes_is_tried_again(server: Server, make: Make, reply: Reply) -> None:
    server.script = [reply, hello()]
    assert text_of(await gather(make(max_retries=1))) == "Hello there"
    first, second = server.bodies
    assert first == second


LASTING: dict[str, tuple[Reply, str]] = {
    "429": (error(429, "Slow down"), "“Slow down”"),
    "no wait at all": (error(503, "Now", headers={"retry-after": "0"}), "failed (status"),
    "502": (answer(502, "<html>Bad gateway", kind="text/html"), "failed (status 502)."),
    "503": (error(503, "Overloaded"), "failed (status 503): “Overloaded”"),
    "no answer": (hang_up(), "closed the connection without an answer"),
}


@pytest.mark.parametrize(("reply", "told"), LASTING.values(), ids=LASTING.keys())
async def test_what_does_not_pass_is_told_in_the_end(
    server: Server, make: Make, reply: Reply, told: str
) -> None:
    server.always = reply
    with pytest.raises(EngineUnavailable) as caught:
        await gather(make(max_retries=1))
    assert told in caught.value.message
    assert len(server.asked) == 2


async def test_a_named_wait_outlasts_the_number_of_tries(server: Server, make: Make) -> None:
    busy = error(429, "Slow down", headers={"retry-after-ms": "10"})
    server.script = [busy, busy, busy, busy, hello()]
    assert text_of(await gather(make(max_retries=1))) == "Hello there"
    server.always = busy
    with pytest.raises(EngineUnavailable, match="Too many requests"):
        await gather(make(max_retries=1, stall_timeout=1.4))
    assert len(server.asked) == 5 + 4


async def test_without_retries_nothing_is_tried_again(server: Server, make: Make) -> None:
    server.script = [error(429, "Slow down", headers={"retry-after-ms": "10"})]
    with pytest.raises(EngineUnavailable):
        await gather(make(max_retries=0))
    assert len(server.asked) == 1


BROKEN: dict[str, tuple[Reply, str]] = {
    "cut": (cut(words("Hel"), words("lo")), "broke before the end"),
    "cut within an event": (cut(words("Hel"), words("lo"), b'data: {"cho'), "broke before"),
    "ends without a reason": (streamed(words("Hel"), words("lo")), "broke before"),
    "done without a reason": (streamed(words("Hel"), words("lo"), DONE), "broke before"),
    "error event": (
        streamed(words("Hel"), words("lo"), sse('{"error": {"message": "CUDA out of memory"}}')),
        "ended the answer with an error: “CUDA out of memory”",
    ),
    "error event, bare": (
        streamed(words("Hel"), words("lo"), sse('{"error": "worker died"}')),
        "ended the answer with an error: “worker died”",
    ),
    "error event, context": (
        streamed(
            words("Hel"),
            words("lo"),
            sse('{"error": {"message": "full", "type": "exceed_context_size_error"}}'),
        ),
        "too long for “m”",
    ),
    "no JSON": (streamed(words("Hel"), words("lo"), sse("{no")), "invalid event"),
    "no UTF-8": (streamed(words("Hel"), words("lo"), b"data: \xff\n\n"), "invalid event"),
    "nested too deep": (
        streamed(words("Hel"), words("lo"), sse("[" * 200_000)),
        "invalid event",
    ),
    "filtered": (streamed(words("Hel"), words("lo", "content_filter")), "content filter"),
    "a tool": (streamed(words("Hel"), words("lo", "tool_calls"), DONE), "called a tool"),
}


@pytest.mark.parametrize(("reply", "told"), BROKEN.values(), ids=BROKEN.keys())
async def test_what_came_before_a_break_stays(
    server: Server, make: Make, reply: Reply, told: str
) -> None:
    server.script = [reply, hello()]
    engine = make(max_retries=3)
    came: list[Chunk] = []
    with pytest.raises(EngineFailed) as caught:
        await gather(engine, came)
    assert came == [Chunk("Hel"), Chunk("lo")]
    assert told in caught.value.message
    assert caught.value.remedy
    assert len(server.asked) == 1
    assert text_of(await gather(engine)) == "Hello there"


BEGUN = [stalled(words("Hel")), stalled(words("Hel"), b": ping\n\n")]
QUEUED = [stalled(), stalled(b": ping\n\n")]


@pytest.mark.parametrize(
    ("reply", "setting", "kept"),
    [
        *((reply, "stall_timeout", [Chunk("Hel")]) for reply in BEGUN),
        *((reply, "first_token_timeout", []) for reply in QUEUED),
    ],
)
async def test_a_stall_is_given_up(
    server: Server, make: Make, reply: Reply, setting: str, kept: list[Chunk]
) -> None:
    server.script = [reply, hello()]
    engine = make(**{setting: 0.2}, max_retries=3)
    came: list[Chunk] = []
    with pytest.raises((EngineUnavailable, EngineFailed), match=r"for 0\.2 seconds") as caught:
        await gather(engine, came)
    assert came == kept
    assert f"`{setting}`" in caught.value.remedy
    await asyncio.wait_for(server.asked[0].left.wait(), 10)
    assert text_of(await gather(engine)) == "Hello there"


async def test_nobody_listens(make: Make) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(EngineUnavailable) as caught:
            await gather(make(base_url=f"http://user:secret@127.0.0.1:{port}/v1", max_retries=1))
    assert f"Cannot reach 127.0.0.1:{port}" in caught.value.message
    assert "secret" not in str(caught.value)
    assert "base_url" in caught.value.remedy


async def test_nobody_accepts(make: Make) -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        port = listening.getsockname()[1]
        # Two connections fill the queue of one that listens and never accepts.
        others = [socket.socket() for _ in range(3)]
        for other in others:
            other.setblocking(False)
            other.connect_ex(("127.0.0.1", port))
        url = f"http://127.0.0.1:{port}/v1"
        engine = make(base_url=url, connect_timeout=0.3, max_retries=3)
        with pytest.raises(EngineUnavailable, match=r"a connection within 0\.3 seconds"):
            await gather(engine)
        for other in others:
            other.close()


async def test_both_names_of_the_limit_refused(server: Server, make: Make) -> None:
    async def refuse(exchange: Any) -> None:
        (name,) = {"max_tokens", "max_completion_tokens"} & set(exchange.body)
        await error(400, f"Unsupported parameter: '{name}'", param=name)(exchange)

    server.always = refuse
    with pytest.raises(EngineUnavailable, match="Unsupported parameter: 'max_completion_tokens'"):
        await gather(make())
    assert len(server.asked) == 2


async def test_a_proxy_that_is_no_address(
    make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "gopher://user:secret@localhost:70")
    with pytest.raises(EngineUnavailable, match="Cannot set up") as caught:
        await gather(make())
    assert "secret" not in str(caught.value)
    gc.collect()
    await asyncio.sleep(0.05)
    assert not caplog.records  # a logged error would be printed across the chat
