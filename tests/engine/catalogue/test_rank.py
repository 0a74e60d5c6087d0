"""Find products that are described without their words, in an index with vectors."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from engine.catalogue.catalogue import Catalogue
from engine.catalogue.index import build_index
from engine.catalogue.rank import content_of
from engine.core.types import Product, Status

PRODUCTS = {
    "Puppy Training in Ten Days": "Teach a young dog to sit, stay and walk on a lead.",
    "The Copper Kettle": "A kettle of two litres that whistles when the water boils.",
    "Ballet Tutu Neon Pink": "Dance skirt with three layers of tulle.",
    "Bread on Open Fires": "Recipes for baking bread, flat cakes and pies outdoors.",
    "Rye, Barley, Oats": "A baker explains how to make loaves of old kinds of grain.",
    "Murder at the Vicarage": "A detective with a white beard finds out who killed him.",
    "Night Watch": "A policeman hunts a murderer through the harbour of a cold city.",
    "Garden Hose, 30 m": "Green rubber hose to water flowers and wash the car.",
}


def open_built(factory: pytest.TempPathFactory, *, meaning: bool) -> Iterator[Catalogue]:
    folder = factory.mktemp("rank") / "index"
    rows = [
        Product(f"{number:010}", title, text, text)
        for number, (title, text) in enumerate(PRODUCTS.items())
    ]
    build_index(rows, folder, meaning=meaning)
    catalogue = Catalogue.open(folder)
    yield catalogue
    catalogue.close()


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalogue]:
    """The catalogue with vectors."""
    yield from open_built(tmp_path_factory, meaning=True)


@pytest.fixture(scope="module")
def by_words(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalogue]:
    """The catalogue without vectors."""
    yield from open_built(tmp_path_factory, meaning=False)


@pytest.mark.parametrize(
    ("question", "title"),
    [
        ("how can I get my little hound to obey", "Puppy Training in Ten Days"),
        ("quero ensinar meu cachorro a obedecer", "Puppy Training in Ten Days"),
        ("uma chaleira para ferver água", "The Copper Kettle"),
        ("saia cor de rosa para uma bailarina", "Ballet Tutu Neon Pink"),
        ("mangueira para regar o jardim", "Garden Hose, 30 m"),
    ],
)
def test_a_description_in_other_words_or_another_language_finds_its_product_first(
    catalogue: Catalogue, question: str, title: str
) -> None:
    found = catalogue.find(question)
    assert (*found.hits, *found.nearest)[0].product.title == title


def test_what_no_product_matches_offers_the_closest_ones(catalogue: Catalogue) -> None:
    found = catalogue.find("inflatable boat")
    assert found.status is Status.NONE
    assert len(found.nearest) == len(PRODUCTS)
    scores = [hit.score for hit in found.nearest]
    assert scores == sorted(scores, reverse=True)


def test_a_vague_question_lists_what_fits_first(catalogue: Catalogue) -> None:
    found = catalogue.find("crime stories")
    titles = [hit.product.title for hit in (*found.hits, *found.nearest)]
    assert found.product is None
    assert {"Murder at the Vicarage", "Night Watch"} == set(titles[:2])


@pytest.mark.parametrize("question", ["the copper kettle", "copper kettles", "vicarage murder"])
def test_words_of_a_title_are_settled_alike_with_and_without_vectors(
    catalogue: Catalogue, by_words: Catalogue, question: str
) -> None:
    found = catalogue.find(question)
    assert found.product is not None
    assert found == by_words.find(question)


@pytest.mark.parametrize("typed", ["pupp", "copp", "murd", "bread on op", "garden ho", "kettl"])
def test_titles_suggested_for_the_beginning_of_a_word_are_in_the_answer(
    catalogue: Catalogue, typed: str
) -> None:
    suggested = [one.title for one in catalogue.complete(typed)]
    answer = catalogue.find(typed)
    assert suggested
    assert suggested[0] == answer.hits[0].product.title


def test_a_list_ends_where_the_next_product_is_much_less_like_the_question(
    catalogue: Catalogue,
) -> None:
    found = catalogue.find("a detective story")
    assert found.status is Status.SEVERAL
    assert len(found.hits) < len(PRODUCTS)
    assert not set(found.hits) & set(found.nearest)


def test_an_index_without_vectors_answers_by_words(by_words: Catalogue) -> None:
    assert by_words.find("policeman harbour").product == by_words.get("0000000006")


@pytest.mark.parametrize(
    ("tokens", "words"),
    [
        ("what do you have about cooking", ["cooking"]),
        ("tem algum livro sobre jardim", ["jardim"]),
        ("please recommend something nice for my dog", ["dog"]),
        ("list your books", ["books"]),
        ("what is this", []),
        ("good", ["good"]),
    ],
)
def test_words_that_say_nothing_about_a_product_are_left_out(tokens: str, words: list[str]) -> None:
    assert content_of(tokens.split()) == words
