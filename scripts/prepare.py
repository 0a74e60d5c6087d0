"""Writes training data: `balcao prepare trn.json.gz --out DIR`.

python -m scripts.prepare trn.json.gz --out data/rows --limit 10000
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from engine.catalogue.prepare import PrepareConfig, prepare
from engine.core.files import Manifest
from scripts.common import DONE, ProgressLine, guarded


def make_parser() -> argparse.ArgumentParser:
    """The options of `balcao prepare`."""
    parser = argparse.ArgumentParser(
        prog="balcao prepare",
        description="Clean, sample and split a data set into training rows.",
    )
    parser.add_argument(
        "source",
        type=Path,
        metavar="TRN",
        help="trn.json, trn.json.gz, the zip they come in, or JSONL; - is standard input",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", required=True)
    parser.add_argument("--limit", type=int, metavar="N", help="products to take (default: all)")
    parser.add_argument("--seed", type=int, default=0, metavar="S")
    parser.add_argument("--valid", type=float, default=0.05, metavar="F", help="share, 0 to 1")
    parser.add_argument("--test", type=float, default=0.05, metavar="F", help="share, 0 to 1")
    parser.add_argument(
        "--forms",
        type=int,
        default=1,
        metavar="K",
        help="rows for each product, worded differently; beyond 16 with titles in lower case",
    )
    parser.add_argument(
        "--grounded",
        type=int,
        default=0,
        metavar="N",
        help="so many products beyond --limit, one row each with the record before the question,"
        " so that a fine-tune goes on answering from a record that it is shown",
    )
    parser.add_argument("--json", action="store_true", help="print the manifest as JSON")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run; 0 when written, 1 when it failed, 2 for wrong usage, 130 on Ctrl-C."""
    options = make_parser().parse_args(argv)
    return guarded(lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    config = PrepareConfig(
        options.limit,
        options.seed,
        options.valid,
        options.test,
        options.forms,
        options.grounded,
    )
    with ProgressLine(sys.stderr) as progress:
        made = prepare(options.source, options.out, config, progress.show)
    print(msgspec.json.encode(made).decode() if options.json else _as_text(options.out, made))
    return DONE


def _as_text(folder: Path, made: Manifest) -> str:
    lines = [f"{made.counts['kept']:,} products in {folder}"]
    lines.extend(f"  {name}.jsonl: {rows:,} rows" for name, rows in made.counts["splits"].items())
    if shown := sum(made.counts["grounded"].values()):
        lines.append(f"  of these with the record before the question: {shown:,}")
    rejected = made.counts["rejected"]
    lines.extend(f"  left out, {reason}: {count:,}" for reason, count in rejected.items())
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
