"""The engine's answers, compared with those of plain transformers and peft."""

from __future__ import annotations

import pytest

from engine.core.errors import EngineFailed
from engine.core.types import Chunk, Message, Role, StopReason
from tests.engine.backends.llama.conftest import Copy, Engines, engine, gather, request_of, text_of
from tests.engine.backends.llama.make_model import BASE, HELLO, LONG, LOOP, UNUSUAL
from tests.engine.backends.llama.tiny import Tiny

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_answers_equal_the_bare_library(engines: Engines, tiny: Tiny) -> None:
    for question in (HELLO, LONG, UNUSUAL):
        chunks = await gather(engines.base, request_of(question))
        expected = tiny.expected["base"][question]
        assert text_of(chunks) == expected["text"] == BASE[question]
        assert chunks[-1].stop_reason is StopReason.COMPLETE
        assert chunks[-1].tokens is not None
        assert chunks[-1].tokens.prompt == expected["prompt"]
        assert chunks[-1].tokens.completion == expected["tokens"]
        assert [chunk.stop_reason for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)


async def test_streams_whole_characters(engines: Engines) -> None:
    chunks = await gather(engines.base, request_of(UNUSUAL))
    pieces = [chunk.text for chunk in chunks if chunk.text]
    assert len(pieces) > 1
    assert not any("\ufffd" in piece for piece in pieces)
    assert "🐱" in text_of(chunks)


async def test_adapter_answers_equal_peft(engines: Engines, tiny: Tiny) -> None:
    for question in (HELLO, LONG):
        said = text_of(await gather(engines.tuned, request_of(question)))
        assert said == tiny.expected["tuned"][question]["text"]
        assert said != tiny.expected["base"][question]["text"]


def tokens_of(chunks: list[Chunk]) -> int:
    assert chunks[-1].tokens is not None
    return chunks[-1].tokens.completion


async def test_first_tokens_come_with_their_probabilities(engines: Engines) -> None:
    for question in (HELLO, LONG):
        first, *rest = await gather(engines.tuned, request_of(question))
        assert (first.text, len(first.logprobs)) == ("", min(8, tokens_of(rest)))
        assert all(value <= 0 for value in first.logprobs)
        assert not any(chunk.logprobs for chunk in rest)
    chunks = await gather(engines.base, request_of(HELLO))
    assert not any(chunk.logprobs for chunk in chunks)


async def test_adapter_leaves_the_base_unchanged(engines: Engines, tiny: Tiny) -> None:
    for _ in range(3):
        await gather(engines.tuned, request_of(HELLO))
        for question in (LONG, HELLO, UNUSUAL):
            chunks = await gather(engines.base, request_of(question))
            assert text_of(chunks) == tiny.expected["base"][question]["text"]


async def test_switching_keeps_one_copy_of_the_model(engines: Engines) -> None:
    await gather(engines.base, request_of(HELLO))
    await gather(engines.tuned, request_of(HELLO))
    worker = engines.base._host.pid
    await gather(engines.base, request_of(HELLO))
    assert engines.tuned._host.pid == worker
    assert engines.base.loaded
    assert engines.tuned.loaded


async def test_max_tokens_ends_the_answer(engines: Engines) -> None:
    chunks = await gather(engines.base, request_of(LONG, max_tokens=7))
    assert chunks[-1].stop_reason is StopReason.LENGTH
    assert chunks[-1].tokens is not None
    assert chunks[-1].tokens.completion == 7
    assert BASE[LONG].startswith(text_of(chunks))


async def test_loop_is_stopped_with_a_notice(engines: Engines) -> None:
    chunks = await gather(engines.base, request_of(LOOP, max_tokens=500))
    assert chunks[-1].stop_reason is StopReason.REPEATED
    assert chunks[-1].notice == "The model began to repeat itself and was stopped."
    assert chunks[-1].tokens is not None
    assert chunks[-1].tokens.completion < 100


async def test_full_context_drops_the_oldest_turns(tiny: Tiny, engines: Engines) -> None:
    await gather(engines.base, request_of(HELLO))
    history = [
        message
        for turn in range(9)
        for message in (
            Message(Role.USER, f"What does it cost? {turn}"),
            Message(Role.ASSISTANT, "The lamp burns until dawn. " * 4),
        )
    ]
    chunks = await gather(engines.base, request_of(HELLO, history, max_tokens=200))
    assert "earlier questions were left out" in chunks[-1].notice
    assert chunks[-1].tokens is not None
    prompt = chunks[-1].tokens.prompt
    assert tiny.expected["base"][HELLO]["prompt"] < prompt <= 640 - 200


async def test_temperature_samples(engines: Engines) -> None:
    drawn = {
        text_of(await gather(engines.base, request_of(HELLO, temperature=2.0, max_tokens=20)))
        for _ in range(4)
    }
    assert len(drawn) > 1


async def test_small_top_p_is_greedy(engines: Engines) -> None:
    hot = request_of(HELLO, temperature=2.0, top_p=1e-6, max_tokens=20)
    drawn = [text_of(await gather(engines.base, hot)) for _ in range(3)]
    assert drawn == [BASE[HELLO]] * 3


async def test_uses_the_models_own_template(tiny: Tiny, copy: Copy) -> None:
    model = copy("model")
    (model / "chat_template.jinja").write_text(
        "{% if messages[0].role == 'system' %}{{ raise_exception('No system.') }}{% endif %}"
        "{% if messages | length > 1 %}{{ raise_exception('No talk.') }}{% endif %}"
        "{{ bos_token }}{% for m in messages %}{{ m.content }}|{% endfor %}",
        encoding="utf-8",
    )
    own = engine(model=str(model))
    try:
        chunks = await gather(own, request_of(HELLO, max_tokens=4))
        assert chunks[-1].tokens is not None
        # Without the marks of Llama 2, which each take several tokens here.
        assert chunks[-1].tokens.prompt < tiny.expected["base"][HELLO]["prompt"]
        history = [Message(Role.USER, "a"), Message(Role.ASSISTANT, "b")]
        with pytest.raises(EngineFailed, match=r"rejects this conversation: No talk\."):
            await gather(own, request_of(HELLO, history))
        assert own.loaded
    finally:
        await own.unload()
