"""Titles that are in no catalogue: made from a seed, checked against the catalogue.

Half of them put words of real titles together anew, so that every word is known and only the whole
is not; half are of words that no language has. Either way the honest answer is a no.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from random import Random

from engine.core.types import Decision
from engine.evaluation.questions import Group, Question, question
from engine.evaluation.rows_part import Row
from engine.prompts import QUESTION_FORMS

_WORD = re.compile(r"\w+")
_SYLLABLES = (
    "bra", "cor", "dul", "fen", "gri", "hav", "jor", "kel", "lum", "mex", "nov", "ost", "pli",
    "quor", "rask", "sel", "tav", "umb", "vex", "wol", "yar", "zim",
)  # fmt: skip
_THINGS = (
    "Almanac", "Teapot", "Lantern", "Atlas", "Saddle", "Sonata", "Handbook", "Kite", "Recorder",
    "Trowel", "Chronicle", "Blanket", "Compass", "Puzzle", "Whistle", "Jacket",
)  # fmt: skip
_LEAST_LETTERS = 4
_MOST_SHARED = 0.5
_TRIES = 200
"""Titles made for each one wanted before giving up: some catalogues have nearly every word."""

Find = Callable[[str], Decision]


def invented(count: int, titles: Sequence[str], find: Find, seed: int) -> list[Question]:
    """At most `count` questions for titles that the catalogue does not have.

    `titles` are real ones, to take words from. A title is thrown away if more than half of its
    words stand in one title that `find` comes up with: it might then mean that product.
    """
    random = Random(f"invented {seed}")  # noqa: S311 - the same titles each time, no secret
    made: dict[str, Question] = {}
    for number, title in enumerate(_endless(titles, random)):
        if len(made) >= count or number >= count * _TRIES:
            break
        if title not in made and is_absent(title, find(title)):
            form = QUESTION_FORMS[len(made) % len(QUESTION_FORMS)]
            row = Row(form.format(title=title), title, "")
            made[title] = question(Group.INVENTED, row)
    return list(made.values())


def is_absent(title: str, decision: Decision) -> bool:
    """Whether none of the products that a search came up with can be the one that is named."""
    wanted = _words(title)
    for hit in (*decision.hits, *decision.nearest):
        shared = wanted & _words(hit.product.title)
        if len(shared) > _MOST_SHARED * len(wanted):
            return False
    return bool(wanted)


def _endless(titles: Sequence[str], random: Random) -> Iterator[str]:
    words = sorted({word for title in titles for word in _telling(title)})
    while True:
        yield _from_syllables(random)
        if len(words) > len(_THINGS):
            yield " ".join(random.sample(words, random.randint(3, 5)))


def _from_syllables(random: Random) -> str:
    name = "".join(random.sample(_SYLLABLES, random.randint(2, 3))).capitalize()
    other = "".join(random.sample(_SYLLABLES, 2)).capitalize()
    thing = random.choice(_THINGS)
    return random.choice((f"The {name} {thing} of {other}", f"{name} {other} {thing}"))


def _telling(title: str) -> list[str]:
    return [word for word in _WORD.findall(title) if len(word) >= _LEAST_LETTERS]


def _words(title: str) -> set[str]:
    return set(_WORD.findall(title.casefold()))
