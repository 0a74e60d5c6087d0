"""A question for anything that fits gets a list, with the format that it names first."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.catalogue.catalogue import Catalogue
from engine.catalogue.index import build_index
from engine.catalogue.language.phrases import PHRASES, courtesy
from engine.catalogue.language.wishes import asks_for_any
from engine.core.types import Product, Status

SHOP = {
    "1": ("Harvest Home [DVD]", "A farm through four seasons."),
    "2": ("The Wet Weekend", "Card games and puzzles for a rainy day."),
    "3": ("Marsh Lights [DVD]", "Ghosts in the fen, told by the fire."),
    "4": ("Steel Trowel", "For potting, weeding and planting bulbs in a garden."),
    "5": ("Pruning Shears", "Cuts green wood; a garden is grateful."),
    "6": ("A Tale of Ghosts", "One ghost, eleven chapters."),
}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    folder: Path = tmp_path_factory.mktemp("wishes") / "index"
    build_index([Product(uid, *texts, texts[1]) for uid, texts in SHOP.items()], folder)
    return Catalogue.open(folder)


def listed(shop: Catalogue, question: str) -> list[str]:
    decision = shop.find(question)
    assert decision.status is Status.SEVERAL
    return [hit.product.uid for hit in decision.hits]


@pytest.mark.parametrize(
    "question",
    [
        "something for the garden",
        "a present for my neighbour",
        "what can I buy for my dad?",
        "which books are about bees?",
        "I need a dictionary",
        "um livro engraçado",
        "algo para ler nas férias",
        "um presente para quem gosta de jardinagem",
    ],
)
def test_a_question_for_anything_that_fits(question: str) -> None:
    assert asks_for_any(question)


@pytest.mark.parametrize(
    "question", ["garden shears with a spring", "who wrote marsh lights?", "tesoura de poda"]
)
def test_a_question_for_one_product(question: str) -> None:
    assert not asks_for_any(question)


def test_the_format_that_is_asked_for_stands_first(shop: Catalogue) -> None:
    assert set(listed(shop, "a dvd for a rainy day")[:2]) == {"1", "3"}
    assert listed(shop, "films about ghosts")[0] == "3"


def test_several_that_fit_are_listed_and_the_only_one_is_the_answer(shop: Catalogue) -> None:
    assert set(listed(shop, "something for the garden")[:2]) == {"4", "5"}
    only = shop.find("something for potting and weeding")
    assert only.product
    assert only.product.uid == "4"


def test_a_title_is_answered_though_it_sounds_like_a_wish(shop: Catalogue) -> None:
    assert shop.find("A Tale of Ghosts").status is Status.EXACT


@pytest.mark.parametrize(
    "question", ["show me everything", "what do you have?", "list all products"]
)
def test_a_question_for_the_whole_catalogue_gets_advice(question: str) -> None:
    assert courtesy(question, "pt") == PHRASES["en"]["all"]
    assert courtesy("o que vocês vendem?", "en") == PHRASES["pt"]["all"]
