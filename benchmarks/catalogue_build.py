"""Time `balcao index` and `balcao prepare` against reading the same file with gzip and json.

    python -m benchmarks.catalogue_build --source trn.json.gz --work DIR

Each runs in a separate process; the baseline parses every line and does nothing else.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_BASELINE = """
import gzip, json, sys
with gzip.open(sys.argv[1]) as stream:
    for line in stream:
        try:
            json.loads(line)
        except ValueError:
            pass
"""


@dataclass(frozen=True, slots=True)
class Usage:
    """Wall and CPU seconds, and peak resident memory in MB."""

    wall: float
    cpu: float
    peak: float


def measure(command: Sequence[str]) -> Usage:
    """Run `command` and measure it. Raise CalledProcessError if it fails."""
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    wall = time.perf_counter() - began
    return Usage(wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def make_parser() -> argparse.ArgumentParser:
    """Make the parser."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="a folder to write to")
    parser.add_argument("--rounds", type=int, default=1)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print the results."""
    options = make_parser().parse_args(argv)
    source, work = str(options.source), options.work
    commands = {
        "gzip + json": [sys.executable, "-c", _BASELINE, source],
        "prepare": [sys.executable, "-m", "scripts.prepare", source, "--out", str(work / "prep")],
        "index": [sys.executable, "-m", "scripts.index", source, "--out", str(work / "cat")],
    }
    for _ in range(options.rounds):
        baseline = None
        for name, command in commands.items():
            run = measure(command)
            baseline = baseline or run
            print(
                f"{name:12} {run.wall:7.1f} s ({run.wall / baseline.wall:4.2f} x the baseline),"
                f" {run.cpu:6.1f} s of CPU, peak {run.peak:6.0f} MB",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
