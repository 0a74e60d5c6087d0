"""Tell questions for anything that fits ("a DVD for a rainy day") from those for one product."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from engine.catalogue.folding import tokenise
from engine.catalogue.language.facts import plain
from engine.core.types import Product

_KIND = (
    r"(?:book|novel|dvd|film|movie|video|cd|record|album|toy|game|gift|present|product|item|idea"
    r"|livro|romance|filme|disco|brinquedo|jogo|presente|produto|ideia)"
)
_ANY = (
    r"something|anything|(?:some|any)one else|\bgot any\b|what (?:can|could|should|do) (?:i|you|we)"
    r"|what else|\balgo\b|\balguma coisa\b|o que (?:eu )?(?:posso|voces?|devo|mais)"
    rf"|\b(?:an?|some|any|uma?|uns|umas|algum|alguma|alguns|algumas) (?:\w+ )?{_KIND}\b"
    rf"|\b(?:{_KIND}s|movies|things|coisas|stories|historias)\b"
    r"|\b(?:need|want|looking for|preciso de|quero|queria|procuro) (?:an?|some|uma?|uns|umas) \w+$"
    r"|\b(?:gift|present|presente)s? (?:for|para|pra|de|ideas?)\b"
)
_FORMATS: dict[str, tuple[str, ...]] = {
    "dvd": ("dvd", "dvds"),
    "vhs": ("vhs", "videocassette", "videotape"),
    "bluray": ("bluray", "blu"),
    "cd": ("cd", "cds"),
    "audiobook": ("audiobook", "audiobooks", "audiolivro", "audiolivros"),
    "film": ("film", "films", "movie", "movies", "filme", "filmes"),
}
_SIGNS: dict[str, tuple[str, ...]] = {
    "film": ("dvd", "vhs", "bluray"),
    "bluray": ("bluray", "ray"),
    "audiobook": ("audiobook", "audio", "unabridged", "audiolivro"),
}


def asks_for_any(question: str) -> bool:
    """Whether a question asks for whatever fits, so that a list answers it."""
    return bool(_pattern().search(plain(question).rstrip(" ?!.")))


def signs_of_format(tokens: Sequence[str]) -> frozenset[str]:
    """Return the words of which products of the format that is asked for have one."""
    asked = (name for name, words in _FORMATS.items() if not set(words).isdisjoint(tokens))
    return frozenset(sign for name in asked for sign in _SIGNS.get(name, (name,)))


def format_group(product: Product, signs: AbstractSet[str]) -> int:
    """Return 0 for a product with one of `signs` in its title, 1 in its description, or else 2."""
    if not signs.isdisjoint(tokenise(product.title)):
        return 0
    return 1 if not signs.isdisjoint(tokenise(product.description)) else 2


@functools.cache
def _pattern() -> re.Pattern[str]:
    return re.compile(_ANY)
