"""Time title completion at every key, and count the letters until the title is offered.

    python -m benchmarks.completion --catalogue /tmp/made/index --titles 200

Random titles are typed letter by letter from the third to the 30th, unchanged and with one typo
(two letters swapped in a word of five letters or more). "Offered" is the share of titles among the
six that are shown.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from engine.catalogue.catalogue import Catalogue

_SHOWN = 6
_LETTERS = 30
_STEPS = (4, 8, 12, 20, 30)
_SWAPPED = 5
_FIRST = 3
"""Shorter text is not completed."""


def main(argv: Sequence[str]) -> int:
    """Measure and print the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--catalogue", type=Path, required=True)
    parser.add_argument("--titles", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args(argv)
    draw = random.Random(chosen.seed)
    catalogue = Catalogue.open(chosen.catalogue)
    titles = _drawn(catalogue, chosen.titles, draw)
    for kind, typed in (
        ("unchanged", titles),
        ("with a typo", [_mistype(t, draw) for t in titles]),
    ):
        _measure(catalogue, kind, titles, typed)
    catalogue.close()
    return 0


def _drawn(catalogue: Catalogue, count: int, draw: random.Random) -> list[str]:
    rows = draw.sample(range(len(catalogue)), min(count, len(catalogue)))
    return list(catalogue._products.titles(rows).values())  # noqa: SLF001 - titles without texts


def _mistype(title: str, draw: random.Random) -> str:
    long = [word for word in title[:_LETTERS].split() if len(word) >= _SWAPPED and word.isalpha()]
    if not long:
        return title
    word = draw.choice(long)
    at = draw.randrange(1, len(word) - 2)
    swapped = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    return title.replace(word, swapped, 1)


def _measure(catalogue: Catalogue, kind: str, titles: list[str], typed: list[str]) -> None:
    times: list[float] = []
    busy: list[float] = []
    offered = dict.fromkeys(_STEPS, 0)
    for title, text in zip(titles, typed, strict=True):
        for letters, prefix in _prefixes(text):
            started, worked = time.perf_counter(), time.thread_time()
            found = catalogue.complete(prefix, _SHOWN)
            times.append((time.perf_counter() - started) * 1000)
            busy.append((time.thread_time() - worked) * 1000)
            whole = letters in _STEPS and (
                prefix == text == title or any(one.title == title for one in found)
            )
            offered[letters] = offered.get(letters, 0) + whole
    print(f"{kind}: {len(times)} completions; ms: {_percentiles(times)}; CPU: {_percentiles(busy)}")
    shares = [f"{offered[step] / len(titles):.0%} after {step}" for step in _STEPS]
    print(f"  offered: {', '.join(shares)} letters")


def _percentiles(times: list[float]) -> str:
    times.sort()
    p50, p95, p99 = (times[int(len(times) * share)] for share in (0.5, 0.95, 0.99))
    return f"p50 {p50:.1f}, p95 {p95:.1f}, p99 {p99:.1f}, worst {times[-1]:.1f}"


def _prefixes(text: str) -> Iterator[tuple[int, str]]:
    for letters in range(_FIRST, _LETTERS + 1):
        yield letters, text[:letters]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
