"""Sentences of an answer that the record does not bear out."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import NamedTuple

_TOKENS = re.compile(r"\w+|[^\w\s]")


def fidelity(answer: str, record: str) -> float | None:
    """The share (0..1) of the answer's words that stand in `record`, in the same order.

    Words and punctuation marks count alike, case matters, blanks do not: 1.0 means that nothing
    in the answer is the engine's own. The order is that of the longest common subsequence
    (rapidfuzz's LCSseq). None if either text has no word.
    """
    from rapidfuzz.distance import LCSseq

    said, written = _TOKENS.findall(answer), _TOKENS.findall(record)
    if not said or not written:
        return None
    return LCSseq.similarity(said, written) / len(said)


def is_word_for_word(answer: str, record: str) -> bool:
    """Whether the answer is the whole record's text, blanks aside."""
    return answer.split() == record.split() != []


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


LEAST_SUPPORT = 0.3
"""Below this a sentence counts as invented (docs/measurements/evaluation.md)."""

_END = re.compile(r"(?<=[.!?…])[\"”’')\]]*\s+|\n+")
_WORD = re.compile(r"\w+")


def invented(answer: str, record: str) -> list[str]:
    """The sentences of `answer` that have little support in `record`, in order."""
    pairs = _pairs(_words(record))
    known = set(_words(record))
    return [text for text in sentences(answer) if _support(text, pairs, known) < LEAST_SUPPORT]


def sentences(text: str) -> list[str]:
    """The sentences of `text` that hold a word: cut after . ! ? … and at line breaks."""
    return [part.strip() for part in _END.split(text) if part and _WORD.search(part)]


def support(sentence: str, record: str) -> float:
    """How far (0..1) `record` bears `sentence` out.

    The share of the sentence's pairs of neighbouring words that are neighbours in the record, case
    and punctuation aside; of a single word, whether it stands there. Pairs, since any English
    record holds most of the small words of any English sentence.
    """
    words = _words(record)
    return _support(sentence, _pairs(words), set(words))


def _support(sentence: str, pairs: set[tuple[str, str]], known: set[str]) -> float:
    words = _words(sentence)
    if len(words) == 1:
        return float(words[0] in known)
    said = list(pairwise(words))
    return sum(pair in pairs for pair in said) / len(said) if said else 1.0


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _pairs(words: list[str]) -> set[tuple[str, str]]:
    return set(pairwise(words))


_BEGINNING = 200
"""Characters: who refuses says so at once. Further on the same words belong to a description."""

_REFUSAL = re.compile(
    r"""
    \b(?:i|we)\s(?:do\snot|don['’]t|did\snot|didn['’]t|can\s?not|can['’]t|could\snot|couldn['’]t
        |am\snot|are\snot|['’]m\snot)\s
        (?:currently\s|actually\s|seem\sto\s|be\s)?
        (?:have|know|find|carry|stock|sell|able\sto\s(?:find|provide)|provide|aware|familiar|sure)
  | \b(?:i|we)['’]m\snot\s(?:aware|familiar|sure|able)
  | \b(?:i|we)\shave\s(?:no|not\sgot)\s(?:\w+\s){0,3}
        (?:information|record|description|such|product|item|entry|details?|knowledge)
  | \bthere\sis\s(?:no|not\sa)\s(?:such|product|record|entry|item|information)
  | \b(?:is|are|was)(?:n['’]t|\snot)\s(?:in|part\sof|listed\sin|found\sin|available\sin)\s
        (?:the|our|my)\s(?:catalogue|catalog|shop|store|inventory|database)
  | \b(?:no|without)\s(?:record|information|description)\s(?:of|on|about|for|found)
  | \bn(?:ã|a)o\s(?:o\s|a\s|os\s|as\s)?
        (?:tenho|temos|encontrei|encontramos|conhe(?:ç|c)o|sei|achei|achamos|vendemos|há|existe
        |consta|está\sno\scat(?:á|a)logo|posso|consigo|possuo|possu(?:í|i)mos|disponho)
    """,
    re.VERBOSE | re.IGNORECASE,
)


def refuses(text: str) -> bool:
    """Whether the beginning of `text` says that the product is not there or not known."""
    return bool(_REFUSAL.search(" ".join(text[:_BEGINNING].split())))
