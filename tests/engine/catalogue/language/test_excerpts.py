"""A list shows why a product is in it, also one that has no word of the question."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.catalogue.catalogue import Catalogue
from engine.catalogue.index import build_index
from engine.catalogue.language.excerpts import with_excerpts
from engine.catalogue.language.phrases import undecided
from engine.catalogue.vectors.meaning import Meaning
from engine.core.types import Decision, Hit, Product, Status

INTRODUCTION = "Bound in grey cloth, with a ribbon and a map of the county at the back. "
TEXTS = {
    "1": ("The Patient Hound", f"{INTRODUCTION}Teach a young dog to sit, stay and walk on a lead."),
    "2": ("Hearth and Flour", f"{INTRODUCTION}Recipes for bread, flat cakes and pies."),
    "3": ("Six Tin Animals", f"{INTRODUCTION}They float. Ages 3 to 6. Wipe with a cloth."),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("excerpts") / "index"
    made = [Product(uid, *texts, texts[1]) for uid, texts in TEXTS.items()]
    build_index(made, folder, meaning=True)
    return folder


def shown(folder: Path, uid: str, question: str) -> Hit:
    """Return the hit of a product as a list for `question` has it."""
    product = Catalogue.open(folder).get(uid)
    assert product
    return with_excerpts([Hit(product, 0.5)], question, Meaning.open(folder))[0]


def line(hit: Hit, question: str) -> str:
    text = undecided(question, Decision(Status.SEVERAL, (hit, hit)), "en")
    return text.splitlines()[3].strip()


def test_words_near_those_of_the_question_are_lit(folder: Path) -> None:
    hit = shown(folder, "1", "cachorro")
    assert "dog" in (hit.lit or ())
    assert "a young dog" in line(hit, "cachorro")


def test_without_such_words_the_nearest_sentence_is_shown(folder: Path) -> None:
    question = "what can my oven be used for"
    hit = shown(folder, "2", question)
    assert line(hit, question).startswith("…Recipes for bread")


def test_a_product_with_words_of_the_question_is_shown_by_these(folder: Path) -> None:
    hit = shown(folder, "2", "pies")
    assert not hit.lit
    assert not hit.passage
    assert "pies" in line(hit, "pies")


def test_the_sentence_with_a_fitting_age_is_shown(folder: Path) -> None:
    question = "something for a 4-year-old"
    assert line(shown(folder, "3", question), question).startswith("…Ages 3 to 6.")


def test_without_vectors_hits_stay_as_they_are(folder: Path) -> None:
    product = Catalogue.open(folder).get("1")
    assert product
    hit = Hit(product, 0.5)
    assert with_excerpts([hit], "cachorro", None) == (hit,)
