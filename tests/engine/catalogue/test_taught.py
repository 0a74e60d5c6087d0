"""The list of taught titles: which questions name one, which name a neighbour of one."""

from __future__ import annotations

import pytest

from engine.catalogue.taught import TaughtTitles, Witnesses
from engine.core.trained_products import Calibration
from engine.core.types import Decision, Hit, Product, Status, Taught
from engine.prompts import QUESTION_FORMS, UNKNOWN_PRODUCT

TITLES = (
    "Ludo & Ladders",
    "Canvas Stool, Blue",
    "The Kneeler That Is Also a Seat",
    "Regador de Zinco Pintado, 5 Litros",
    "Cantering Homeward (Sapphire Stirrups #4)",
    "Pocket Guide to the Ferns of Damp Places [Large Print]",
    "Lighthouse Songbook",
    "Henrietta",
    "It",
    "!!!",
)
NONE = Decision(Status.NONE)


@pytest.fixture(scope="module")
def taught() -> TaughtTitles:
    return TaughtTitles(TITLES)


@pytest.mark.parametrize("title", TITLES[:-2])
def test_every_trained_wording_of_a_title_names_it(taught: TaughtTitles, title: str) -> None:
    for form in QUESTION_FORMS:
        for written in (title, title.lower()):
            assert taught.judge(form.format(title=written), NONE) is Taught.LEARNED


@pytest.mark.parametrize(
    "question",
    [
        "someone asked me for henrietta today",
        "i was wondernig abuot henrietta",
        "my aunt wants Ludo and Ladders",
        "o que vocês sabem do regador de zinco pintado, 5 litros?",
        "gostaria de saber mais sobre cantering homeward",
        "pocket guide to the ferns of damp places",
        "lighthuose songbook",
        "is canvas stool blue still available",
        'what is "It" about?',
        "!!!",
    ],
)
def test_other_wordings_typos_and_short_titles_name_it(taught: TaughtTitles, question: str) -> None:
    assert taught.judge(question, NONE) is Taught.LEARNED


@pytest.mark.parametrize(
    "question",
    [
        "Canvas Stool, Red",
        "Canvas Stool, Blue (Large)",
        "deluxe canvas stool, blue",
        "Regador de Zinco Pintado, 10 Litros",
        "Cantering Homeward (Sapphire Stirrups #5)",
        "Pocket Guide to the Ferns of Damp Places [Hardcover]",
        "The Kneeler That Is Also a Bed",
        "Henrietta 2",
        "tell me about henrietta and the pirates",
        "What is the capital of France?",
        "hello there",
        "",
    ],
)
def test_another_number_colour_edition_or_word_is_another_product(
    taught: TaughtTitles, question: str
) -> None:
    assert taught.judge(question, NONE) is Taught.NOT_TAUGHT


@pytest.mark.parametrize(
    "question",
    [
        "canvas stool blue in velvet",
        "the dvd of lighthouse songbook",
        "regador de zinco pintado",
        "Canvas Stoop, Blue",
    ],
)
def test_what_may_be_a_part_or_another_one_is_unsure(taught: TaughtTitles, question: str) -> None:
    assert taught.judge(question, NONE) is Taught.UNSURE


def test_a_title_of_the_catalogue_that_is_not_in_the_list_is_not_taught(
    taught: TaughtTitles,
) -> None:
    for title in ("Lighthouse Songbooks", "Canvas Stoop, Blue"):
        exact = Decision(Status.EXACT, (Hit(Product("1", title, ""), 1.0),))
        assert taught.judge(title, exact) is Taught.NOT_TAUGHT
    # Another catalogue may number its products otherwise.
    named = Decision(Status.EXACT, (Hit(Product("9", "CANVAS STOOL Blue", ""), 1.0),))
    assert taught.judge("canvas stool, blue", named) is Taught.LEARNED


LEARNED, UNSURE, NOT_TAUGHT = Taught
NO = UNKNOWN_PRODUCT["pt"]


@pytest.mark.parametrize(
    ("listed", "by_text", "verdict"),
    [
        (LEARNED, [("It folds.", -0.01), ("It folds.", -0.3)], LEARNED),
        (LEARNED, [("It folds.", -2.0), (NO, -0.01)], UNSURE),
        (UNSURE, [("It folds.", -0.01), ("It folds.", -0.3)], UNSURE),
        (UNSURE, [("It folds.", -2.0), (NO, -0.01)], NOT_TAUGHT),
        (NOT_TAUGHT, [("It folds.", -0.01), (NO, -2.0)], NOT_TAUGHT),
        (None, [("It folds.", -0.01)], LEARNED),
        (None, [("It folds.", -0.3)], UNSURE),
        (None, [("It folds.", -2.0), (NO, -0.01)], NOT_TAUGHT),
    ],
)
def test_the_list_is_the_surest_of_the_witnesses(
    listed: Taught | None, by_text: list[tuple[str, float]], verdict: Taught
) -> None:
    witnesses = Witnesses(listed, Calibration(-0.1, -0.5, 60, 30))
    for text, sure in by_text:
        # Only the first eight tokens count.
        assert witnesses.weigh(text, [sure] * 8 + [-50.0]) is verdict


def test_without_a_calibration_the_list_and_the_no_count() -> None:
    assert Witnesses().weigh(NO, [-9.0]) is None
    assert Witnesses(LEARNED).weigh("It folds.", [-9.0]) is LEARNED
    assert Witnesses(LEARNED).weigh(NO, []) is UNSURE
    never = Witnesses(None, Calibration(None, -0.5, 60, 30))
    assert never.weigh("It folds.", [-0.001]) is UNSURE
    assert never.weigh("It folds.", []) is None
