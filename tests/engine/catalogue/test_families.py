"""Recognise editions of one thing, in any order of the rows, and list them together."""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.catalogue.catalogue import Catalogue
from engine.catalogue.families import find_families
from engine.catalogue.index import build_index, update_index
from engine.catalogue.language.phrases import undecided
from engine.core.types import Decision, Product, Status

BLURB = (
    "On the day the ferry stops running, three sisters find a map of the harbour drawn before the"
    " storm, and in it a street that none of them has ever walked along."
)
NOVEL = [
    ("1", "The Street Below the Tide (Paperback)", BLURB),
    ("2", "The Street Below the Tide (Hardcover)", BLURB.replace("three", "four")),
    ("3", "The Street Below the Tide: A Novel", f"{BLURB} With notes for reading groups."),
]
OTHERS = [
    ("4", "The Street Above the Hill", "A planner's account of terraces, steps and handrails."),
    ("5", "Enamel Jug, Blue", "Holds a litre."),
    ("6", "Enamel Jug, Red", "Chips rarely, pours well, and stands on any hob but induction."),
    ("7", "Harbour Songs", ""),
    ("8", "Harbour Nights", ""),
]
ROWS = NOVEL + OTHERS


def families(rows: Iterable[tuple[str, str, str]]) -> set[frozenset[str]]:
    found = find_families(rows)
    firsts = set(found.values())
    return {frozenset(key for key in found if found[key] == first) for first in firsts}


def test_editions_with_nearly_the_same_text_are_one_family() -> None:
    assert families(ROWS) == {frozenset("123"), frozenset("56")}
    assert find_families(ROWS)["3"] == "1"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Cut Flowers, 2nd Edition", "Cut Flowers, 3rd Edition"),
        ("Coast Road Atlas 2004", "Coast Road Atlas 2007"),
        ("Rope Tug, Small", "Rope Tug, X-Large"),
        ("Corvane 10-Inch Chef's Knife", "Corvane 8-Inch Chef's Knife"),
        ("The Long Quay [DVD]", "The Long Quay [VHS]"),
        ("Caneca de Barro, Azul", "Caneca de Barro, Vermelha"),
    ],
)
def test_titles_that_differ_in_their_edition_are_one_family(one: str, other: str) -> None:
    assert len(find_families([("1", one, "Some words."), ("2", other, "")])) == 2


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Tales of the Weir, Vol. 1", "Tales of the Weir, Vol. 2"),
        ("Ink Cartridge HP 56, Black", "Ink Cartridge HP 57, Black"),
        ("The Best Walks in Wales", "The Best Walks in Kent"),
        ("Apples: A Country Cookbook", "Onions: A Country Cookbook"),
        ("Season Two", "Season Three"),
    ],
)
def test_products_of_a_series_are_no_family_though_they_share_a_text(one: str, other: str) -> None:
    assert not find_families([("1", one, BLURB), ("2", other, BLURB)])


def test_a_film_and_a_book_of_one_title_are_no_family_without_a_common_text() -> None:
    film = ("2", "The Long Quay [DVD]", "Ninety minutes of fog, in black and white.")
    assert not find_families([("1", "The Long Quay", BLURB), film])
    assert find_families([("1", "The Long Quay", BLURB), ("2", "The Long Quay [DVD]", BLURB)])


def test_a_text_of_a_shop_makes_no_family() -> None:
    titles = ["Brass Lamp", "Tin Whistle", "Oak Bench", "Wool Cap", "Slate Clock"]
    assert not find_families((title, title, BLURB) for title in titles)


words = st.sampled_from(["jug", "quay", "harbour", "red", "blue", "two", "2004", "hardcover", "of"])
titles = st.lists(words, max_size=4).map(" ".join)
texts = st.one_of(
    st.just(""), st.sampled_from([BLURB, BLURB.replace("ferry", "tram"), BLURB * 2]), titles
)


