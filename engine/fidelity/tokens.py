"""Split texts into words that compare equal whatever their case, quotes and dashes are."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

_TOKEN = re.compile(r"\d+(?:[.,:/]\d+)*|[^\W_]+(?:['’‘ʼ`´][^\W_]+)*|[$£€¥%]")
_APOSTROPHES = str.maketrans(dict.fromkeys("’‘ʼ`´", "'"))
_SENTENCE_END = re.compile(r"[.!?…;•\n]")
_BOUND = re.compile(r"[.!?…;•\n\"“”«»„'‘’]")

_FUNCTION_WORDS = frozenset(
    """
    a an the of is are am was were be been being it it's its this that these those there here he
    she they them their we us our you your i my me his her him who whom whose which what when where
    why how do does did done has have had having can could will would shall should may might must
    to in on at by with from for and or but nor so as if than then too also just only very more most
    some any all each every no not up out off over into onto about after before such own same other
    another one s t d ll re ve m
    o os um uma uns umas de do da dos das em no na nos nas ao aos à às pelo pela pelos pelas
    por para pra com e ou se é são foi foram era eram ser está estão que quem qual quais quando onde
    como mais mas nem já não sem sua suas seu seus ele ela eles elas isso isto este esta esse essa
    aquele aquela lhe me te nos também só muito
    """.split()  # noqa: SIM905 - two hundred quoted words are harder to read
)
"""Words that say nothing about a product."""
_NEGATIONS = frozenset("not no never without cannot neither nor não nunca sem nem jamais".split())  # noqa: SIM905


@dataclass(frozen=True, slots=True)
class Tokens:
    """The words of a text, numbers and currency signs among them."""

    words: Sequence[str]
    """As they are compared."""
    spans: Sequence[tuple[int, int]]
    """Where each begins and ends in the text."""
    starts: Sequence[bool]
    """Whether each begins a sentence or a quote; one more, which is true, for the text's end."""
    follow_end: Sequence[bool]
    """Whether a sentence ends before each."""

    def is_content(self, index: int) -> bool:
        """Return whether a word says something about a product."""
        return self.words[index] not in _FUNCTION_WORDS

    def is_negated(self, index: int) -> bool:
        """Return whether a negation stands before a word in its sentence."""
        return not self.starts[index] and is_negation(self.words[index - 1])


def is_negation(word: str) -> bool:
    """Return whether a word that has been split off is a negation."""
    return word in _NEGATIONS or word.endswith("n't")


def split(text: str) -> Tokens:
    """Split `text` into words."""
    spans = [found.span() for found in _TOKEN.finditer(text)]
    words = [_fold(text[start:end]) for start, end in spans]
    ends = [0, *(end for _, end in spans)]
    gaps = [text[end:start] for end, (start, _) in zip(ends, spans, strict=False)]
    starts = [index == 0 or bool(_BOUND.search(gap)) for index, gap in enumerate(gaps)]
    ended = [
        begins and bool(_SENTENCE_END.search(gap)) for begins, gap in zip(starts, gaps, strict=True)
    ]
    return Tokens(words, spans, [*starts, True], ended)


def _fold(word: str) -> str:
    if word.isascii():
        return word.lower()
    return unicodedata.normalize("NFC", word).translate(_APOSTROPHES).casefold()
