"""The cache of keys and values: a later turn reads only its new tokens."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from engine.backends.llama.messages import Ask
from engine.backends.llama.tokens import common_prefix
from engine.core.types import Message, Mode, Role
from engine.prompts import chat_messages
from tests.engine.backends.llama.conftest import Reader
from tests.engine.backends.llama.make_model import HELLO, LONG, UNUSUAL
from tests.engine.backends.llama.tiny import Tiny

# peft asks transformers for something under its old name.
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")


def test_later_turn_reads_only_new_tokens(make: Callable[[], Reader]) -> None:
    cached, history = make(), list[Message]()
    for number, question in enumerate((HELLO, LONG, HELLO, UNUSUAL)):
        said = cached.answer(question, history)
        prefilled = cached.read[0]
        fresh = make()
        assert said == fresh.answer(question, history)
        if number:
            assert prefilled < fresh.read[0] / 2
        history += [Message(Role.USER, question), Message(Role.ASSISTANT, said)]


def test_another_adapter_reads_everything_again(make: Callable[[], Reader], tiny: Tiny) -> None:
    reader = make()
    base = reader.answer(HELLO, [])
    whole = reader.read[0]
    tuned = reader.answer(HELLO, [], str(tiny.adapter))
    assert reader.read[0] == whole
    assert (base, tuned) == tuple(tiny.expected[kind][HELLO]["text"] for kind in ("base", "tuned"))
    assert reader.answer(HELLO, []) == base
    assert reader.read[0] == whole


@pytest.mark.parametrize("slow", [0.0, 60.0])
def test_cancelled_answer_leaves_a_consistent_cache(
    make: Callable[[], Reader], monkeypatch: pytest.MonkeyPatch, slow: float
) -> None:
    from engine.backends.llama import transformers

    # With slower tokens, every layer checks for a cancellation.
    monkeypatch.setattr(transformers, "_SLOW_PASS", slow)
    reader = make()
    messages = chat_messages(LONG, None, Mode.MEMORY)
    pieces: list[str] = []
    asked = 0

    def cancelled() -> bool:
        # The first layer runs, and then has one token more than the others.
        nonlocal asked
        asked += len(pieces) > 2
        return asked > 1

    assert reader.runtime.answer(Ask(messages, 120, 0.0), pieces.append, cancelled) is None
    assert len({layer.get_seq_length() for layer in reader.runtime._cache.layers}) == 1
    fresh = make()
    assert reader.answer(LONG, []) == fresh.answer(LONG, [])
    assert reader.read[0] == 1 < fresh.read[0]


def test_fast_tokens_remove_the_hooks(make: Callable[[], Reader]) -> None:
    reader, hooks = make(), list[int]()
    layers = reader.runtime._model.model.layers

    def emit(_: str) -> None:
        hooks.append(sum(len(layer._forward_pre_hooks) for layer in layers))

    messages = chat_messages(LONG, None, Mode.MEMORY)
    assert reader.runtime.answer(Ask(messages, 120, 0.0), emit, lambda: False) is not None
    assert (hooks[0], hooks[-1]) == (len(layers), 0)


def test_cancelled_prompt_is_read_again(make: Callable[[], Reader]) -> None:
    reader = make()
    messages = chat_messages(LONG, None, Mode.MEMORY)
    calls: list[int] = []

    def cancelled() -> bool:
        calls.append(1)
        return len(calls) > 1

    assert reader.runtime.answer(Ask(messages, 120, 0.0), print, cancelled) is None
    fresh = make()
    assert reader.answer(LONG, []) == fresh.answer(LONG, [])
    assert reader.read == fresh.read


def test_common_prefix_leaves_the_last_token() -> None:
    assert common_prefix([1, 2, 3], [1, 2, 3]) == 2
    assert common_prefix([1, 2, 3], [1, 2, 4, 5]) == 2
    assert common_prefix([1, 2, 3], [1, 2, 3, 4, 5]) == 3
    assert common_prefix([], [1]) == 0
    assert common_prefix([7], [1, 2]) == 0
