"""What leans on the turn before, what does not, and which sentences answer it."""

from __future__ import annotations

import pytest

from engine.backends.catalogue import bearing_on
from engine.catalogue.phrases import language_of
from engine.chat.followup import is_followup, pick_from_list
from engine.core.types import Answer, Conversation, Hit, Mode, Product, Status, StopReason, Turn

LIST = tuple(Hit(Product(str(n), f"Title {n}", ""), 1.0) for n in range(1, 4))


def after(status: Status) -> Conversation:
    several = status is Status.SEVERAL
    answer = Answer(
        "q",
        "catalogue",
        Mode.GROUNDED,
        status,
        "…",
        StopReason.COMPLETE,
        sources=LIST if several else (),
        nearest=() if several else LIST,
    )
    return Conversation(turns=[Turn("q", answer), Turn("now")])


@pytest.mark.parametrize("question", ["2", " 2.", "#2", "number 2", "o 2", "número 2"])
@pytest.mark.parametrize("status", [Status.SEVERAL, Status.NONE])
def test_a_number_picks_from_the_list(question: str, status: Status) -> None:
    decision = pick_from_list(question, after(status))
    assert decision is not None
    assert decision.product == LIST[1].product


@pytest.mark.parametrize("question", ["0", "4", "12 Angry Hens", "2001", ""])
def test_other_numbers_do_not(question: str) -> None:
    assert pick_from_list(question, after(Status.SEVERAL)) is None


def test_nothing_to_pick_from() -> None:
    assert pick_from_list("1", Conversation()) is None


@pytest.mark.parametrize(
    "question",
    [
        "who wrote it?",
        "Is it for children?",
        "and what size is it",
        "who is the author?",
        "quem escreveu?",
        "É bom para crianças? qual a idade dele?",
        "tell me more",
        "how many pages?",
    ],
)
def test_follow_ups(question: str) -> None:
    assert is_followup(question)


@pytest.mark.parametrize(
    "question",
    [
        "This Is How the Tide Ends",
        "It",
        "Do you have The Tin Lighthouse?",
        "His Dark Orchard",
        "What is the description of The Loom and the Hare and all that came of them in the winter?",
    ],
)
def test_questions_that_stand_alone(question: str) -> None:
    assert not is_followup(question)


RECORD = (
    "A keeper climbs. Written by Ada Quillfeather for readers of 9 to 12 years. 212 pages! Folds."
)


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("who wrote it?", "Written by Ada Quillfeather for readers of 9 to 12 years."),
        ("how many pages is it?", "212 pages!"),
        ("for how old is it?", "Written by Ada Quillfeather for readers of 9 to 12 years."),
        ("quantas páginas ele tem?", "212 pages!"),
        ("is it waterproof?", ""),
    ],
)
def test_sentences_that_bear_on_a_question(question: str, expected: str) -> None:
    assert bearing_on(question, RECORD) == expected


@pytest.mark.parametrize(
    ("question", "language"),
    [
        ("Do you have the apron?", "en"),
        ("Vocês têm o avental?", "pt"),
        ("Qual a descrição do livro 'The Book of the Dead'?", "pt"),
        ("What is “O Jardim da Dona”?", "en"),
        ("Mog", "en"),
    ],
)
def test_language(question: str, language: str) -> None:
    assert language_of(question) == language


def test_language_stays_where_words_do_not_tell() -> None:
    assert language_of("2", "pt") == "pt"
