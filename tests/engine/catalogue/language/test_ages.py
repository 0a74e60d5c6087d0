"""Products for a child of some age are listed first where their records state a fitting age."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.catalogue.catalogue import Catalogue
from engine.catalogue.index import build_index
from engine.catalogue.language.ages import Ages, asked_ages, fits, stated_ages
from engine.core.types import Product, Status


@pytest.mark.parametrize(
    ("question", "low", "high"),
    [
        ("something for a 5-year-old", 5, 5),
        ("a gift for a three year old", 3, 3),
        ("games for 8 to 10 year olds", 8, 10),
        ("present for my niece who is turning nine", 9, 9),
        ("toys for toddlers", 1, 3),
        ("something for my teenage son", 13, 17),
        ("a toy for a 6-month-old", 0.5, 0.5),
        ("algo para uma criança de 5 anos", 5, 5),
        ("livro para menina de sete anos", 7, 7),
        ("brinquedo para bebê de 6 meses", 0.5, 0.5),
    ],
)
def test_a_question_asks_for_ages(question: str, low: float, high: float) -> None:
    found = asked_ages(question)
    assert found
    assert found[0] == Ages(low, high)


@pytest.mark.parametrize(
    "question",
    ["a history of the hundred years war", "baby names", "a gift for a 70-year-old", "2 years"],
)
def test_a_question_without_a_childs_age_asks_for_none(question: str) -> None:
    assert asked_ages(question) is None


@pytest.mark.parametrize(
    ("text", "fitting", "other"),
    [
        ("Ages 3-6.", 5, 8),
        ("Wipes clean. Age 4+", 5, 3),
        ("From 3 years, with help.", 4, 2),
        ("For ages 8 and up.", 10, 5),
        ("Suitable for six and seven year olds.", 6, 9),
        ("Aged three to six.", 4, 7),
        ("Not for children under three.", 4, 2),
        ("Grade 3-6.", 9, 5),
        ("Preschool-Grade 1", 4, 10),
        ("A partir de 6 anos.", 7, 4),
        ("Dos 7 aos 12 anos.", 12, 5),
        ("Para maiores de 10 anos.", 11, 6),
        ("From 18 months.", 2, 1),
    ],
)
def test_a_record_states_ages(text: str, fitting: float, other: float) -> None:
    assert fits(Ages(fitting, fitting), text) is True
    assert fits(Ages(other, other), text) is False


@pytest.mark.parametrize(
    "text",
    [
        "She sailed at the age of 19, and for over twelve months.",
        "Hundreds of tales from the Middle Ages. 2 to 6 players, 100+ cards.",
        "The mother of an eight-year-old disappears. Guarantee of 5 years.",
        "One up, three across.",
    ],
)
def test_other_numbers_are_no_ages(text: str) -> None:
    assert stated_ages(text) == []


TOYS = {
    "1": ("Tin Drum", "Loud. Ages 3-6."),
    "2": ("Pond Net", "Long handle. Ages 8 and up."),
    "3": ("Sailing Boat", "Birch, with a linen sail. A partir de 4 anos."),
    "4": ("Iron Skillet", "Seasoned, for the hob."),
    "5": ("Paper Puzzle", "A puzzle of forty pieces."),
    "6": ("Wooden Puzzle", "Six pieces with knobs. From 18 months."),
    "7": ("Map Puzzle", "A puzzle of the coast for ages 5+."),
}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    folder: Path = tmp_path_factory.mktemp("toys") / "index"
    build_index([Product(uid, *texts, texts[1]) for uid, texts in TOYS.items()], folder)
    return Catalogue.open(folder)


@pytest.mark.parametrize(
    ("question", "first"),
    [
        ("something for a 5-year-old", {"1", "3", "6", "7"}),
        ("algo para uma criança de 4 anos", {"1", "3"}),
        ("a puzzle for a 6 year old", {"7"}),
        ("toys for toddlers", {"6", "1"}),
    ],
)
def test_products_of_a_fitting_age_stand_first(
    shop: Catalogue, question: str, first: set[str]
) -> None:
    decision = shop.find(question)
    assert decision.status is Status.SEVERAL
    assert {hit.product.uid for hit in decision.hits[: len(first)]} == first


def test_what_is_wanted_comes_before_other_products_of_a_fitting_age(shop: Catalogue) -> None:
    hits = shop.find("a puzzle for a 7 year old").hits
    assert [hit.product.uid for hit in hits[:2]] == ["7", "5"]


def test_a_title_with_an_age_is_still_a_title(shop: Catalogue) -> None:
    assert shop.find("do you have the tin drum").status is Status.EXACT
