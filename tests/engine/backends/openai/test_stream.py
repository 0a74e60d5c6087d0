"""Answers: words as they come, how they end, what they cost, and cancelling them."""

from __future__ import annotations

import asyncio

import pytest

from engine.core.errors import EngineFailed
from engine.core.types import Chunk, StopReason, Tokens
from tests.engine.backends.openai.conftest import Make, gather, request_of, text_of
from tests.engine.backends.openai.server import (
    DONE,
    USAGE,
    Exchange,
    Limited,
    Server,
    error,
    event,
    hello,
    sse,
    stalled,
    streamed,
    words,
)


async def test_words_then_reason_and_counts(server: Server, make: Make) -> None:
    server.script = [hello()]
    assert await gather(make()) == [
        Chunk("Hello"),
        Chunk(" there"),
        Chunk(stop_reason=StopReason.COMPLETE, tokens=Tokens(19, 2)),
    ]


@pytest.mark.parametrize(
    ("ending", "last"),
    [
        ([words("", "length"), DONE], Chunk(stop_reason=StopReason.LENGTH)),
        ([words("", "stop"), DONE], Chunk(stop_reason=StopReason.COMPLETE)),
        # transformers serve: counts on the finishing chunk, and no [DONE].
        (
            [words("", "stop", usage=USAGE)],
            Chunk(stop_reason=StopReason.COMPLETE, tokens=Tokens(19, 2)),
        ),
        # Some servers have reasons of their own for a good end.
        ([words("", "stop", usage=None), DONE], Chunk(stop_reason=StopReason.COMPLETE)),
        (
            [sse('{"choices": [{"delta": {}, "finish_reason": "eos_token"}]}'), DONE],
            Chunk(stop_reason=StopReason.COMPLETE),
        ),
        # StreamError off, or an error, after the answer was whole: it is whole.
        ([words("", "stop"), sse("{")], Chunk(stop_reason=StopReason.COMPLETE)),
        ([words("", "stop"), sse('{"error": "x"}')], Chunk(stop_reason=StopReason.COMPLETE)),
    ],
)
async def test_ways_to_end_well(
    server: Server, make: Make, ending: list[bytes], last: Chunk
) -> None:
    server.script = [streamed(words("Yes."), *ending)]
    assert await gather(make()) == [Chunk("Yes."), last]


async def test_a_whole_answer_does_not_wait_for_its_counts(server: Server, make: Make) -> None:
    server.script = [stalled(words("Yes."), words("", "stop"))]
    async with asyncio.timeout(30):
        chunks = await gather(make(stall_timeout=60.0))
    assert chunks == [Chunk("Yes."), Chunk(stop_reason=StopReason.COMPLETE)]
    await asyncio.wait_for(server.asked[0].left.wait(), 10)


async def test_text_cut_within_a_character(server: Server, make: Make) -> None:
    whole = b"".join([words("preço €"), words(" 😀\x1b[31m\u2028"), words("", "stop"), DONE])
    server.script = [streamed(*(whole[at : at + 1] for at in range(len(whole))))]
    # As it is: making it safe to show is for whoever shows it.
    assert text_of(await gather(make())) == "preço € 😀\x1b[31m\u2028"


async def test_chunks_of_strange_shapes_are_passed_over(server: Server, make: Make) -> None:
    strange = [
        '{"choices": [], "prompt_filter_results": []}',  # Azure's first
        '{"choices": null}',
        '{"choices": [null]}',
        '{"choices": [{"delta": null}]}',
        '{"choices": [{"delta": {"content": null, "role": "assistant"}}]}',
        '{"choices": [{"delta": {"content": ["a", 1]}}]}',
        '{"choices": "none"}',
        '{"usage": {"prompt_tokens": "many"}, "choices": []}',
        "7",
        "null",
        '"text"',
        "[]",
    ]
    parts = [sse(data) for data in strange]
    server.script = [streamed(b": a comment\n\n", *parts, words("Yes."), words("", "stop"), DONE)]
    chunks = await gather(make())
    assert chunks == [Chunk("Yes."), Chunk(stop_reason=StopReason.COMPLETE)]


async def test_a_refusal_is_an_answer(server: Server, make: Make) -> None:
    refusal = event(choices=[{"index": 0, "delta": {"refusal": "I won't."}, "finish_reason": None}])
    server.script = [streamed(refusal, words("", "stop"), DONE)]
    assert text_of(await gather(make())) == "I won't."


@pytest.mark.parametrize("parts", [[], [words("Hel")]], ids=["before a word", "after a word"])
async def test_cancelling_closes_the_connection(
    server: Server, make: Make, parts: list[bytes]
) -> None:
    server.script = [stalled(*parts), hello()]
    engine = make()
    asking = asyncio.create_task(gather(engine))
    await server.came.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await asyncio.wait_for(server.asked[0].left.wait(), 10)
    assert text_of(await gather(engine)) == "Hello there"


async def test_closing_the_stream_closes_the_connection(server: Server, make: Make) -> None:
    server.script = [stalled(words("Hel"), words("lo")), hello()]
    engine = make()
    stream = engine.stream(request_of())
    assert await anext(stream) == Chunk("Hel")
    await stream.aclose()
    await asyncio.wait_for(server.asked[0].left.wait(), 10)
    assert text_of(await gather(engine)) == "Hello there"


async def test_cancelling_between_two_tries(server: Server, make: Make) -> None:
    server.always = error(503, "Overloaded", headers={"retry-after": "40"})
    asking = asyncio.create_task(gather(make(max_retries=1)))
    await server.came.wait()
    await asyncio.sleep(0.1)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert len(server.asked) == 1


async def test_unloading_ends_an_answer_that_is_coming(server: Server, make: Make) -> None:
    server.script = [stalled(words("Hel")), hello()]
    engine = make()
    stream = engine.stream(request_of())
    assert await anext(stream) == Chunk("Hel")
    await engine.unload()
    assert not engine.loaded
    with pytest.raises(EngineFailed):
        await anext(stream)
    assert text_of(await gather(engine)) == "Hello there"


async def test_a_hundred_streams_keep_the_servers_limit(server: Server, make: Make) -> None:
    async def slowly(exchange: Exchange) -> None:
        await asyncio.sleep(0.01)
        await hello()(exchange)

    server.always = limit = Limited(40, slowly)
    engine = make(max_retries=1)
    answers = await asyncio.gather(*(gather(engine) for _ in range(100)))
    assert {text_of(chunks) for chunks in answers} == {"Hello there"}
    assert limit.most <= 40
    assert limit.refused > 0