@given(st.lists(st.tuples(titles, texts), max_size=12), st.randoms(use_true_random=False))
def test_the_order_of_the_rows_changes_no_family(
    rows: list[tuple[str, str]], draw: random.Random
) -> None:
    places = [f"{place:02}" for place in range(len(rows))]
    keys = dict(zip(draw.sample(places, len(places)), places, strict=True))
    shuffled = families((key, *rows[int(place)]) for key, place in keys.items())
    ordered = families((place, *rows[int(place)]) for place in places)
    assert {frozenset(keys[key] for key in family) for family in shuffled} == ordered


@given(st.lists(st.tuples(titles, texts), max_size=12))
def test_a_family_has_several_members_and_is_named_after_its_first(
    rows: list[tuple[str, str]],
) -> None:
    found = find_families((key, *row) for key, row in enumerate(rows))
    for first in found.values():
        assert found[first] == first == min(key for key in found if found[key] == first)
        assert sum(other == first for other in found.values()) > 1


def product(uid: str, title: str, text: str) -> Product:
    return Product(uid, title, text, text)


def in_index(folder: Path) -> set[frozenset[str]]:
    catalogue = Catalogue.open(folder)
    found = catalogue._products.editions([str(number) for number in range(20)])
    catalogue.close()
    return {frozenset(one.uid for one in family) for family in found.values()}


def test_an_index_has_the_families_of_its_products(tmp_path: Path) -> None:
    build_index([product(*row) for row in ROWS], tmp_path / "index")
    assert in_index(tmp_path / "index") == {frozenset("123"), frozenset("56")}


def test_an_update_finds_the_families_of_a_new_index(tmp_path: Path) -> None:
    build_index([product(*row) for row in (*NOVEL[:1], *OTHERS)], tmp_path / "index")
    update_index([product(*row) for row in NOVEL[1:]], tmp_path / "index")
    assert in_index(tmp_path / "index") == {frozenset("123"), frozenset("56")}


def test_an_update_that_changes_an_edition_takes_it_out_of_its_family(tmp_path: Path) -> None:
    build_index([product(*row) for row in ROWS], tmp_path / "index")
    changed = [product("2", "Basket of Reeds", "Woven wet."), product("6", "Tin Tray", "Flat.")]
    update_index(changed, tmp_path / "index")
    assert in_index(tmp_path / "index") == {frozenset("13")}


def test_an_index_of_an_older_version_stays_without_families(tmp_path: Path) -> None:
    folder = tmp_path / "index"
    build_index([product(*row) for row in ROWS], folder)
    (folder / "families").unlink()
    assert in_index(folder) == set()
    update_index([product(*row) for row in NOVEL[1:]], folder)
    assert in_index(folder) == set()


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    folder = tmp_path_factory.mktemp("shop") / "index"
    maps = [
        (f"1{at}", f"Harbour Map of {name}", f"A harbour, its street plan and buoys: {name}.")
        for at, name in enumerate(("Brevik", "Corran", "Dunmore"))
    ]
    build_index([product(*row) for row in (*maps, *ROWS)], folder)
    return Catalogue.open(folder)


def uids(decision: Decision) -> list[str]:
    return [hit.product.uid for hit in decision.hits]


def test_a_list_has_the_editions_of_a_product_after_it(shop: Catalogue) -> None:
    decision = shop.find("street harbour")
    assert decision.status is Status.SEVERAL
    listed = uids(decision)
    at = min(listed.index(uid) for uid in "123")
    assert set(listed[at : at + 3]) == set("123")
    assert [bool(hit.edition) for hit in decision.hits[at : at + 3]] == [False, True, True]


def test_every_edition_has_a_number_under_the_first(shop: Catalogue) -> None:
    decision = shop.find("street harbour")
    lines = undecided("street harbour", decision, "en").splitlines()
    at = lines.index("   and 2 more editions:")
    numbers = [hit.product.uid for hit in decision.hits]
    for line in lines[at + 1 : at + 3]:
        number, title = line.strip().split(". ", 1)
        assert line.startswith("   ")
        assert title.endswith(f"({numbers[int(number) - 1]})")


def test_a_whole_title_is_answered_without_its_editions(shop: Catalogue) -> None:
    decision = shop.find("Enamel Jug, Red")
    assert (decision.status, uids(decision)) == (Status.EXACT, ["6"])
