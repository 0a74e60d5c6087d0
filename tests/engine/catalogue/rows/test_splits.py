"""Families are in one split, and each share has the size that was asked for."""

from __future__ import annotations

import random
from collections import Counter

import msgspec
import pytest

from engine.catalogue.rows.splits import SPLITS, TEST, TRAIN, VALID, Splitter, divide

WORDS = [f"word{number}" for number in range(3_000)]
Products = list[tuple[bool, tuple[str, str, str]]]


def family(number: int, size: int) -> Products:
    """Make editions of one thing: the title and most of the text are the same."""
    text = random.Random(number).sample(WORDS, 40)  # noqa: S311 - not for security
    editions = ["", " (Paperback)", " (Hardcover)", " (Kindle Edition)", " (Audio CD)"]
    return [
        (True, (f"{number}-{at}", f"{text[0]} {text[1]} {text[2]}{editions[at]}", " ".join(text)))
        for at in range(size)
    ]


def products(*sizes: int) -> Products:
    return [one for number, size in enumerate(sizes) for one in family(number, size)]


def splits_of_families(found: dict[str, str]) -> dict[str, set[str]]:
    of_family: dict[str, set[str]] = {}
    for uid, split in found.items():
        of_family.setdefault(uid.partition("-")[0], set()).add(split)
    return of_family


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("count", [3, 10, 60, 400])
def test_a_small_set_has_the_shares_that_were_asked_for(count: int, seed: int) -> None:
    found = divide(products(*[1] * count), Splitter(0.2, 0.1, seed))
    sizes = Counter(found.splits.values())
    assert sizes[VALID] == max(1, round(0.2 * count))
    assert sizes[TEST] == max(1, round(0.1 * count))
    assert sum(sizes.values()) == count == found.families


@pytest.mark.parametrize("seed", range(5))
def test_families_stay_together_and_shares_are_near(seed: int) -> None:
    sizes = [1, 2, 3, 4, 5] * 8
    found = divide(products(*sizes), Splitter(0.2, 0.1, seed))
    assert found.families == len(sizes)
    assert all(len(one) == 1 for one in splits_of_families(dict(found.splits)).values())
    counted = Counter(found.splits.values())
    assert abs(counted[VALID] - 24) <= 5
    assert abs(counted[TEST] - 12) <= 5


@pytest.mark.parametrize(
    ("sizes", "wanted"),
    [((1,), {TRAIN: 1}), ((5,), {TRAIN: 5}), ((1, 1), {TRAIN: 1, VALID: 1}),
     ((5, 5, 5), {TRAIN: 5, VALID: 5, TEST: 5})],
)  # fmt: skip
def test_training_always_has_a_family(sizes: tuple[int, ...], wanted: dict[str, int]) -> None:
    assert Counter(divide(products(*sizes), Splitter(0.05, 0.05, 0)).splits.values()) == wanted


def test_no_share_is_no_product() -> None:
    assert set(divide(products(*[1] * 50), Splitter(0, 0, 0)).splits.values()) == {TRAIN}


def test_products_of_one_description_are_together() -> None:
    given = [(True, (str(n), f"Title {n}", f"VHS {n // 3}.")) for n in range(300)]
    found = divide(given, Splitter(0.3, 0.3, 1)).splits
    assert all(len({found[str(n + at)] for at in range(3)}) == 1 for n in range(0, 300, 3))


def test_more_products_do_not_move_those_of_a_large_set() -> None:
    splitter = Splitter(0.2, 0.1, 0)
    large = products(*[1, 2] * 350)
    before = divide(large, splitter).splits
    after = divide([*products(*[1, 2] * 350, 1, 1, 3), *family(900, 5)], splitter).splits
    assert all(after[uid] == split for uid, split in before.items())
    assert all(len(one) == 1 for one in splits_of_families(dict(before)).values())
    shares = Counter(before.values())
    assert {split: round(shares[split] / len(large), 1) for split in SPLITS} == {
        TRAIN: 0.7, VALID: 0.2, TEST: 0.1,
    }  # fmt: skip


def test_a_product_with_its_record_only_follows_its_family() -> None:
    learned = products(*[2] * 30)
    shown = [(False, (f"{n}-9", *texts[1:])) for n, (_, texts) in enumerate(learned[::2])]
    found = divide([*learned, *shown], Splitter(0.3, 0.3, 0)).splits
    assert {uid: found[uid] for _, (uid, *_) in learned} == divide(
        learned, Splitter(0.3, 0.3, 0)
    ).splits
    assert all(len(one) == 1 for one in splits_of_families(dict(found)).values())


def test_a_product_alone_in_a_large_set_is_split_by_its_description() -> None:
    splitter = Splitter(0.2, 0.1, 7)
    large = products(*[1] * 1_000)
    wanted = {
        texts[0]: splitter.split(splitter.rank(msgspec.json.encode(texts[2]))) for _, texts in large
    }
    assert divide(large, splitter).splits == wanted
