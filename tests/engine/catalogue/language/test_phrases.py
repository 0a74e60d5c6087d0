"""Answer in the program's own sentences: in both languages, and safe with any title."""

from __future__ import annotations

import pytest

from engine.catalogue.language import phrases
from engine.core.types import Decision, Hit, Language, Product, Status


def hits(*titles: str) -> tuple[Hit, ...]:
    return tuple(Hit(Product(f"{n}", title, f"text {n}"), 0.5) for n, title in enumerate(titles, 1))


def test_every_phrase_is_in_every_language() -> None:
    english, portuguese = phrases.PHRASES["en"], phrases.PHRASES["pt"]
    assert english.keys() == portuguese.keys()
    assert all(english[name] != portuguese[name] for name in english)


def test_a_list_has_number_title_and_a_line_of_the_description() -> None:
    text = phrases.undecided("desk", Decision(Status.SEVERAL, hits("Desk", "Desk")), "en")
    assert text == (
        "2 products match:\n\n1. Desk (1)\n   text 1\n2. Desk (2)\n   text 2\n\n"
        "Ask for one by its number, or add a word to narrow the list."
    )


@pytest.mark.parametrize(
    ("count", "language", "head"),
    [
        (1, "en", "1 product matches:"),
        (1, "pt", "1 produto corresponde:"),
        (9, "pt", "9 produtos correspondem:"),
        (10, "en", "10 or more products match:"),
    ],
)
def test_a_list_counts_its_products(count: int, language: Language, head: str) -> None:
    found = Decision(Status.SEVERAL, hits(*["Desk"] * count))
    assert phrases.undecided("desk", found, language).splitlines()[0] == head


def test_the_line_of_a_description_is_where_the_words_of_the_question_are() -> None:
    product = Product("1", "Desk", "Oak. " * 40 + "The drawers slide. " + "Oak. " * 40)
    found = Decision(Status.SEVERAL, (Hit(product, 1.0),) * 2)
    assert "drawers" in phrases.undecided("a desk with DRAWERS", found, "en").splitlines()[3]


def test_none_offers_the_closest_titles() -> None:
    text = phrases.undecided(
        "luminária?", Decision(Status.NONE, nearest=hits("Lamp", "Lens")), "pt"
    )
    assert text.splitlines()[0] == (
        "Nenhum produto corresponde a “luminária?”. Títulos mais próximos:"
    )
    assert "2. Lens (2)" in text


def test_none_without_closest_titles_says_what_to_try() -> None:
    text = phrases.undecided("a\x1b[2J\nb", Decision(Status.NONE), "en")
    assert text == "No product matches “a[2J b”. Try other words, or part of a title."


def test_a_title_cannot_break_the_list() -> None:
    found = Decision(Status.SEVERAL, hits("A\n2. Fake\x1b[2J", "B"))
    assert "1. A 2. Fake[2J (1)" in phrases.undecided("a", found, "en").splitlines()


def test_a_question_about_one_of_a_list_asks_which() -> None:
    found = Decision(Status.SEVERAL, hits("Desk", "Lamp"))
    text = phrases.undecided("what size is it?", found, "en", asked=True)
    assert text.splitlines()[:3] == ["Which one do you mean?", "", "1. Desk (1)"]


@pytest.mark.parametrize(
    ("question", "titles", "language"),
    [
        ("Contos da Serra do Corvo", ["Contos da Serra do Corvo"], "en"),
        ("serra do corvo", ["Contos da Serra do Corvo"], "en"),
        ("Vocês têm The Tale of the Fox?", ["The Tale of the Fox"], "pt"),
        ("what is The Tale of the Fox about?", ["O Corvo"], "en"),
        ("It", ["It"], "en"),
        ("máquina de costura", [], "pt"),
        ("quanto custa?", [], "pt"),
        ("Você tem The Book of the Dead?", [], "pt"),
        ("karaoke", [], "en"),
    ],
)
def test_words_of_a_title_show_no_language(
    question: str, titles: list[str], language: Language
) -> None:
    assert phrases.language_of(question, "en", titles) == language


@pytest.mark.parametrize("question", ["It", "the tale of the fox", "THE FOX", "2"])
def test_a_bare_title_is_in_the_language_of_the_interface(question: str) -> None:
    assert phrases.language_of(question, "pt", ["The Tale of the Fox", "It"]) == "pt"


def test_a_list_that_was_asked_for_names_where_all_are() -> None:
    found = Decision(Status.SEVERAL, hits("Desk", "Desk Lamp"))
    last = phrases.undecided("list your desks", found, "en").splitlines()[-1]
    assert last == "Ask for one by its number; Ctrl+Y or /list desks shows them all."
    last = phrases.undecided("quais mesas vocês têm?", found, "pt").splitlines()[-1]
    assert last == "Peça um pelo número; Ctrl+Y ou /list mesas mostra todos."
