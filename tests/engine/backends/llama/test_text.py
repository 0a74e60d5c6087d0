"""Decoding of tokens and fitting of prompts, without a model."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.backends.llama.text import (
    AnswerDecoder,
    Detokenizer,
    FirstTokens,
    StopSequences,
    is_repeating,
)
from engine.backends.llama.tokens import fit
from engine.core.errors import EngineFailed
from engine.core.types import Message, Role


def _decode(tokens: Sequence[int]) -> str:
    """Decode bytes as tokens, and drop a leading space as sentencepiece does."""
    return bytes(tokens).decode("utf-8", "replace").removeprefix(" ")


@given(st.text())
def test_detokenizer_adds_up_without_broken_characters(text: str) -> None:
    tokens = list(text.encode("utf-8", "replace"))
    detokenizer = Detokenizer(_decode)
    pieces = [detokenizer.add(token) for token in tokens]
    assert "".join(pieces) + detokenizer.flush() == _decode(tokens)
    if "\ufffd" not in text:
        assert not any("\ufffd" in piece for piece in pieces)


def test_detokenizer_emits_invalid_bytes() -> None:
    detokenizer = Detokenizer(_decode)
    pieces = [detokenizer.add(0xFF) for _ in range(40)]
    assert any(pieces[:10])
    assert "".join(pieces) + detokenizer.flush() == "\ufffd" * 40


@given(st.lists(st.text(alphabet="[INST] a", max_size=6)))
def test_next_turn_is_cut_off_at_any_split(pieces: list[str]) -> None:
    end = StopSequences("… [INST] …")
    shown = "".join(end.add(piece) for piece in pieces)
    shown += "" if end.reached else end.flush()
    whole = "".join(pieces)
    assert shown == whole.partition("[INST]")[0]
    assert end.reached == ("[INST]" in whole)


def test_marks_of_other_templates_are_text() -> None:
    end = StopSequences("{{ '<|user|>' }}")
    assert end.add("[INST] is Llama 2's.") == "[INST] is Llama 2's."
    assert end.add(" <|us") == " "
    assert end.add("er|> me") == ""
    assert end.reached


@given(
    st.lists(st.integers(0, 9), max_size=30),
    st.lists(st.integers(0, 9), min_size=1, max_size=100),
)
def test_loop_is_found_after_any_start(before: list[int], stretch: list[int]) -> None:
    times = max(4, -(-64 // len(stretch)))
    assert is_repeating([*before, *stretch * times])


def test_short_repetitions_are_not_a_loop() -> None:
    assert not is_repeating([])
    assert not is_repeating(list(range(500)))
    assert not is_repeating([1, 2] * 20)
    assert not is_repeating([7] * 63)
    assert not is_repeating([*[7] * 80, 1])


def _encode(messages: Sequence[Message]) -> list[int]:
    return [0] * sum(len(message.content) for message in messages)


def _talk(*sizes: int) -> list[Message]:
    """Return a system message, turns of the given sizes, and a question."""
    talk = [Message(Role.SYSTEM, "s" * 10)]
    for size in sizes:
        talk += [Message(Role.USER, "u" * size), Message(Role.ASSISTANT, "a" * size)]
    return [*talk, Message(Role.USER, "q" * 10)]


def test_prompt_that_fits_is_unchanged() -> None:
    fitted = fit(_talk(10, 10), _encode, context=100, max_tokens=40)
    assert (len(fitted.tokens), fitted.max_new_tokens, fitted.dropped) == (60, 40, 0)
    assert fitted.notice == ""


def test_oldest_turns_are_dropped_one_by_one() -> None:
    fitted = fit(_talk(30, 10, 5), _encode, context=100, max_tokens=40)
    assert (len(fitted.tokens), fitted.max_new_tokens, fitted.dropped) == (50, 40, 1)
    assert fitted.notice.startswith("1 earlier question was left out")
    assert fit(_talk(30, 30, 30), _encode, context=100, max_tokens=40).dropped == 3


def test_answer_gets_half_of_a_small_context() -> None:
    fitted = fit(_talk(10), _encode, context=100, max_tokens=1000)
    assert (fitted.dropped, fitted.max_new_tokens) == (0, 60)


def test_question_that_does_not_fit_is_refused() -> None:
    with pytest.raises(EngineFailed, match="takes 20 tokens, more than the 15") as refused:
        fit(_talk(1), _encode, context=15, max_tokens=10)
    assert refused.value.problem.remedy.startswith("Shorten the question")


def test_the_first_text_waits_for_the_probabilities() -> None:
    seen: list[object] = []
    first = FirstTokens(3, seen.append)
    decoder = AnswerDecoder(_decode, {0}, "", seen.append, first)
    for number, logprob in enumerate((-0.5, None, 0.25)):
        first.note(logprob)
        decoder.add_text(number + 1, "abc"[number])
    assert seen == [(-0.5, 0.0), "abc"]
    decoder.add_text(9, "d")
    assert seen[2:] == ["d"]


def test_a_short_answer_reports_what_it_has() -> None:
    seen: list[object] = []
    first = FirstTokens(8, seen.append)
    decoder = AnswerDecoder(_decode, {0}, "", seen.append, first)
    first.note(-1.0)
    decoder.add_text(1, "No.")
    assert seen == []
    decoder.finish(1, "", 1)
    assert seen == [(-1.0,), "No."]
