"""Ask for titles as no training row does, and for near misses of them, which are other products."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from enum import StrEnum
from itertools import chain, cycle, islice

from engine.catalogue.folding import STOP_WORDS
from engine.catalogue.rows.typist import (
    clear_short_titles,
    mistyped,
    short_title,
    title_key,
    title_keys,
)
from engine.prompts import UNTRAINED_FORMS


class Wording(StrEnum):
    """How a question that was not trained names its title."""

    ENGLISH = "English"
    PORTUGUESE = "Portuguese"
    LOWER_CASE = "lower case"
    TYPO = "typo"
    SHORT_TITLE = "short title"


_ALL_FORMS = tuple(chain(*UNTRAINED_FORMS.values()))
_BITS = 40
"""Of chance for a typo."""


def reworded(
    titles: Sequence[str], taught: Sequence[str], seed: int = 0
) -> Iterator[tuple[Wording, str]]:
    """Yield for each of the `taught` titles in `titles` a question, the wordings in turn."""
    shorts = clear_short_titles(taught)
    chance = random.Random(f"exam {seed}")  # noqa: S311 - questions, not secrets
    wordings = islice(cycle(Wording), seed % len(Wording), None)
    for title in titles:
        wording = next(wordings)
        short = short_title(title)
        if wording is Wording.SHORT_TITLE and short not in shorts:
            wording = next(wordings)
        yield wording, _ask(wording, title, short, chance)


def ask_untrained(title: str, number: int) -> str:
    """Ask for a title in one of the untrained forms, by its `number`."""
    return ask_form(_ALL_FORMS[number % len(_ALL_FORMS)], title)


def _ask(wording: Wording, title: str, short: str, chance: random.Random) -> str:
    match wording:
        case Wording.ENGLISH:
            return ask_form(chance.choice(UNTRAINED_FORMS["en"]), title)
        case Wording.PORTUGUESE:
            return ask_form(chance.choice(UNTRAINED_FORMS["pt"]), title)
        case Wording.LOWER_CASE:
            return chance.choice(_ALL_FORMS).format(title=title).lower()
        case Wording.TYPO:
            return ask_form(chance.choice(_ALL_FORMS), mistyped(title, chance.getrandbits(_BITS)))
        case Wording.SHORT_TITLE:
            return ask_form(chance.choice(_ALL_FORMS), short)


def ask_form(form: str, title: str) -> str:
    """Ask for a title in a form; one in lower case wants the title in lower case too."""
    return form.format(title=title.lower() if form == form.lower() else title)


_NUMBER = re.compile(r"\d+")
_WORD = re.compile(r"[^\W\d_]{4,}")
_BRACKET = re.compile(r"\s[(\[][^()\[\]]*[)\]]$")
_COLOURS = (
    ("Red", "Blue", "Green", "Black", "White", "Yellow", "Pink", "Brown", "Purple", "Orange"),
    ("Vermelho", "Azul", "Verde", "Preto", "Branco", "Amarelo", "Rosa", "Marrom", "Roxo"),
)
_COLOUR = re.compile(rf"\b(?:{'|'.join(chain(*_COLOURS))})\b", re.IGNORECASE)
_EDITIONS = ("[Large Print]", "[Hardcover]", "(2nd Edition)", "[VHS]", "(Illustrated)", "[Import]")
_MAX_STEP = 9


def near_misses(titles: Sequence[str], taught: Sequence[str], seed: int = 0) -> Iterator[str]:
    """Yield for each title one of a product that differs in a number, colour, edition or word.

    None of them is one of the `taught` ones, in any order of its words.
    """
    keys = {key for title in taught for key in title_keys(title)}
    words = sorted({word.lower() for title in taught for word in _content(title)})
    for place, title in enumerate(titles):
        chance = random.Random(f"near {seed} {title}")  # noqa: S311 - as above
        found = [one for one in _changes(title, words, chance) if title_key(one) not in keys]
        if found:
            yield found[(place + seed) % len(found)]


def _changes(title: str, words: Sequence[str], chance: random.Random) -> Iterator[str]:
    """Yield the title with another number, colour, edition and word, as far as it has one."""
    if number := _NUMBER.search(title):
        other = str(int(number[0]) + chance.randint(1, _MAX_STEP))
        yield _replaced(title, number, other)
    if colour := _COLOUR.search(title):
        names = next(some for some in _COLOURS if colour[0].capitalize() in some)
        yield _replaced(title, colour, _other(names, colour[0], chance))
    bare = _BRACKET.sub("", title)
    yield f"{bare} {_other(_EDITIONS, title[len(bare) :].strip(), chance)}"
    content = [found for found in _WORD.finditer(bare) if found[0].lower() not in STOP_WORDS]
    if content and len(words) > 1:
        word = chance.choice(content)
        yield _replaced(title, word, _other(words, word[0], chance))


def _replaced(title: str, found: re.Match[str], other: str) -> str:
    other = other.capitalize() if found[0][0].isupper() else other.lower()
    return title[: found.start()] + other + title[found.end() :]


def _other(names: Sequence[str], name: str, chance: random.Random) -> str:
    return chance.choice([one for one in names if one.lower() != name.lower()])


def _content(title: str) -> list[str]:
    return [word for word in _WORD.findall(title) if word.lower() not in STOP_WORDS]
