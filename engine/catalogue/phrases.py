"""The program's own sentences as answers, in English and Portuguese. They never quote a record."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from engine.catalogue.snippets import content_words, snippet
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
        "one_matches": "1 product matches:",
        "several_match": "{count} products match:",
        "more_match": "{count} or more products match:",
        "none_matches": "No product matches “{question}”.",
        "closest_one": "Closest title:",
        "closest": "Closest titles:",
        "narrow": "Ask for one by its number, or add a word to narrow the list.",
        "rephrase": "Ask for one by its number, or try other words.",
        "retry": "Try other words, or part of a title.",
        "no_description": "“{title}” is in the catalogue, but without a description.",
        "not_said": "The record of “{title}” does not say.",
        "hello": "Hello! Ask me for a product, by its title or as a question.",
        "thanks": "You're welcome!",
        "no_text": "no description",
    },
    "pt": {
        "one_matches": "1 produto corresponde:",
        "several_match": "{count} produtos correspondem:",
        "more_match": "{count} ou mais produtos correspondem:",
        "none_matches": "Nenhum produto corresponde a “{question}”.",
        "closest_one": "Título mais próximo:",
        "closest": "Títulos mais próximos:",
        "narrow": "Peça um deles pelo número, ou acrescente uma palavra para restringir a lista.",
        "rephrase": "Peça um deles pelo número, ou tente outras palavras.",
        "retry": "Tente outras palavras, ou parte de um título.",
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
_MOST_LISTED = 10
"""Products in a list; the search stops there."""
_SNIPPET = 72
"""Characters of a description in a list: with its indent a line of 80 columns."""
_MAX_TITLE = 120
_MAX_ASKED = 60
"""Characters of the question that an answer repeats."""


def courtesy(question: str, language: Language) -> str:
    """Reply to a greeting or thanks; return an empty text for any other question."""
    asked = question.strip()
    if _HELLO.fullmatch(asked):
        return PHRASES[language]["hello"]
    return PHRASES[language]["thanks"] if _THANKS.fullmatch(asked) else ""


def undecided(question: str, decision: Decision, language: Language) -> str:
    """Word the answer without a single product: a list to choose from, or the closest titles."""
    phrases, several = PHRASES[language], decision.status is Status.SEVERAL
    hits = decision.hits if several else decision.nearest
    head = _several(len(hits), phrases) if several else _none(question, len(hits), phrases)
    if not hits:
        return f"{head} {phrases['retry']}"
    tail = phrases["narrow"] if several else phrases["rephrase"]
    return f"{head}\n\n{_numbered(hits, content_words(question), language)}\n\n{tail}"


def _several(count: int, phrases: dict[str, str]) -> str:
    if count == 1:
        return phrases["one_matches"]
    return phrases["several_match" if count < _MOST_LISTED else "more_match"].format(count=count)


def _none(question: str, closest: int, phrases: dict[str, str]) -> str:
    head = phrases["none_matches"].format(question=one_line(question, _MAX_ASKED))
    if not closest:
        return head
    return f"{head} {phrases['closest_one' if closest == 1 else 'closest']}"


def missing(
    what: Literal["no_description", "not_said"], product: Product, language: Language
) -> str:
    """Word the answer for a product without a description, or one that does not answer."""
    return PHRASES[language][what].format(title=one_line(product.title))


def _numbered(hits: Sequence[Hit], words: frozenset[str], language: Language) -> str:
    """List the products, each with a line of its description below."""
    no_text = PHRASES[language]["no_text"]
    lines = []
    for number, hit in enumerate(hits, 1):
        mark, product = f"{number}. ", hit.product
        text = snippet(product.description, words, _SNIPPET) or no_text
        lines.append(f"{mark}{list_title(product)} ({product.uid})\n{' ' * len(mark)}{text}")
    return "\n".join(lines)


def list_title(product: Product) -> str:
    """Return the title that a list shows, or the beginning of the description."""
    return one_line(product.title, _MAX_TITLE) or one_line(product.description, _MAX_ASKED)
