"""Find a question's words in a text, and cut the line of a description around them."""

from __future__ import annotations

import functools
import re
from collections.abc import Set as AbstractSet

from engine.catalogue.folding import tokenise
from engine.catalogue.rank import content_of, word_forms
from engine.core.text import one_line

_WORD = re.compile(r"\w+(?:['`´‘’ʼ′]\w+)*")
_MAX_QUESTION = 4_000
_MAX_TEXT = 20_000
"""Characters of a description that are searched."""
_LEAD = 20
"""Characters before the first word that is lit."""

_folded = functools.lru_cache(maxsize=4096)(tokenise)


def content_words(question: str) -> frozenset[str]:
    """Return the folded words that a question searches for, in all their forms."""
    tokens = tokenise(question[:_MAX_QUESTION])
    words = content_of(tokens) or tokens
    return frozenset(words).union(*map(word_forms, words))


def spans(text: str, words: AbstractSet[str]) -> list[tuple[int, int]]:
    """Return where `text` has one of these folded words, without regard to case and accents."""
    # Folding a whole text is many times faster than folding its words.
    if words.isdisjoint(tokenise(text)):
        return []
    found = _WORD.finditer(text)
    return [word.span() for word in found if not words.isdisjoint(_folded(word[0]))]


def snippet(text: str, words: AbstractSet[str], width: int, passage: int = 0) -> str:
    """Cut `text` to one line of at most `width` characters around most of these words.

    `passage` is where the part begins that is shown instead, if it is not 0.
    """
    line = one_line(text[passage:_MAX_TEXT])
    start = 0 if passage else _best_start(line, words, width)
    return f"…{_cut(line[start:], width - 1)}" if start or passage else _cut(line, width)


def _cut(line: str, width: int) -> str:
    """Cut a line after a whole word, if it has one."""
    if len(line) <= width:
        return line
    end = line.rfind(" ", 0, width)
    return line[: end if end > 0 else width - 1].rstrip(" ,;:–—-") + "…"


def _best_start(line: str, words: AbstractSet[str], width: int) -> int:
    """Return the beginning of the word from which `width` characters have most of the words."""
    if len(line) <= width:
        return 0
    places = [(start, line[start:end]) for start, end in spans(line, words)]
    best, most = 0, 0
    for start, _ in places:
        first = _first_word(line, start) if start > width // 2 else 0
        inside = {_folded(word)[0] for at, word in places if first <= at < first + width - _LEAD}
        if len(inside) > most:
            best, most = first, len(inside)
    # At the end of the text, show more of what comes before.
    room = len(line) - width
    return best if best <= room else line.find(" ", room, best) + 1 or best


def _first_word(line: str, start: int) -> int:
    """Return the beginning of a word a few before the one at `start`."""
    return line.find(" ", max(0, start - _LEAD), start) + 1 or start
