"""Which sentences of a record answer a question, with the sentence encoder and without it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from engine.catalogue.language.passages import (
    Likeness,
    asks_for_all,
    choose,
    likeness,
    split_sentences,
)
from engine.core.types import Product

BOOK = Product(
    "1",
    "The Tin Lighthouse [Large Print]",
    "A keeper of sixty climbs three hundred steps each dusk. Written by Ada Quillfeather for "
    "readers of 9 to 12 years. 212 pages, 21 x 14 cm. The gulls are not to be trusted. The cover "
    "can be wiped with a damp cloth. Comes with a map of the coast.",
)


def by_words_alone(_: str, sentences: Sequence[str]) -> list[float]:
    return [0.0] * len(sentences)


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("who wrote it?", "Ada Quillfeather"),
        ("how many pages is it?", "212 pages"),
        ("how old should the reader be?", "9 to 12 years"),
        ("how big is it?", "21 x 14 cm"),
        ("can I wash it?", "damp cloth"),
        ("what comes with it? is there a map?", "a map of the coast"),
        ("quantas páginas ele tem?", "212 pages"),
        ("para que idade é?", "9 to 12 years"),
        ("e o tamanho?", "21 x 14 cm"),
        ("quem escreveu?", "Ada Quillfeather"),
    ],
)
@pytest.mark.parametrize("alike", [by_words_alone, likeness])
def test_the_sentences_that_give_a_fact(question: str, expected: str, alike: Likeness) -> None:
    found = choose(question, BOOK, alike)
    assert found.sure
    assert expected in " ".join(found.sentences)
    assert len(found.sentences) <= 2


@pytest.mark.parametrize(
    ("question", "expected"),
    [("can I trust the birds?", "gulls"), ("tem um mapa?", "map"), ("quantos degraus?", "steps")],
)
def test_a_sentence_without_the_words_is_found_by_meaning(question: str, expected: str) -> None:
    assert expected in " ".join(choose(question, BOOK, likeness).sentences)


def test_sentences_stay_in_the_order_of_the_record() -> None:
    found = choose("how big is it, and who wrote it?", BOOK, by_words_alone)
    assert [sentence[:3] for sentence in found.sentences] == ["Wri", "212"]


@pytest.mark.parametrize("question", ["does it need batteries?", "tem garantia?", "which dog?"])
def test_a_fact_that_is_not_there_is_not_sure(question: str) -> None:
    found = choose(question, BOOK, by_words_alone)
    assert (found.sure, found.in_title, found.never) == (False, False, frozenset())


def test_what_nothing_suggests_is_not_there() -> None:
    radio = Product(
        "7", "Pocket Radio", "Brushed aluminium face. A clip on the back. Two AA cells."
    )
    assert not choose("does it have bluetooth?", radio, likeness).sure
    assert choose("does it have a clip?", radio, likeness).sure


def test_the_title_may_count_better() -> None:
    suppers = Product("6", "Cat Suppers, 24 Pouches", "The gravy is thin. Warm it for a minute.")
    assert choose("how many pouches?", suppers, likeness).in_title
    assert choose("how long do I warm it?", suppers, likeness).sentences[-1].startswith("Warm")


def test_nobody_is_named_for_who() -> None:
    machine = Product("4", "Karaoke Machine", "Sing along at home. Two microphones are included.")
    assert not choose("who wrote it?", machine, likeness).sure
    assert not choose("quem é o autor?", machine, likeness).sure


def test_what_critics_say_is_a_quotation_with_its_source() -> None:
    book = Product("5", "Gulls", "A book. It has a map. 'Funny and sad.' The Coast Weekly")
    assert choose("what do critics say?", book, likeness).sentences == (
        "'Funny and sad.' The Coast Weekly",
    )


def test_what_no_catalogue_has() -> None:
    assert choose("quanto custa?", BOOK, by_words_alone).never == {"price"}
    priced = Product("2", "Cloth", "It is 3 m long. Save $2 on a second one.")
    assert choose("how much is it?", priced, by_words_alone).sentences == (
        "Save $2 on a second one.",
    )


def test_the_title_answers_for_its_format() -> None:
    film = Product("3", "The Clockmaker [DVD]", "A quiet mystery.")
    assert choose("is it a DVD?", film, by_words_alone).in_title
    assert choose("is there a clockmaker?", film, by_words_alone).in_title


@pytest.mark.parametrize("question", ["tell me more", "what is it about?", "do que se trata?"])
def test_questions_for_the_whole_description(question: str) -> None:
    assert asks_for_all(question)


def test_other_questions_are_not_for_the_whole_description() -> None:
    assert not asks_for_all("what size is it?")
    assert not asks_for_all("tell me more about the gulls")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ("Holds approx. 2 l. Mrs. Bell made it.", ["Holds approx. 2 l.", "Mrs. Bell made it."]),
        ("Ages 3-6.Copyright 2004.", ["Ages 3-6.", "Copyright 2004."]),
        ("It is 12 in. wide. Red.", ["It is 12 in. wide.", "Red."]),
        ("It is 12 in. Red.", ["It is 12 in.", "Red."]),
        ("It weighs 3 lbs. 2 oz. a pair.", ["It weighs 3 lbs. 2 oz. a pair."]),
        (
            "'A marvel.' The Star 'Funny' Weekly Post",
            ["'A marvel.' The Star", "'Funny' Weekly Post"],
        ),
        (
            "By J. R. Hale. He said \u201cNo.\u201d Then left",
            [
                "By J. R. Hale.",
                "He said \u201cNo.\u201d",
                "Then left",
            ],
        ),
        (
            "\u201cA marvel.\u201d \u2014 The Star. Red.",
            ["\u201cA marvel.\u201d \u2014 The Star.", "Red."],
        ),
        ("For planes: \u2022 oak \u2022 brass", ["For planes:", "\u2022 oak", "\u2022 brass"]),
        ("1.5 kg", ["1.5 kg"]),
        ("", []),
    ],
)
def test_sentences_are_split_at_their_ends(text: str, expected: list[str]) -> None:
    assert split_sentences(text) == expected
