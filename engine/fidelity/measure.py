"""Sentences of an answer that the record does not bear out."""

from __future__ import annotations

import re
from itertools import pairwise

LEAST_SUPPORT = 0.3
"""Below this a sentence counts as invented. docs/evaluation.md has what was measured."""

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
