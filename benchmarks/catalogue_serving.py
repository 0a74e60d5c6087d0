"""Measure serving a catalogue: the first answer of a process, memory, many readers, a soak.

python -m benchmarks.catalogue_serving --source trn.json.gz --catalogue DIR [--soak 100000]
"""

from __future__ import annotations

import argparse
import itertools
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.catalogue_queries import queries

_FIRST = """
import sys, time
began = time.perf_counter()
from pathlib import Path
from engine.catalogue.catalogue import Catalogue
catalogue = Catalogue.open(Path(sys.argv[1]))
opened = time.perf_counter()
status = catalogue.find(sys.argv[2]).status
print(round((opened - began) * 1000), round((time.perf_counter() - opened) * 1000), status.value)
"""
_READER = """
import sys
from pathlib import Path
from engine.catalogue.catalogue import Catalogue
catalogue = Catalogue.open(Path(sys.argv[1]))
asked = [line.rstrip("\\n") for line in sys.stdin]
print(sum(bool(catalogue.find(question).hits) for question in asked))
"""


def evict(folder: Path) -> None:
    """Drop the files in `folder` from the page cache."""
    os.sync()
    for path in folder.rglob("*"):
        if path.is_file():
            handle = os.open(path, os.O_RDONLY)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(handle)


def first_answers(folder: Path, questions: Sequence[str]) -> list[str]:
    """Time opening and the first answer in a new process, for each question, cold and warm."""
    lines = []
    for cold, question in itertools.product((True, False), questions):
        if cold:
            evict(folder)
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", _FIRST, str(folder), question],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        opened, found, status = done.stdout.split()
        whole = round((time.perf_counter() - began) * 1000)
        lines.append(
            f"{'cold' if cold else 'warm'}: open {opened} ms, first answer {found} ms ({status}),"
            f" the whole process {whole} ms: {question[:60]!r}"
        )
    return lines


def readers(folder: Path, questions: Sequence[str], count: int = 8) -> list[str]:
    """Ask the same questions in `count` processes at once, and report how each ends."""
    running = [
        subprocess.Popen(
            [sys.executable, "-c", _READER, str(folder)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for _ in range(count)
    ]  # fmt: skip
    ended = [process.communicate("\n".join(questions)) for process in running]
    return [f"{out.strip()} answered, {err.strip() or 'no error'}" for out, err in ended]


def make_parser() -> argparse.ArgumentParser:
    """Make the parser."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--catalogue", type=Path, required=True)
    parser.add_argument("--queries", type=int, default=300, help="of each kind")
    parser.add_argument("--soak", type=int, default=0, help="number of questions of the soak")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print the results."""
    options = make_parser().parse_args(argv)
    held_out = options.source.parent / "held_out.jsonl"
    asked = queries(options.source, held_out, options.queries, seed=23)
    questions = [query.text.replace("\n", " ") for query in asked]
    some = [questions[0], questions[len(questions) // 2], questions[-1]]
    print("\n".join(first_answers(options.catalogue, some)), flush=True)
    print("\n".join(readers(options.catalogue, questions[::4])), flush=True)
    if options.soak:
        command = [sys.executable, "-m", "benchmarks.catalogue_soak"]
        command += ["--catalogue", str(options.catalogue), "--count", str(options.soak)]
        subprocess.run(command, input="\n".join(questions), text=True, check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
