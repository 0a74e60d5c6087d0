"""Ask a catalogue the questions on stdin repeatedly, and print the memory used.

    python -m benchmarks.catalogue_soak --catalogue DIR --count 100000 < questions.txt

It runs in a separate process, so that only serving uses memory.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from engine.catalogue.catalogue import Catalogue


def memory() -> str:
    """Format the resident memory in MB: all of it, and without pages of files."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    resident, anonymous = (int(fields[name].split()[0]) // 1024 for name in ("VmRSS", "RssAnon"))
    return f"resident {resident} MB, {anonymous} MB without pages of files"


def make_parser() -> argparse.ArgumentParser:
    """Make the parser."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--catalogue", type=Path, required=True)
    parser.add_argument("--count", type=int, default=100_000)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Ask and print the memory ten times."""
    options = make_parser().parse_args(argv)
    questions = [line.rstrip("\n") for line in sys.stdin]
    print(f"before opening: {memory()}", flush=True)
    catalogue = Catalogue.open(options.catalogue)
    step = max(1, options.count // 10)
    began = time.perf_counter()
    asked = itertools.islice(itertools.cycle(questions), options.count)
    for number, question in enumerate(asked, 1):
        catalogue.find(question)
        if number % step == 0 or number == 1:
            seconds = time.perf_counter() - began
            print(f"{number:>8,} questions, {seconds:6.1f} s: {memory()}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
