"""Find a question's words in a description, and cut one line around them."""

from __future__ import annotations

import pytest

from engine.catalogue.language.snippets import content_words, snippet, spans

LONG = (
    "Two boards back to back in a tray of varnished pine, with sixteen counters and a die. "
    "The rules are printed in Portuguese, and the café version has a crème brûlée tray."
)


def lit(text: str, question: str) -> list[str]:
    return [text[start:end] for start, end in spans(text, content_words(question))]


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("do you have a CAFE?", ["café"]),
        ("Creme Brulee", ["crème", "brûlée"]),
        ("the pine tray", ["tray", "pine", "tray"]),
        ("unicorn", []),
    ],
)
def test_words_are_found_without_case_and_accents(question: str, expected: list[str]) -> None:
    assert lit(LONG, question) == expected


def test_a_word_with_an_apostrophe_is_one_word() -> None:
    assert lit("Mog’s kittens", "mogs") == ["Mog’s"]


def test_stop_words_are_lit_only_if_a_question_has_no_others() -> None:
    assert lit("What is a tray?", "what is the tray?") == ["tray"]
    assert lit("Who is it?", "who is who?") == ["Who", "is"]


def test_other_forms_of_a_word_are_lit_as_the_search_finds_them() -> None:
    assert lit("Cooks cook with puppies.", "cooking for a puppy") == ["Cooks", "cook", "puppies"]


def test_a_snippet_shows_the_words_of_the_question() -> None:
    assert (
        snippet(LONG, content_words("brulee"), 45) == "…the café version has a crème brûlée tray."
    )


def test_a_snippet_shows_most_of_the_different_words() -> None:
    words = content_words("tray cafe brulee")
    assert {"cafe", "brulee"} <= content_words(snippet(LONG, words, 60))


def test_without_a_match_it_is_the_beginning() -> None:
    assert snippet(LONG, content_words("unicorn"), 30) == "Two boards back to back in a…"


def test_a_short_text_stays_whole() -> None:
    assert snippet("A  pine\ntray.", content_words("tray"), 30) == "A pine tray."


@pytest.mark.parametrize(
    "text", ["", "x" * 500, "日本" * 100, f"{'y' * 90} tray", f"tray {'y' * 90}"]
)
def test_a_snippet_is_never_longer_than_the_line(text: str) -> None:
    for question in ("tray", "日", "x"):
        assert len(snippet(text, content_words(question), 40)) <= 40
