"""Fidelity against values computed by hand."""

from __future__ import annotations

import pytest

from engine.fidelity.measure import fidelity, is_word_for_word

RECORD = "The cat sat on the mat. It purred."


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (RECORD, 1.0),
        ("The cat  sat\non the mat. It purred.", 1.0),
        ("The cat sat", 1.0),  # cut off, but the record's words
        ("the cat sat", 2 / 3),  # case matters: "the" stands only after "cat sat"
        ("A dog sat on a mat.", 4 / 7),  # sat, on, mat, . of 7 words and marks
        ("mat the on sat cat The", 1 / 6),  # backwards: one word in order at a time
        ("Unrelated words entirely", 0.0),
    ],
)
def test_share_of_words_in_order(answer: str, expected: float) -> None:
    assert fidelity(answer, RECORD) == pytest.approx(expected)


def test_nothing_to_compare() -> None:
    assert fidelity("", RECORD) is None
    assert fidelity("words", "") is None


def test_word_for_word_is_the_whole_record() -> None:
    assert is_word_for_word("The cat sat on the mat.\nIt purred.", RECORD)
    assert not is_word_for_word("The cat sat", RECORD)
    assert not is_word_for_word("", "")
