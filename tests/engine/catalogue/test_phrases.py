"""Answer in the program's own sentences: in both languages, and safe with any title."""

from __future__ import annotations

import pytest

from engine.catalogue import phrases
from engine.core.types import Decision, Hit, Product, Status


def hits(*titles: str) -> tuple[Hit, ...]:
    return tuple(Hit(Product(f"{n}", title, f"text {n}"), 0.5) for n, title in enumerate(titles, 1))


def test_every_phrase_is_in_every_language() -> None:
    english, portuguese = phrases.PHRASES["en"], phrases.PHRASES["pt"]
    assert english.keys() == portuguese.keys()
    assert all(english[name] != portuguese[name] for name in english)


def test_products_of_one_title_are_numbered_with_excerpts() -> None:
    text = phrases.undecided(Decision(Status.SEVERAL, hits("Desk", "Desk")), "en")
    assert text.splitlines()[-2:] == ["1. Desk (1): text 1", "2. Desk (2): text 2"]


def test_none_offers_the_nearest_titles() -> None:
    text = phrases.undecided(Decision(Status.NONE, nearest=hits("Desk Lamp")), "pt")
    assert text.startswith("Não tenho isso no catálogo.")
    assert text.endswith("1. Desk Lamp (1)")
    assert phrases.undecided(Decision(Status.NONE), "en") == "I don't have that in the catalogue."


def test_a_title_cannot_break_the_list() -> None:
    text = phrases.undecided(Decision(Status.SEVERAL, hits("A\n2. Fake\x1b[2J", "B")), "en")
    assert "1. A 2. Fake[2J (1)" in text.splitlines()


@pytest.mark.parametrize("greeting", ["hello", "Hi!", "Bom dia", "olá", "thanks", "Obrigada!"])
def test_courtesies(greeting: str) -> None:
    assert phrases.courtesy(greeting, "en")


@pytest.mark.parametrize(
    "question", ["Hello Kitty", "Hi-Fi Speakers", "Oil", "Thanksgiving Plates"]
)
def test_titles_are_not_courtesies(question: str) -> None:
    assert not phrases.courtesy(question, "en")
