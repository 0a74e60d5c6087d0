"""Compare the catalogue with SQLite FTS5 on the same titles and questions.

    python -m benchmarks.catalogue_rival --source trn.json.gz --catalogue DIR --work DIR

FTS5 ranks by BM25; its first row counts as its answer, its first ten as its list. Words are folded
in the same way, so that only searching and deciding differ.
"""

from __future__ import annotations

import argparse
import itertools
import sqlite3
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.catalogue_queries import Query, queries
from engine.catalogue.catalogue import Catalogue
from engine.catalogue.clean import clean_rows
from engine.catalogue.folding import tokenise
from engine.catalogue.formats.counts import Counts
from engine.catalogue.read import read_rows


@dataclass(slots=True)
class RivalScore:
    """Results of one kind: right first, right in the first ten, and times in milliseconds."""

    asked: int = 0
    first: int = 0
    ten: int = 0
    times: list[float] = field(default_factory=list)

    def add(self, query: Query, uids: Sequence[str], took: float) -> None:
        """Count an answer."""
        self.asked += 1
        self.first += list(uids[:1]) == [query.uid]
        self.ten += query.uid in uids[:10]
        self.times.append(took)

    def line(self) -> str:
        """Format a row of the table."""
        times = sorted(self.times)
        return (
            f"{100 * self.first / self.asked:6.1f} {100 * self.ten / self.asked:6.1f}"
            f" {times[len(times) // 2]:8.2f} {times[int(len(times) * 0.95)]:8.2f}"
        )


def build_rival(source: Path, file: Path) -> float:
    """Fill an FTS5 table with the folded titles, and return the seconds."""
    began = time.perf_counter()
    file.unlink(missing_ok=True)
    connection = sqlite3.connect(file)
    connection.executescript(
        "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF;"
        "CREATE VIRTUAL TABLE title USING fts5(words, uid UNINDEXED, detail=none)"
    )
    connection.executemany("INSERT INTO title VALUES (?, ?)", _titles(source))
    connection.commit()
    connection.close()
    return time.perf_counter() - began


def _titles(source: Path) -> Iterator[tuple[str, str]]:
    counts = Counts()
    for product in clean_rows(read_rows(source, counts), counts):
        if product.title:
            yield " ".join(tokenise(product.title)), product.uid


def ask_rival(connection: sqlite3.Connection, question: str) -> list[str]:
    """Return the uids of the ten best rows."""
    asked = " OR ".join(f'"{word}"' for word in dict.fromkeys(tokenise(question)))
    if not asked:
        return []
    return [
        uid
        for (uid,) in connection.execute(
            "SELECT uid FROM title WHERE title MATCH ? ORDER BY rank LIMIT 10", [asked]
        )
    ]


def compare(
    asked: Sequence[Query], catalogue: Catalogue, connection: sqlite3.Connection
) -> dict[str, tuple[RivalScore, RivalScore]]:
    """Ask both each question, and return the scores by kind, those of the catalogue first."""
    found: dict[str, tuple[RivalScore, RivalScore]] = {}
    for query in asked:
        ours, theirs = found.setdefault(query.kind, (RivalScore(), RivalScore()))
        began = time.perf_counter()
        hits = catalogue.find(query.text).hits
        ours.add(query, [hit.product.uid for hit in hits], (time.perf_counter() - began) * 1000)
        began = time.perf_counter()
        uids = ask_rival(connection, query.text)
        theirs.add(query, uids, (time.perf_counter() - began) * 1000)
    return found


def make_parser() -> argparse.ArgumentParser:
    """Make the parser."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--catalogue", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="a folder for the FTS5 file")
    parser.add_argument("--queries", type=int, default=60, help="of each kind")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print the results."""
    options = make_parser().parse_args(argv)
    held_out = options.source.parent / "held_out.jsonl"
    asked = queries(options.source, held_out, options.queries, seed=31)
    known = [query for query in asked if query.uid and query.kind != "described"]
    file = options.work / "rival.db"
    print(f"FTS5 built in {build_rival(options.source, file):.0f} s")
    catalogue = Catalogue.open(options.catalogue)
    found = compare(known, catalogue, sqlite3.connect(file))
    print(f"{'':15} {'ours':^31}  {'SQLite FTS5':^31}")
    print(f"{'kind':15}" + 2 * f" {'first %':>7} {'ten %':>6} {'p50 ms':>8} {'p95 ms':>8}")
    for kind, (ours, theirs) in found.items():
        print(f"{kind:15} {ours.line()}  {theirs.line()}")
    both = [
        sum(itertools.chain.from_iterable(pair[side].times for pair in found.values()))
        for side in (0, 1)
    ]
    print(f"all questions: ours {both[0]:.0f} ms, FTS5 {both[1]:.0f} ms: {both[1] / both[0]:.1f} x")
    return 0


if __name__ == "__main__":
    sys.exit(main())
