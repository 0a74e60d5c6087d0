"""Drafts from the record: they make an answer faster and change none of its tokens."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest

from engine.backends.llama.drafting import Draft
from engine.backends.llama.messages import Ask
from engine.core.types import Message, Mode, Role, StopReason
from engine.prompts import chat_messages
from tests.engine.backends.llama.conftest import Reader
from tests.engine.backends.llama.make_model import BASE, HELLO, LONG, UNUSUAL
from tests.engine.backends.llama.tiny import Tiny

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")

RECORD = list(range(100, 200))


def write(draft: Draft, answer: list[int], limit: int = 1000) -> list[list[int]]:
    """Let a model that writes `answer` judge the draft; return the guesses."""
    guesses, place = [], 0
    while place < len(answer):
        guess = draft.propose(limit - place - 1)
        pairs = list(zip(guess, answer[place:], strict=False))
        right = next((at for at, (one, other) in enumerate(pairs) if one != other), len(pairs))
        draft.judge(len(guess), right)
        for token in answer[place : place + right + 1]:
            draft.follow(token)
        guesses.append(guess)
        place += right + 1
    return guesses


def test_drafts_grow_while_the_answer_is_the_record() -> None:
    draft = Draft(RECORD)
    assert [len(guess) for guess in write(draft, RECORD)] == [0, 8, 16, 32, 32, 7]
    assert draft.drafted == draft.accepted == 95


def test_an_answer_in_other_words_gets_no_draft() -> None:
    assert write(Draft(RECORD), list(range(500, 560))) == [[]] * 60
    assert write(Draft(), RECORD[:5]) == [[]] * 5


def test_a_draft_goes_on_after_other_words() -> None:
    answer = [*RECORD[:30], 7, 8, *RECORD[40:80]]
    draft = Draft(RECORD)
    write(draft, answer)
    assert draft.accepted > 50


def test_a_repeated_pair_goes_on_where_the_answer_is() -> None:
    record = [1, 2, 3, 4, 5, 1, 2, 6, 7, 8, 9]
    draft = Draft(record)
    for token in (*record[:5], 99, 1, 2):
        draft.follow(token)
    assert draft.propose(2) == [6, 7]


def test_useless_drafts_end() -> None:
    pairs = [token for pair in pairwise(RECORD) for token in (*pair, 7)]
    draft = Draft(RECORD)
    guesses = write(draft, [RECORD[0], *pairs[3:]])
    assert draft.drafted - draft.accepted < 40
    assert guesses[-50:] == [[]] * 50


def test_a_draft_is_no_longer_than_the_answer_may_be() -> None:
    guesses = write(Draft(RECORD), RECORD[:12], limit=12)
    assert [len(guess) for guess in guesses] == [0, 8, 1]


@pytest.mark.parametrize("question", [LONG, UNUSUAL])
def test_the_record_is_read_in_few_passes(
    make: Callable[[], Reader], question: str, tiny: Tiny
) -> None:
    reader = make()
    assert reader.answer(question, [], draft=BASE[question]) == BASE[question]
    assert reader.done is not None
    assert reader.done.stop_reason is StopReason.COMPLETE
    assert reader.done.completion == tiny.expected["base"][question]["tokens"]
    assert reader.done.accepted == reader.done.drafted > reader.done.completion * 0.8
    assert len(reader.read) < 8 < reader.done.completion


@pytest.mark.parametrize(
    "draft",
    [
        BASE[LONG].replace("Step 5", "Step 7"),
        "A keeper climbs the roof.",
        BASE[LONG][:60],
        BASE[LONG] + " And more, and more, and more.",
        BASE[HELLO],
    ],
)
def test_a_wrong_record_changes_no_token(
    make: Callable[[], Reader], tiny: Tiny, draft: str
) -> None:
    reader = make()
    for adapter, kind in ((None, "base"), (str(tiny.adapter), "tuned")):
        for question in (LONG, HELLO):
            expected = tiny.expected[kind][question]
            assert reader.answer(question, [], adapter, draft=draft) == expected["text"]
            assert reader.done is not None
            assert reader.done.completion == expected["tokens"]


def test_the_limit_cuts_a_draft(make: Callable[[], Reader]) -> None:
    for limit in range(1, 14):
        reader = make()
        said = reader.answer(LONG, [], draft=BASE[LONG], max_tokens=limit)
        assert said == make().answer(LONG, [], max_tokens=limit)
        assert reader.done is not None
        assert reader.done.stop_reason is StopReason.LENGTH
        assert reader.done.completion == limit


def test_the_cache_after_a_draft_serves_the_next_turn(make: Callable[[], Reader]) -> None:
    cached, history = make(), list[Message]()
    for question, draft in ((LONG, BASE[LONG]), (HELLO, BASE[LONG]), (UNUSUAL, BASE[UNUSUAL])):
        said = cached.answer(question, history, draft=draft)
        first = cached.read[0]
        fresh = make()
        assert said == fresh.answer(question, history)
        assert first < fresh.read[0] / 2 or not history
        history += [Message(Role.USER, question), Message(Role.ASSISTANT, said)]


@pytest.mark.parametrize("layer", [1, 2])
def test_a_cancelled_draft_leaves_no_unchecked_token(
    make: Callable[[], Reader], monkeypatch: pytest.MonkeyPatch, layer: int
) -> None:
    from engine.backends.llama import transformers

    monkeypatch.setattr(transformers, "_SLOW_PASS", 0.0)  # every layer checks
    reader, asked = make(), 0
    wrong = BASE[LONG].replace("Step 1 of stone", "keeper climbs")

    def cancelled() -> bool:
        nonlocal asked
        asked += len(reader.read) > 1  # the pass with the first draft
        return asked > layer

    ask = Ask(chat_messages(LONG, None, Mode.MEMORY), 120, 0.0, draft=wrong)
    assert reader.runtime.answer(ask, lambda _: None, cancelled) is None
    assert max(reader.read[1:]) > 1
    assert reader.answer(LONG, []) == BASE[LONG]


def test_a_temperature_draws_the_same_with_a_draft(make: Callable[[], Reader]) -> None:
    import torch

    def drawn(draft: str, seed: int) -> str:
        torch.manual_seed(seed)
        return make().answer(HELLO, [], draft=draft, temperature=0.01)

    assert [drawn(BASE[HELLO], seed) for seed in range(2)] == [BASE[HELLO]] * 2
