"""What is sent: to each kind of server, and in the words of the openai package's own types."""

from __future__ import annotations

import asyncio
import types
import typing
from typing import Any

import pytest
from msgspec.structs import replace
from openai.types.chat import ChatCompletionMessageParam
from openai.types.chat.completion_create_params import (
    CompletionCreateParamsStreaming,
)
from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config
from typing_extensions import is_typeddict

from engine.backends.openai.engine import OpenAIConfig, OpenAIEngine
from engine.core.types import (
    Chunk,
    Decision,
    Hit,
    Mode,
    Product,
    Request,
    Status,
    StopReason,
    Tokens,
)
from tests.engine.backends.openai.conftest import CANARY, KEY_ENV, Make, gather, request_of
from tests.engine.backends.openai.server import (
    DONE,
    Server,
    answer,
    error,
    hello,
    streamed,
    words,
)

MESSAGES = [
    {"role": "system", "content": "Answer from the record."},
    {"role": "user", "content": "Mog?"},
    {"role": "assistant", "content": "A cat."},
    {"role": "user", "content": "Is it there?"},
]
COMMON = {"messages": MESSAGES, "stream": True}
FULL = {"temperature": 0.0, "stream_options": {"include_usage": True}}


def _forbid_more(kind: Any, seen: set[Any]) -> None:
    """Make pydantic refuse unknown keys in a TypedDict and in all that it is made of."""
    kind = typing.get_origin(kind) if isinstance(kind, types.GenericAlias) else kind
    if is_typeddict(kind) and kind not in seen:
        seen.add(kind)
        with_config(ConfigDict(extra="forbid"))(kind)
        for inner in typing.get_type_hints(kind).values():
            _forbid_more(inner, seen)
    for inner in typing.get_args(kind):
        _forbid_more(inner, seen)


@pytest.fixture(scope="module")
def _strict_types() -> None:
    seen: set[Any] = set()
    _forbid_more(CompletionCreateParamsStreaming, seen)
    _forbid_more(ChatCompletionMessageParam, seen)
    assert len(seen) > 10


def check(body: dict[str, Any]) -> None:
    """Raises ValidationError for what OpenAI's types don't know."""
    TypeAdapter(CompletionCreateParamsStreaming).validate_python(body, strict=True)
    # Above, pydantic looks at messages only when they are read one by one.
    TypeAdapter(list[ChatCompletionMessageParam]).validate_python(body["messages"], strict=True)


@pytest.mark.usefixtures("_strict_types")
@pytest.mark.parametrize(
    "wrong",
    [
        {"top_k": 1},
        {"stream_options": {"usage": True}},
        {"temperature": "0"},
        {"messages": [{"role": "user", "content": "x", "extra": 1}]},
        {"messages": [{"role": "shopkeeper", "content": "x"}]},
    ],
)
def test_the_check_bites(wrong: dict[str, Any]) -> None:
    right: dict[str, Any] = {"model": "m", **COMMON, **FULL, "max_tokens": 1}
    check(right)
    with pytest.raises(ValidationError):
        check(right | wrong)


PROFILES = {
    "azure": ("my-deployment", "/openai/v1"),
    "vllm": ("meta-llama/Llama-2-7b-chat-hf", "/v1"),
    "vllm-lora": ("counter-lora", "/v1"),
    "ollama": ("llama2:7b", "/v1"),
    "llama.cpp": ("any", "/v1/"),
    "transformers-serve": ("/models/demo", "/v1"),
}


@pytest.mark.usefixtures("_strict_types")
@pytest.mark.parametrize(("model", "path"), PROFILES.values(), ids=PROFILES.keys())
async def test_other_servers_get_the_old_name_of_the_limit(
    server: Server, make: Make, model: str, path: str
) -> None:
    server.script = [hello()]
    base_url = server.url.removesuffix("/v1") + path
    await gather(make(model=model, base_url=base_url))
    (asked,) = server.asked
    assert asked.body == {"model": model, **COMMON, **FULL, "max_tokens": 1024}
    assert (asked.method, asked.path) == ("POST", f"{path.rstrip('/')}/chat/completions")
    assert asked.headers["authorization"] == f"Bearer {CANARY}"
    check(asked.body)


@pytest.mark.usefixtures("_strict_types")
async def test_openai_gets_the_new_name_of_the_limit(server: Server, make: Make) -> None:
    engine = make(model="ft:gpt-4.1-mini-2025-04-14:shop::abc", base_url=None)
    async for _ in engine.load():
        pass
    # What makes it OpenAI's is settled by now; only the way there is led astray.
    assert engine._session is not None
    engine._session._client.base_url = server.url
    server.script = [hello()]
    await gather(engine)
    (body,) = server.bodies
    assert body == {
        "model": "ft:gpt-4.1-mini-2025-04-14:shop::abc",
        **COMMON,
        **FULL,
        "max_completion_tokens": 1024,
    }
    check(body)


