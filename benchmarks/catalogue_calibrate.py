"""Vary each threshold of `engine.catalogue.decide` and report the effect on the answers.

    python -m benchmarks.catalogue_calibrate --source trn.json.gz --catalogue DIR

Run it on another catalogue than `catalogue_accuracy` (generate_catalogue with another seed), so
that the thresholds are not tested on the data that sets them.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.catalogue_accuracy import measure
from benchmarks.catalogue_queries import Query, queries
from engine.catalogue.catalogue import Catalogue
from engine.catalogue.confidence import DEFAULT, Thresholds

_VALUES: dict[str, tuple[float, ...]] = {
    "title_words": (0.4, 0.45, 0.5, 0.55, 0.6),
    "title_share": (0.2, 0.3, 0.35, 0.4, 0.5),
    "single_words": (0.5, 0.6, 0.7, 1.0),
    "edited_words": (0.5, 0.6, 0.7, 0.8),
    "rival": (0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
    "edit_share": (0.15, 0.2, 0.25, 0.34, 0.45),
    "listed": (0.1, 0.2, 0.3, 0.4),
    "few_listed": (0.4, 0.6, 0.8),
    "body_likely": (0.75, 0.85, 0.95),
    "body_lead": (0.1, 0.2, 0.3),
    "named_share": (0.4, 0.5, 0.6, 0.8),
}
_SHOWN = ("typos", "typos asked", "partial", "shuffled", "described")


@dataclass(frozen=True, slots=True)
class Effect:
    """Percentages: sure answers that are right, missing titles answered as sure, right by kind."""

    sure_right: float
    lacking_sure: float
    right: dict[str, float]


def measure_effect(folder: Path, asked: Sequence[Query], thresholds: Thresholds) -> Effect:
    """Ask all questions with these thresholds."""
    catalogue = Catalogue.open(folder, thresholds)
    tallies = measure(catalogue, asked)
    catalogue.close()
    known = [one for kind, one in tallies.items() if not kind.startswith("lacking")]
    lacking = [one for kind, one in tallies.items() if kind.startswith("lacking")]
    return Effect(
        _percent(sum(one.sure_right for one in known), sum(one.sure for one in known)),
        _percent(sum(one.sure for one in lacking), sum(one.asked for one in lacking)),
        {kind: _percent(tallies[kind].right, tallies[kind].asked) for kind in _SHOWN},
    )


def _percent(part: int, whole: int) -> float:
    return 100 * part / whole if whole else 0.0


def line(name: str, value: float, effect: Effect) -> str:
    """Format a row of the report."""
    kinds = "".join(f" {effect.right[kind]:11.1f}" for kind in _SHOWN)
    mark = "*" if value == getattr(DEFAULT, name) else " "
    return (
        f"{name:14} {value:5.2f}{mark} {effect.sure_right:10.2f} {effect.lacking_sure:12.2f}{kinds}"
    )


def make_parser() -> argparse.ArgumentParser:
    """Make the parser."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--catalogue", type=Path, required=True)
    parser.add_argument("--queries", type=int, default=300, help="of each kind")
    parser.add_argument("--seed", type=int, default=5)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Measure all values and print the effects; a star marks the default."""
    options = make_parser().parse_args(argv)
    held_out = options.source.parent / "held_out.jsonl"
    asked = queries(options.source, held_out, options.queries, options.seed)
    print(f"{'threshold':14} {'value':>6} {'sure right':>10} {'lacking sure':>12}", end="")
    print("".join(f" {kind:>11}" for kind in _SHOWN), flush=True)
    for name, values in _VALUES.items():
        for value in values:
            changes: dict[str, Any] = {name: value}
            changed = dataclasses.replace(DEFAULT, **changes)
            print(line(name, value, measure_effect(options.catalogue, asked, changed)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
