"""The program's own sentences as answers, in English and Portuguese. They never quote a record."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from engine.core.text import one_line
from engine.core.types import Decision, Hit, Language, Product, Status

# Words of one language only; "a", "do", "me", "as" and "no" are words of both.
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
_MAX_CHARACTERS = 4_000
"""Characters that are enough to detect a language; a pasted text may have a million."""


def language_of(question: str, before: Language = "en") -> Language:
    """Detect the language of a question outside its quotes (a title); else return `before`."""
    asked = re.sub(r"[\"“”«»].*?[\"“”«»]", " ", question[:_MAX_CHARACTERS])
    words = _WORD.findall(asked.lower())
    english = sum(word in _ENGLISH for word in words)
    portuguese = sum(word in _PORTUGUESE for word in words)
    if english == portuguese:
        return before
    return "pt" if portuguese > english else "en"


PHRASES: dict[Language, dict[str, str]] = {
    "en": {
        "several": "I have {count} that fit. Which one? Type its number.",
        "none": "I don't have that in the catalogue.",
        "nearest": "The nearest titles, to pick by number:",
        "no_description": "“{title}” is in the catalogue, but without a description.",
        "not_said": "The record of “{title}” does not say.",
        "hello": "Hello! Ask me for a product, by its title or as a question.",
        "thanks": "You're welcome!",
        "no_text": "no description",
    },
    "pt": {
        "several": "Tenho {count} que servem. Qual deles? Digite o número.",
        "none": "Não tenho isso no catálogo.",
        "nearest": "Os títulos mais próximos, para escolher pelo número:",
        "no_description": "“{title}” está no catálogo, mas sem descrição.",
        "not_said": "O registro de “{title}” não diz.",
        "hello": "Olá! Peça um produto, pelo título ou com uma pergunta.",
        "thanks": "De nada!",
        "no_text": "sem descrição",
    },
}
_HELLO = re.compile(
    r"(?:hello|hi|hey|good (?:morning|afternoon|evening)|ol[áa]|oi|bom dia|boa (?:tarde|noite))"
    r"(?: there)?\s*[!.,?]*",
    re.IGNORECASE,
)
_THANKS = re.compile(r"(?:thanks|thank you|obrigad[oa]|valeu)(?: .{0,20})?[!.]*", re.IGNORECASE)
_EXCERPT = 40
"""Characters of a description in a list, enough to distinguish products of one title."""


def courtesy(question: str, language: Language) -> str:
    """Reply to a greeting or thanks; return an empty text for any other question."""
    asked = question.strip()
    if _HELLO.fullmatch(asked):
        return PHRASES[language]["hello"]
    return PHRASES[language]["thanks"] if _THANKS.fullmatch(asked) else ""


def undecided(decision: Decision, language: Language) -> str:
    """Word the answer without a single product: a list to choose from, or the nearest titles."""
    phrases = PHRASES[language]
    if decision.status is Status.SEVERAL:
        head = phrases["several"].format(count=len(decision.hits))
        return f"{head}\n\n{_numbered(decision.hits, language)}"
    if not decision.nearest:
        return phrases["none"]
    return f"{phrases['none']} {phrases['nearest']}\n\n{_numbered(decision.nearest, language)}"


def missing(
    what: Literal["no_description", "not_said"], product: Product, language: Language
) -> str:
    """Word the answer for a product without a description, or one that does not answer."""
    return PHRASES[language][what].format(title=one_line(product.title))


def _numbered(hits: Sequence[Hit], language: Language) -> str:
    repeated = len({hit.product.title for hit in hits}) < len(hits)
    return "\n".join(
        f"{number}. {_entry(hit.product, language, excerpt=repeated)}"
        for number, hit in enumerate(hits, 1)
    )


def _entry(product: Product, language: Language, *, excerpt: bool) -> str:
    name = one_line(product.title) or one_line(product.description, _EXCERPT)
    if not excerpt:
        return f"{name} ({product.uid})"
    text = one_line(product.description, _EXCERPT) or PHRASES[language]["no_text"]
    return f"{name} ({product.uid}): {text}"
