"""Measure how well and how fast editions are recognised among made rows.

    python -m benchmarks.catalogue_families [--rows 200000] [--seed 5]

The made rows have families by title: colours, sizes and editions, with different descriptions.
Every 25th row with a description of 20 words gets a twin: another subtitle or format, and every
30th word of the description changed. recall: the pairs of one family that are found; precision:
the pairs found that are of one family, or have the same title and text.
"""

from __future__ import annotations

import argparse
import itertools
import random
import resource
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence

from benchmarks.generate_catalogue import RowGenerator
from engine.catalogue.clean import clean
from engine.catalogue.families import Texts, bands_of, link_families

_TWIN_EVERY = 25
_MIN_WORDS = 20
_CHANGED_EVERY = 30
_BATCH = 2_000
_ENDINGS = (" (Paperback)", " [Hardcover]", ": A Novel", ", 2nd Edition", " - Large Print", "")


class FamilyGenerator(RowGenerator):
    """Generate rows and remember the families of their titles; volumes are no editions."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.family = 0
        """That of the last row, 0 without one."""
        self._families = itertools.count(1)

    def _title(self) -> str:
        continues = bool(self._family)
        self.family = self.family if continues else 0
        return super()._title()

    def _have_family(self, title: str) -> None:
        super()._have_family(title)
        is_edition = "Vol. " not in self._family[0].removeprefix(title)
        self.family = next(self._families) if is_edition else 0


def make_rows(count: int, seed: int) -> tuple[list[Texts], list[int]]:
    """Return titles and descriptions, and the number of each row's family, or 0."""
    generator, draw = FamilyGenerator(seed), random.Random(seed)
    texts: list[Texts] = []
    families: list[int] = []
    twins = itertools.count(-1, -1)
    for number in range(count):
        row = generator.row(number)
        title, description = clean(row["title"]), clean(row["content"])
        texts.append((title, description))
        # A row without a title leaves the family's titles to those after it.
        families.append(generator.family if title else 0)
        long = len(description.split()) >= _MIN_WORDS
        if number % _TWIN_EVERY == 0 and title and long and not families[-1]:
            families[-1] = next(twins)
            families.append(families[-1])
            texts.append((title + draw.choice(_ENDINGS), _changed(description, draw)))
    return texts, families


def _changed(description: str, draw: random.Random) -> str:
    words = description.split()
    for start in range(0, len(words), _CHANGED_EVERY):
        words[draw.randrange(start, min(start + _CHANGED_EVERY, len(words)))] = "changed"
    return " ".join(words)


def find(texts: Sequence[Texts]) -> tuple[dict[int, int], float]:
    """Return the family of each row that has one, and the seconds of CPU."""
    import numpy as np

    began = time.process_time()
    batches = [bands_of(texts[start : start + _BATCH]) for start in range(0, len(texts), _BATCH)]
    found = link_families(np.concatenate(batches), lambda rows: {row: texts[row] for row in rows})
    return found, time.process_time() - began


def pairs_of(families: Iterable[tuple[int, int]]) -> set[tuple[int, int]]:
    """Return the pairs of rows, the lower first, that have the same family."""
    rows = defaultdict(list)
    for row, family in families:
        rows[family].append(row)
    return {pair for members in rows.values() for pair in itertools.combinations(members, 2)}


def make_parser() -> argparse.ArgumentParser:
    """Make the parser."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=5)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Make the rows, find their families and print the shares."""
    options = make_parser().parse_args(argv)
    texts, families = make_rows(options.rows, options.seed)
    found, seconds = find(texts)
    right = pairs_of((row, family) for row, family in enumerate(families) if family)
    twins = {pair for pair in right if families[pair[0]] < 0}
    got = pairs_of(found.items())
    same = {(one, other) for one, other in got if texts[one] == texts[other]}
    print(f"{len(texts):,} rows, {len(set(found.values())):,} families of {len(found):,} rows")
    print(f"recall: nearly the same text {100 * len(twins & got) / len(twins):.1f} %,", end=" ")
    titled = right - twins
    print(f"titles {100 * len(titled & got) / len(titled):.1f} %", end="; ")
    print(f"precision {100 * len(got & (right | same)) / len(got):.1f} %")
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"{seconds:.1f} s of CPU, {1e6 * seconds / len(texts):.0f} µs a row; peak {memory} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
