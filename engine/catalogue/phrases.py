"""The counter's own sentences, in English and Portuguese. Records are never among them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from engine.core.text import one_line
from engine.core.types import Decision, Hit, Language, Product, Status

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
_GLIMPSE = 40
"""Characters of a description in a list, enough to tell two of one title apart."""


def courtesy(question: str, language: Language) -> str:
    """The reply to a greeting or thanks, or nothing if the question is neither."""
    asked = question.strip()
    if _HELLO.fullmatch(asked):
        return PHRASES[language]["hello"]
    return PHRASES[language]["thanks"] if _THANKS.fullmatch(asked) else ""


def undecided(decision: Decision, language: Language) -> str:
    """What the counter says when no single product is meant: the list, or an honest no."""
    phrases = PHRASES[language]
    if decision.status is Status.SEVERAL:
        head = phrases["several"].format(count=len(decision.hits))
        return f"{head}\n\n{_numbered(decision.hits, language)}"
    if not decision.nearest:
        return phrases["none"]
    return f"{phrases['none']} {phrases['nearest']}\n\n{_numbered(decision.nearest, language)}"


def no_description(product: Product, language: Language) -> str:
    """The answer for a record that holds only a title."""
    return PHRASES[language]["no_description"].format(title=one_line(product.title))


def not_said(product: Product, language: Language) -> str:
    """The answer to a follow-up that the record does not touch."""
    return PHRASES[language]["not_said"].format(title=one_line(product.title))


def _numbered(hits: Sequence[Hit], language: Language) -> str:
    repeated = len({hit.product.title for hit in hits}) < len(hits)
    return "\n".join(
        f"{number}. {_entry(hit.product, language, glimpse=repeated)}"
        for number, hit in enumerate(hits, 1)
    )


def _entry(product: Product, language: Language, *, glimpse: bool) -> str:
    name = one_line(product.title) or one_line(product.description, _GLIMPSE)
    if not glimpse:
        return f"{name} ({product.uid})"
    text = one_line(product.description, _GLIMPSE) or PHRASES[language]["no_text"]
    return f"{name} ({product.uid}): {text}"
