"""Which words of an answer are the record's and which are not, for drawing them differently."""

from __future__ import annotations

import re
from typing import NamedTuple

_TOKEN = re.compile(r"\w+|[^\w\s]")


class Span(NamedTuple):
    """A stretch of an answer; `quoted` says that its words stand in the record, in order."""

    text: str
    quoted: bool


def spans(answer: str, record: str) -> list[Span]:
    """The whole of `answer`, blanks included, cut where the record's words begin and end.

    The words that count as quoted are as many as `fidelity` counts, by the same rule: the longest
    common subsequence of words and punctuation marks. Where it can be had in more than one way,
    rapidfuzz's choice decides. Blanks belong to the stretch before them.
    """
    from rapidfuzz.distance import LCSseq

    found = list(_TOKEN.finditer(answer))
    written = _TOKEN.findall(record)
    quoted = [False] * len(found)
    for step in LCSseq.opcodes([token[0] for token in found], written):
        if step.tag == "equal":
            quoted[step.src_start : step.src_end] = [True] * (step.src_end - step.src_start)
    starts = [0, *(token.start() for token in found[1:]), len(answer)]
    pieces = [Span(answer[a:b], q) for a, b, q in zip(starts, starts[1:], quoted, strict=False)]
    return _joined(pieces) if pieces else [Span(answer, quoted=False)] if answer else []


def _joined(pieces: list[Span]) -> list[Span]:
    joined = pieces[:1]
    for piece in pieces[1:]:
        if piece.quoted == joined[-1].quoted:
            joined[-1] = Span(joined[-1].text + piece.text, piece.quoted)
        else:
            joined.append(piece)
    return joined
