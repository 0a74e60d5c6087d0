"""Divide products between training, validation and test, by families and by hashes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import msgspec

from engine.catalogue.rows.typist import make_salt

TRAIN, VALID, TEST = "train", "valid", "test"
SPLITS = (TRAIN, VALID, TEST)
COUNTED_BELOW = 1_000
"""Products. Of fewer, the shares are counted; a hash would leave one of ten to chance."""
FAMILIES_UP_TO = 50_000
"""Products that are compared with each other, in memory."""
HASHES = 1 << 64

_Texts = tuple[str, str, str]
"""Uid, title, description."""
_Family = list[int]


def hash_of(data: bytes, salt: bytes) -> int:
    """Hash to 0 to 2^64 - 1."""
    return int.from_bytes(blake2b(data, digest_size=8, salt=salt).digest(), "big")


class Splitter:
    """Assign descriptions to splits by their hash. `valid` and `test` are shares, 0 to 1."""

    def __init__(self, valid: float, test: float, seed: int) -> None:
        self.shares = {VALID: valid, TEST: test}
        self._valid = int(valid * HASHES)
        self._test = int((valid + test) * HASHES)
        self._salt = make_salt(str(seed))

    def rank(self, description: bytes) -> int:
        """Return the hash of a description, given as JSON."""
        return hash_of(description, self._salt)

    def split(self, rank: int) -> str:
        """Return the split of a hash."""
        return VALID if rank < self._valid else TEST if rank < self._test else TRAIN


@dataclass(frozen=True)
class Division:
    """The split of each uid, and how many families the products to learn have."""

    splits: Mapping[str, str]
    families: int = 0


def divide(products: Sequence[tuple[bool, _Texts]], splitter: Splitter) -> Division:
    """Divide all products of a set; those with False have a grounded row only.

    A family is in one split. Below 1,000 products to learn, each share gets as many as asked, to
    within a family. Otherwise the lowest hash of a family decides, so that other products do not
    change its split.
    """
    ranks = [splitter.rank(msgspec.json.encode(texts[2])) for _, texts in products]
    learned = [place for place, (taught, _) in enumerate(products) if taught]
    families = _families(learned, products)
    families.sort(key=lambda family: min(ranks[place] for place in family))
    if len(learned) < COUNTED_BELOW:
        found = dict(_counted(families, len(learned), splitter.shares))
    else:
        found = {
            place: splitter.split(min(ranks[one] for one in family))
            for family in families
            for place in family
        }
    if len(learned) < len(products):
        for family in _families(range(len(products)), products):
            lowest = splitter.split(min(ranks[place] for place in family))
            split = next((found[place] for place in family if place in found), lowest)
            found |= {place: split for place in family if place not in found}
    splits = {products[place][1][0]: split for place, split in found.items()}
    return Division(splits, len(families))


def _families(places: Iterable[int], products: Sequence[tuple[bool, _Texts]]) -> list[_Family]:
    """Group products that are editions of one thing or have the same description."""
    from engine.catalogue.families import find_families

    texts = {place: products[place][1] for place in places}
    first_of = find_families((place, title, text) for place, (_, title, text) in texts.items())
    by_text: dict[str, int] = {}
    joined: dict[int, int] = {}

    def root(place: int) -> int:
        while place in joined:
            place = joined[place]
        return place

    for place, (_, _, text) in texts.items():
        for other in (first_of.get(place, place), by_text.setdefault(text, place)):
            one, two = root(place), root(other)
            if one != two:
                joined[max(one, two)] = min(one, two)
    grouped: dict[int, _Family] = defaultdict(list)
    for place in texts:
        grouped[root(place)].append(place)
    return list(grouped.values())


def _counted(
    families: list[_Family], products: int, shares: Mapping[str, float]
) -> Iterator[tuple[int, str]]:
    """Fill each share with the first families that fit, and leave the others for training."""
    left = list(families)
    for split, share in shares.items():
        wanted = max(1, round(share * products)) if share else 0
        taken = _fitting(left, wanted)
        left = [family for family in left if family not in taken]
        yield from ((place, split) for family in taken for place in family)
    yield from ((place, TRAIN) for family in left for place in family)


def _fitting(families: list[_Family], wanted: int) -> list[_Family]:
    """Choose families of `wanted` products together, at least one and never all."""
    taken: list[_Family] = []
    for family in families:
        if len(family) <= wanted and len(taken) < len(families) - 1:
            taken.append(family)
            wanted -= len(family)
    if wanted and not taken and len(families) > 1:
        return [min(families, key=len)]
    return taken
