"""How much of an answer is the record's own words; shown under every answer that has a record."""

from __future__ import annotations

import re

_WORD = re.compile(r"\w+|[^\w\s]")


def fidelity(answer: str, record: str) -> float | None:
    """The share (0..1) of the answer's words that stand in `record`, in the same order.

    Words and punctuation marks count alike, case matters, blanks do not: 1.0 means that nothing
    in the answer is the engine's own. The order is that of the longest common subsequence
    (rapidfuzz's LCSseq). None if either text has no word.
    """
    from rapidfuzz.distance import LCSseq

    said, written = _WORD.findall(answer), _WORD.findall(record)
    if not said or not written:
        return None
    return LCSseq.similarity(said, written) / len(said)


def is_word_for_word(answer: str, record: str) -> bool:
    """Whether the answer is the whole record's text, blanks aside."""
    return answer.split() == record.split() != []
