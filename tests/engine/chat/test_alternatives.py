"""What is wanted instead of the product in hand."""

from __future__ import annotations

import pytest

from engine.catalogue.catalogue import Catalogue
from engine.chat.alternatives import alternatives, listed
from engine.core.types import Decision, Product, Status

GREEN = "1000000004"
BLUE = "1000000005"


@pytest.fixture
def stool(catalogue: Catalogue) -> Product:
    found = catalogue.get(GREEN)
    assert found
    return found


@pytest.mark.parametrize(
    "question",
    [
        "something similar",
        "do you have anything like it?",
        "more like this",
        "others like that one",
        "what else do you have like it?",
        "algo parecido",
        "tem outros parecidos?",
        "outro como este",
    ],
)
def test_similar_products_are_listed(catalogue: Catalogue, stool: Product, question: str) -> None:
    decision = alternatives(catalogue, stool, question)
    assert decision is not None
    assert decision.status is Status.SEVERAL
    uids = [hit.product.uid for hit in decision.hits]
    assert uids[0] == BLUE
    assert GREEN not in uids


@pytest.mark.parametrize(
    "question",
    [
        "do you have it in blue?",
        "the blue one instead",
        "the blue one",
        "the blue version",
        "tem a versão blue?",
    ],
)
def test_another_version_of_the_product_is_found(
    catalogue: Catalogue, stool: Product, question: str
) -> None:
    decision = alternatives(catalogue, stool, question)
    assert decision is not None
    assert decision.product is not None
    assert decision.product.uid == BLUE


@pytest.mark.parametrize(
    "question",
    [
        "what size is it?",
        "is it similar to a chair?",
        "do you have it in purple?",
        "Canvas Stool, Blue",
        "jazz",
        "I like it",
    ],
)
def test_other_questions_are_left_alone(
    catalogue: Catalogue, stool: Product, question: str
) -> None:
    assert alternatives(catalogue, stool, question) is None


def test_a_version_that_is_missing_offers_similar_products(
    catalogue: Catalogue, stool: Product
) -> None:
    decision = alternatives(catalogue, stool, "the DVD instead")
    assert decision is not None
    assert (decision.status, decision.product) == (Status.NONE, None)
    assert decision.nearest


def test_a_list_of_a_kind_is_filled_up(catalogue: Catalogue) -> None:
    meant = catalogue.find("Canvas Stool, Blue")
    assert listed(catalogue, "list your stools", meant) == meant  # a whole title stays
    found = listed(catalogue, "list your stools", Decision(Status.NONE))
    assert found.status is Status.SEVERAL
    assert {hit.product.uid for hit in found.hits} == {GREEN, BLUE}
    unknown = Decision(Status.NONE)
    assert listed(catalogue, "list your zebras", unknown) == unknown
    assert listed(catalogue, "Canvas Stool", unknown) == unknown