RECORD = Product("1", "Mog", "A cat is there. \ud800")
GROUNDED = replace(
    request_of(),
    mode=Mode.GROUNDED,
    decision=Decision(Status.EXACT, (Hit(RECORD, 1.0),)),
)


async def ask_openai(server: Server, make: Make, model: str, *asked: Request) -> list[Chunk]:
    """Ask a model at OpenAI's own address, which leads to the server; return the last chunks."""
    engine = make(model=model, base_url=None)
    async for _ in engine.load():
        pass
    assert engine._session is not None
    engine._session._client.base_url = server.url
    return [[chunk async for chunk in engine.stream(one)][-1] for one in asked]


@pytest.mark.usefixtures("_strict_types")
async def test_the_record_is_the_prediction_where_openai_takes_one(
    server: Server, make: Make
) -> None:
    details = {"accepted_prediction_tokens": 4, "rejected_prediction_tokens": 1}
    usage: dict[str, Any] = {"prompt_tokens": 9, "completion_tokens": 6, "total_tokens": 15}
    usage |= {"completion_tokens_details": details}
    server.script = [streamed(words("A cat."), words("", "stop", usage=usage), DONE)]
    (last,) = await ask_openai(server, make, "gpt-4o-2024-08-06", GROUNDED)
    assert last.tokens == Tokens(9, 6, drafted=5, accepted=4)
    (body,) = server.bodies
    assert body["prediction"] == {"type": "content", "content": "A cat is there. \ufffd"}
    assert body["max_tokens"] == GROUNDED.max_tokens
    assert "max_completion_tokens" not in body
    check(body)


@pytest.mark.parametrize(
    ("model", "request_"),
    [
        ("gpt-5.4", GROUNDED),
        ("ft:gpt-4o-mini-2024-07-18:shop::abc", GROUNDED),
        ("gpt-4o", replace(GROUNDED, mode=Mode.MEMORY)),
        ("gpt-4o", replace(GROUNDED, followup=True)),
        ("gpt-4o", replace(GROUNDED, decision=Decision(Status.NONE))),
    ],
)
async def test_other_questions_get_no_prediction(
    server: Server, make: Make, model: str, request_: Request
) -> None:
    server.script = [hello()]
    await ask_openai(server, make, model, request_)
    (body,) = server.bodies
    assert "prediction" not in body
    assert body["max_completion_tokens"] == request_.max_tokens


async def test_other_servers_get_no_prediction(server: Server, make: Make) -> None:
    server.script = [hello()]
    async for _ in make(model="gpt-4o").stream(GROUNDED):
        pass
    assert "prediction" not in server.bodies[0]


@pytest.mark.parametrize(
    "refusal",
    [
        error(400, "Unknown argument.", code="unknown_parameter", param="prediction"),
        error(400, "max_tokens and prediction do not go together.", param="max_tokens"),
        error(400, "Bad request."),
    ],
)
async def test_a_refused_prediction_costs_one_request(
    server: Server, make: Make, refusal: Any
) -> None:
    server.script = [refusal, hello(), hello()]
    await ask_openai(server, make, "gpt-4o", GROUNDED, GROUNDED)
    assert ["prediction" in body for body in server.bodies] == [True, False, False]
    assert ["max_completion_tokens" in body for body in server.bodies] == [False, True, True]


async def test_limits_of_the_question_are_sent(server: Server, make: Make) -> None:
    server.script = [hello()]
    async for _ in make().stream(request_of("a \ud800 b", max_tokens=7, temperature=0.5)):
        pass
    (body,) = server.bodies
    assert (body["max_tokens"], body["temperature"]) == (7, 0.5)
    assert body["messages"][-1]["content"] == "a \ufffd b"


NO_TOP_P = "Unsupported parameter: 'top_p' is not supported with this model."


@pytest.mark.usefixtures("_strict_types")
async def test_top_p_is_sent_where_it_says_something_and_given_up_where_it_is_refused(
    server: Server, make: Make
) -> None:
    refusal = error(400, NO_TOP_P, code="unsupported_parameter", param="top_p")
    server.script = [hello(), hello(), refusal, hello()]
    engine = make()
    for top_p in (1.0, 0.5, 0.5):
        chunks = [chunk async for chunk in engine.stream(request_of("a", top_p=top_p))]
    assert [body.get("top_p") for body in server.bodies] == [None, 0.5, 0.5, None]
    for body in server.bodies:
        check(body)
    assert "takes no top-p" in chunks[-1].notice
    assert engine.facts().refused == ("top-p",)


