"""Decide which products a question means."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.catalogue.catalogue import Catalogue
from engine.catalogue.index import build_index
from engine.core.types import Decision, Product, Status
from engine.prompts import QUESTION_FORMS
from tests.engine.catalogue.conftest import BODIES, TITLES


def uids(decision: Decision) -> list[str]:
    return [hit.product.uid for hit in decision.hits]


def typed(title: str) -> list[str]:
    """Vary a title as people type it."""
    bare = "".join(char if char.isalnum() else " " for char in title.replace("'", ""))
    return [
        title,
        title.lower(),
        title.upper(),
        f"  {title} ",
        " ".join(bare.split()),
        f"“{title}”",
    ]


NAMED = {uid: title for uid, title in TITLES.items() if title}


@pytest.mark.parametrize("uid", NAMED)
def test_a_whole_title_finds_its_product(catalogue: Catalogue, uid: str) -> None:
    for question in typed(NAMED[uid]):
        if question in NAMED.values() and question != NAMED[uid]:
            continue  # "C++" without punctuation is another title.
        if not any(char.isalnum() for char in question) and question.strip() != NAMED[uid]:
            continue
        found = catalogue.find(question)
        assert uid in uids(found), question
        assert found.status in (Status.EXACT, Status.SEVERAL)


@pytest.mark.parametrize("form", QUESTION_FORMS)
@pytest.mark.parametrize("uid", ["0000000001", "0000000002", "0000000013", "0000000017"])
def test_a_title_inside_a_question(catalogue: Catalogue, form: str, uid: str) -> None:
    for title in (TITLES[uid], TITLES[uid].lower()):
        found = catalogue.find(form.format(title=title))
        assert (found.status, uids(found)) == (Status.EXACT, [uid])


def test_a_name_alone_is_found_without_a_search(catalogue: Catalogue) -> None:
    assert uids(catalogue.named("bread salt and smoke: baking on open fires")) == ["0000000022"]
    assert catalogue.named("baking on fires").status is Status.NONE


@pytest.mark.parametrize(
    ("question", "uid"),
    [
        ("Qual a descrição do livro 'The Ledger of Lost Lighthouses'?", "0000000002"),
        ("oi, vocês têm o sabao de coco acao verde aí?", "0000000012"),
        ("hi there, could you please tell me about copper... no, “1001 knots”", "0000000018"),
        ("what is the description of rain", "0000000014"),
        ("do you have It?", "0000000015"),
        ("who wrote “it”?", "0000000015"),
        ("it", "0000000015"),
        ("bread salt and smoke: baking on open fires", "0000000022"),
        ("Bread, Salt & Smoke: Baking on Open Fires", "0000000022"),
        ("best selling gardens of the north", "0000000024"),
        ("bestselling gardens of the north", "0000000024"),
        ("what is c++", "0000000019"),
        ("what is C#?", "0000000020"),
        ("C", "0000000031"),
        ("marmaladesseven kittens", "0000000001"),
        ("000000009x", "000000009X"),
        ("tell me about number 0000000017", "0000000017"),
        ("b00zqx1234", "B00ZQX1234"),
        ("Marmalade&#8217;s Seven Kittens", "0000000001"),
    ],
)
def test_exact(catalogue: Catalogue, question: str, uid: str) -> None:
    found = catalogue.find(question)
    assert (found.status, uids(found)) == (Status.EXACT, [uid])
    assert found.hits[0].score == 1.0
    assert found.product == found.hits[0].product


@pytest.mark.parametrize(
    ("question", "uid"),
    [
        ("marmelades seven kittens", "0000000001"),
        ("Marmalade's Sevn Kitens", "0000000001"),
        ("tell me about marmalades seven kittnes", "0000000001"),
        ("vocês têm quillfaether?", "0000000016"),
        ("kittens seven marmalades", "0000000001"),
        ("lost lighthouses ledger", "0000000002"),
        ("trail lantern solar charger hook", "0000000017"),
        ("the weight of feathers small matters", "0000000028"),
        ("neon green dance skirt", "0000000004"),
    ],
)
def test_likely(catalogue: Catalogue, question: str, uid: str) -> None:
    found = catalogue.find(question)
    assert (found.status, uids(found)) == (Status.LIKELY, [uid])


@pytest.mark.parametrize(
    ("question", "wanted"),
    [
        ("copper kettle", {"0000000007", "0000000008", "000000009X"}),
        ("do you have the Copper Kettle?", {"0000000007", "0000000008", "000000009X"}),
        ("dance skirt neon pink", {"0000000005", "0000000006"}),
        ("voyage to ombrosa cartographers diary", {"0000000010", "0000000011"}),
        ("a day on the isle of", {"0000000029", "0000000030"}),
    ],
)
def test_several(catalogue: Catalogue, question: str, wanted: set[str]) -> None:
    found = catalogue.find(question)
    assert found.status is Status.SEVERAL
    assert set(uids(found)) == wanted
    assert found.product is None


@pytest.mark.parametrize(
    "question",
    ["", "   ", "?", "hello", "Hi there!", "thanks", "Obrigado!", "who wrote it?", "what is this?",
     "quem escreveu?", "and how long is it?", "The Clockmaker's Second Umbrella",
     "do you have Midnight Over Zarqand?", "voyage to ombrosa a cartographers diary vol 3",
     "dance skirt neon blue girls large", "copper saucepan", "9999999999", "💡", "\ud83d"],
)  # fmt: skip
def test_none(catalogue: Catalogue, question: str) -> None:
    found = catalogue.find(question)
    assert (found.status, found.hits) == (Status.NONE, ())
    assert len(found.nearest) <= 10


def test_nearest_titles_are_offered(catalogue: Catalogue) -> None:
    found = catalogue.find("voyage to ombrosa a cartographers diary vol 3")
    assert {hit.product.uid for hit in found.nearest} == {"0000000010", "0000000011"}
    assert all(0 < hit.score < 1 for hit in found.nearest)


@pytest.mark.parametrize(
    ("question", "uid"),
    [
        ("archivist tallies beacons swallowed by fog", "0000000002"),
        ("the one about a blind glazier and an observatory with an eclipse", "0000000016"),
        ("tem algum sobre beekeeping rooftops crowded cities?", "0000000025"),
    ],
)
def test_a_description_finds_its_product(catalogue: Catalogue, question: str, uid: str) -> None:
    found = catalogue.find(question)
    assert uids(found)[:1] == [uid]
    assert found.hits[0].product.description == BODIES[uid]


@pytest.mark.parametrize(
    ("question", "uid"),
    [
        ("mug", "B00ZQX1234"),
        ("have you got a thermal mug?", "B00ZQX1234"),
        ("feathers", "0000000028"),
        ("solar charger", "0000000017"),
        ("glazier", "0000000016"),
        ("a blind glazier", "0000000016"),
        ("pamphlets about beekeeping", "0000000025"),
    ],
)
def test_words_of_title_or_description_find_the_one_product_that_has_them(
    catalogue: Catalogue, question: str, uid: str
) -> None:
    found = catalogue.find(question)
    assert (found.status, uids(found)) == (Status.LIKELY, [uid])


@pytest.mark.parametrize(
    ("question", "wanted"),
    [
        ("skirt", {"0000000004", "0000000005", "0000000006"}),
        ("skirts for girls", {"0000000004", "0000000005", "0000000006"}),
        ("do you have something about lighthouses?", {"0000000002", "0000000003"}),
        ("ledger", {"0000000002", "0000000003"}),
    ],
)
def test_words_of_several_titles_list_them(
    catalogue: Catalogue, question: str, wanted: set[str]
) -> None:
    found = catalogue.find(question)
    assert found.status is Status.SEVERAL
    assert set(uids(found)[: len(wanted)]) == wanted
    scores = [hit.score for hit in found.hits]
    assert scores == sorted(scores, reverse=True)


def test_without_a_match_the_closest_products_are_offered(catalogue: Catalogue) -> None:
    found = catalogue.find("copper saucepan")
    assert found.status is Status.NONE
    assert {"0000000007", "0000000008", "000000009X"} == {
        hit.product.uid for hit in found.nearest[:3]
    }


@pytest.mark.parametrize(
    "typed", ["ski", "dance sk", "copp", "the led", "trail lan", "voyage", "day on the", "a bread"]
)
def test_the_answer_has_the_titles_that_were_suggested(catalogue: Catalogue, typed: str) -> None:
    suggested = {found.title for found in catalogue.complete(typed)}
    answer = catalogue.find(typed)
    assert suggested
    assert suggested <= {hit.product.title for hit in (*answer.hits, *answer.nearest)}


def test_the_product_is_the_stored_one(catalogue: Catalogue) -> None:
    found = catalogue.find("1001 knots").product
    assert found == catalogue.get("0000000018")
    assert found is not None
    assert found.description == "The description that belongs to number 0000000018 alone."


@given(st.text(max_size=300))
def test_any_text_gets_a_valid_decision(catalogue: Catalogue, text: str) -> None:
    found = catalogue.find(text)
    counts = {Status.EXACT: (1, 1), Status.LIKELY: (1, 1), Status.SEVERAL: (2, 10)}
    low, high = counts.get(found.status, (0, 0))
    assert low <= len(found.hits) <= high
    assert all(0 < hit.score <= 1 for hit in (*found.hits, *found.nearest))


def test_a_long_question_is_cut(catalogue: Catalogue) -> None:
    assert catalogue.find("lighthouse " * 200_000) == catalogue.find("lighthouse " * 400)


def test_threads_get_the_same_answers(catalogue: Catalogue) -> None:
    questions = [title for title in TITLES.values() if title] * 10
    random.Random(4).shuffle(questions)  # noqa: S311 - not for security
    alone = [catalogue.find(question) for question in questions]
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(catalogue.find, questions))
    assert together == alone


def test_a_title_without_its_subtitle(tmp_path: Path) -> None:
    rows = [
        Product("1", "City of Copper Wells: A Year Among the Lamp Menders of Ostrava", "x"),
        Product("2", "Under the Loom: Weaving for Beginners", "x"),
        Product("3", "Under the Loom (Large Print Edition for Tired Eyes)", "x"),
        Product("4", "Loom", "x"),
    ]
    build_index(rows, tmp_path / "index")
    catalogue = Catalogue.open(tmp_path / "index")
    city = catalogue.find("who wrote city of copper wells?")
    several = catalogue.find("Under the Loom")
    catalogue.close()
    assert (city.status, [hit.product.uid for hit in city.hits]) == (Status.LIKELY, ["1"])
    assert several.status is Status.SEVERAL
    assert {hit.product.uid for hit in several.hits} == {"2", "3"}
