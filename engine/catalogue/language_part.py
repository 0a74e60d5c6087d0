"""Which language a question is in, English or Portuguese, so that the answer can be in the same."""

from __future__ import annotations

import re

from engine.core.types import Language

# Words that one language has and the other has not; "a", "do", "me", "as", "no" stand in both.
_ENGLISH = frozenset(
    """
    the of is are was have you your what which who when where how tell about describe find there
    any does it this that for and with i'm looking want need please hello hi thanks it's what's
    he she wrote can could would
    """.split()  # noqa: SIM905 - fifty quoted words are harder to read
)
_PORTUGUESE = frozenset(
    """
    o os um uma da dos das qual quais que quem quando onde como é são tem têm você vocês
    descrição livro sobre fale diga descreva produto procuro quero preciso existe este esta isso
    ele ela dele dela foi escreveu obrigado obrigada olá oi bom boa dia tarde noite favor
    gostaria para com não na nos nas ao pelo pela seu sua conhece mostre
    """.split()  # noqa: SIM905 - fifty quoted words are harder to read
)
_WORD = re.compile(r"[\w']+")
_ENOUGH = 4_000
"""Characters that tell a language; a pasted text may have a million."""


def language_of(question: str, before: Language = "en") -> Language:
    """The question's language; `before` (that of the turn before) where the words do not tell.

    What stands in quotation marks is a title and says nothing about the language of the question.
    """
    asked = re.sub(r"[\"“”«»].*?[\"“”«»]", " ", question[:_ENOUGH])
    words = _WORD.findall(asked.lower())
    english = sum(word in _ENGLISH for word in words)
    portuguese = sum(word in _PORTUGUESE for word in words)
    if english == portuguese:
        return before
    return "pt" if portuguese > english else "en"