@pytest.mark.parametrize("variable", ["", "BALCAO_TEST_UNSET_KEY"])
async def test_without_a_key_a_placeholder_is_sent(
    server: Server, make: Make, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    # One that is set, but not named, goes nowhere.
    monkeypatch.setenv("OPENAI_API_KEY", CANARY)
    server.script = [hello()]
    await gather(make(api_key_env=variable))
    assert server.asked[0].headers["authorization"] == "Bearer no-key-needed"
    assert CANARY not in str(server.asked[0].headers)


async def test_the_key_is_sent_without_the_line_end_of_its_file(
    server: Server, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_ENV, f"{CANARY}\n")
    server.script = [hello()]
    await gather(make())
    assert server.asked[0].headers["authorization"] == f"Bearer {CANARY}"


async def test_the_packages_address_variable_counts(
    server: Server, monkeypatch: pytest.MonkeyPatch, make: Make
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    server.script = [hello()]
    engine = make(base_url=None)
    assert not engine.info.remote
    await gather(engine)
    assert "max_tokens" in server.bodies[0]


NO_LIMIT = "Unsupported parameter: 'max_tokens' is not supported with this model."
NO_TEMPERATURE = "Unsupported value: 'temperature' does not support 0 with this model."
NO_OPTIONS = {"detail": [{"loc": ["body", "stream_options"], "msg": "Extra inputs not permitted"}]}


@pytest.mark.usefixtures("_strict_types")
async def test_a_refused_field_is_given_up_once_and_for_all(server: Server, make: Make) -> None:
    server.script = [
        error(400, NO_LIMIT, code="unsupported_parameter", param="max_tokens"),
        error(400, NO_TEMPERATURE, code="unsupported_value", param="temperature"),
        answer(422, NO_OPTIONS),
        hello(),
        hello(),
    ]
    engine = make()
    first, second = await gather(engine), await gather(engine)
    assert len(server.asked) == 5
    left = {"model": "m", **COMMON, "max_completion_tokens": 1024}
    assert server.bodies[3:] == [left, left]
    for body in server.bodies:
        check(body)
    assert first == second
    assert first[-1].stop_reason is StopReason.COMPLETE
    assert "temperature" in first[-1].notice


async def test_streams_at_once_give_up_the_same_field(server: Server, make: Make) -> None:
    refusal = error(400, NO_LIMIT, code="unsupported_parameter", param="max_tokens")

    async def reply(exchange: Any) -> None:
        await asyncio.sleep(0.05)
        await (refusal if "max_tokens" in exchange.body else hello())(exchange)

    server.always = reply
    engine = make()
    answers = await asyncio.gather(gather(engine), gather(engine), gather(engine))
    assert all(chunks[-1].stop_reason is StopReason.COMPLETE for chunks in answers)


def test_whether_it_is_remote() -> None:
    def remote(base_url: str | None) -> bool:
        return OpenAIEngine("x", OpenAIConfig(base_url=base_url)).info.remote

    assert remote(None)
    assert remote("https://models.example/v1")
    assert not remote("http://localhost:8000/v1")
    assert not remote("http://127.0.0.1:8000/v1")
    assert not remote("http://[::1]:8000/v1")


CHOICES = ("It is blue.", "It has two wheels.")


@pytest.mark.usefixtures("_strict_types")
async def test_a_choice_is_asked_for_by_a_schema(server: Server, make: Make) -> None:
    server.always = streamed(words('{"sentence": 2}', "stop"), DONE)
    chunks = [one async for one in make().stream(request_of(choices=CHOICES))]
    check(server.asked[0].body)
    schema = server.asked[0].body["response_format"]["json_schema"]["schema"]
    assert schema["properties"]["sentence"]["enum"] == [0, 1, 2]
    assert "".join(chunk.text for chunk in chunks) == '{"sentence": 2}'


@pytest.mark.parametrize("status", [400, 422])
async def test_a_refused_schema_is_given_up_and_the_words_are_read(
    server: Server, make: Make, status: int
) -> None:
    server.script = [error(status, message="Unknown field, whichever.")]
    server.always = streamed(words("It is blue.", "stop"), DONE)
    engine = make()
    for _ in range(2):
        chunks = [one async for one in engine.stream(request_of(choices=CHOICES))]
        assert "".join(chunk.text for chunk in chunks) == "It is blue."
    assert ["response_format" in one.body for one in server.asked] == [True, False, False]


async def test_other_questions_have_no_schema(server: Server, make: Make) -> None:
    server.always = streamed(words("It is blue.", "stop"), DONE)
    await gather(make())
    assert "response_format" not in server.asked[0].body
