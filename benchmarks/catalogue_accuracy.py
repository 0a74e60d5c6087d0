"""Measure accuracy and speed of a catalogue's answers, by kind of question.

    python -m benchmarks.catalogue_accuracy --source trn.json.gz --catalogue DIR [--queries 500]

"Right" means that the product is the answer, or one of the first ten of `several`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.catalogue_queries import Query, queries
from engine.catalogue.catalogue import Catalogue
from engine.core.types import Decision, Status

_SURE = (Status.EXACT, Status.LIKELY)


@dataclass(slots=True)
class Tally:
    """Results for questions of one kind; times in milliseconds."""

    asked: int = 0
    right: int = 0
    first: int = 0
    sure: int = 0
    sure_right: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    times: list[float] = field(default_factory=list)

    def add(self, query: Query, decision: Decision, took: float) -> None:
        """Count an answer."""
        uids = [hit.product.uid for hit in decision.hits]
        self.asked += 1
        self.statuses[decision.status.value] += 1
        self.times.append(took)
        self.first += uids[:1] == [query.uid]
        self.right += query.uid in uids[:10]
        if decision.status in _SURE:
            self.sure += 1
            self.sure_right += uids[:1] == [query.uid]


def measure(catalogue: Catalogue, asked: Sequence[Query], *, show: int = 0) -> dict[str, Tally]:
    """Ask all questions, and print at most `show` failures of each kind."""
    tallies: dict[str, Tally] = {}
    shown: Counter[str] = Counter()
    for query in asked:
        began = time.perf_counter()
        decision = catalogue.find(query.text)
        took = (time.perf_counter() - began) * 1000
        tallies.setdefault(query.kind, Tally()).add(query, decision, took)
        if _failed(query, decision) and shown[query.kind] < show:
            shown[query.kind] += 1
            _show(query, decision)
    return tallies


def _failed(query: Query, decision: Decision) -> bool:
    if not query.uid:
        return decision.status in _SURE
    uids = [hit.product.uid for hit in decision.hits]
    return query.uid not in uids or (decision.status in _SURE and uids[0] != query.uid)


def _show(query: Query, decision: Decision) -> None:
    print(f"  {query.kind}: {query.text[:150]!r}\n    meant: {query.title[:150]}")
    for name, hits in (("hit", decision.hits), ("near", decision.nearest)):
        for hit in hits[:3]:
            print(f"    {decision.status.value} {name} {hit.score:.3f}: {hit.product.title[:150]}")


def report(tallies: dict[str, Tally]) -> str:
    """Format the tallies as a table, with the totals."""
    lines = [
        "kind             asked  right %  first %  sure % of it right %  p50 ms  p95 ms  statuses"
    ]
    for kind, one in tallies.items():
        times = sorted(one.times)
        lines.append(
            f"{kind:15} {one.asked:6} {_percent(one.right, one.asked):>8}"
            f" {_percent(one.first, one.asked):>8} {_percent(one.sure, one.asked):>7}"
            f" {_percent(one.sure_right, one.sure):>13} {times[len(times) // 2]:7.2f}"
            f" {times[int(len(times) * 0.95)]:7.2f}  {json.dumps(one.statuses)}"
        )
    known = [one for kind, one in tallies.items() if not kind.startswith("lacking")]
    lacking = [one for kind, one in tallies.items() if kind.startswith("lacking")]
    times = sorted(took for one in tallies.values() for took in one.times)
    sure = sum(one.sure for one in known)
    lines.append(
        f"answered as exact or likely, right: {_percent(sum(o.sure_right for o in known), sure)} %;"
        f" lacking titles answered so:"
        f" {_percent(sum(o.sure for o in lacking), sum(o.asked for o in lacking))} %;"
        f" p50 {times[len(times) // 2]:.2f} ms, p95 {times[int(len(times) * 0.95)]:.2f} ms"
    )
    return "\n".join(lines)


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.2f}" if whole else "-"


def make_parser() -> argparse.ArgumentParser:
    """Make the parser."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--catalogue", type=Path, required=True)
    parser.add_argument("--queries", type=int, default=500, help="of each kind")
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--show", type=int, default=0, help="failures to print of each kind")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print the results."""
    options = make_parser().parse_args(argv)
    held_out = options.source.parent / "held_out.jsonl"
    asked = queries(options.source, held_out, options.queries, options.seed)
    catalogue = Catalogue.open(options.catalogue)
    tallies = measure(catalogue, asked, show=options.show)
    print(f"{len(catalogue):,} products, {len(asked):,} questions")
    print(report(tallies))
    return 0


if __name__ == "__main__":
    sys.exit(main())
