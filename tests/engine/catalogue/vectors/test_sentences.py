"""A question is compared with the sentence of a record that is most like it."""

from __future__ import annotations

from engine.catalogue.language.phrases import undecided
from engine.catalogue.vectors.sentences import likeness
from engine.core.types import Decision, Hit, Product, Status

OTHER = "The cover is blue. It was printed in Porto. Shipping takes a week. The paper is thick. "


def test_one_sentence_among_many_counts() -> None:
    hidden = Product("1", "Blue Cover", f"{OTHER * 3}It teaches children to play the guitar.")
    plain = Product("2", "Guitarist's Wallet", f"{OTHER * 3}Brown leather with two pockets.")
    first, second = likeness("learn to play the guitar as a child", [hidden, plain])
    assert first > second


def test_a_product_without_a_description_is_compared_by_its_title() -> None:
    assert likeness("a copper kettle", [Product("1", "Copper Kettle", "")])[0] > 0.5
    assert likeness("a copper kettle", []) == []


def test_a_list_of_what_is_only_alike_says_so() -> None:
    hits = tuple(Hit(Product(uid, f"Title {uid}", "Text."), 0.5) for uid in "12")
    listed = Decision(Status.SEVERAL, hits, close=True)
    assert undecided("a kettle", listed, "en").startswith("No title says that.")
    assert undecided("uma chaleira", listed, "pt").startswith("Nenhum título diz isso.")
    assert undecided("kettle", Decision(Status.SEVERAL, hits), "en").startswith("2 products")
