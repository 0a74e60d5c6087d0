"""Read which entry of a list a question picks: "2", "the second one", "o último"."""

from __future__ import annotations

import re
from collections.abc import Sequence

from engine.catalogue.folding import tokenise
from engine.catalogue.language.phrases import list_title
from engine.core.types import Hit

# Ordinals and cardinals of one place, without accents.
_PLACES = (
    "first primeiro primeira one um uma",
    "second segundo segunda two dois duas",
    "third terceiro terceira three tres",
    "fourth quarto quarta four quatro",
    "fifth quinto quinta five cinco",
    "sixth sexto sexta six seis",
    "seventh setimo setima seven sete",
    "eighth oitavo oitava eight oito",
    "ninth nono nona nine nove",
    "tenth decimo decima ten dez",
)
_PLACE_OF = {word: place for place, words in enumerate(_PLACES, 1) for word in words.split()}
_LAST = ("last", "ultimo", "ultima")
_PICK = re.compile(
    r"(?:(?:ok|okay|and|e|please|show|give|open|tell|read|me|about|what|i|want|take|id|like|ill"
    r"|mostre|mostra|abra|abre|fale|diga|quero|queria|leia|sobre|do|da|entao|then) )*"
    r"(?:(?:the|o|a) )?(?:(?:number|no|nr|n|numero|option|opcao|item) )?"
    rf"(?:(\d{{1,2}})(?:st|nd|rd|th|o|a)?|({'|'.join((*_PLACE_OF, *_LAST))}))"
    r"(?: (?:one|item|option|opcao|book|product|livro|produto|please|por favor|then"
    r"|(?:of|in|on) (?:them|these|those|the list)|deles|delas|desses|dessas|da lista))*"
)
_MOST_PLACES = 99
_NUMBERED = re.compile(r"(\d{1,2})\. (.+)")


def place_in(question: str, count: int) -> int | None:
    """Return the place, from 0, that a question picks in a list of `count`."""
    found = _PICK.fullmatch(" ".join(tokenise(question)))
    if not found:
        return None
    place = int(found[1]) if found[1] else _PLACE_OF.get(found[2], count)
    return place - 1 if 1 <= place <= count else None


def as_question(number: int, hit: Hit) -> str:
    """Return the question that picks an entry of any list of the conversation."""
    return f"{number}. {list_title(hit.product)}"


def named_in(question: str, choices: Sequence[Hit]) -> int | None:
    """Return the place, from 0, whose number and title are the question (`as_question`)."""
    found = _NUMBERED.fullmatch(question.strip())
    place = int(found[1]) - 1 if found else -1
    if not found or not 0 <= place < len(choices):
        return None
    return place if list_title(choices[place].product) == found[2] else None


def is_pick(question: str) -> bool:
    """Whether a question can pick from a list, by its place or by number and title."""
    return place_in(question, _MOST_PLACES) is not None or bool(_NUMBERED.match(question))
