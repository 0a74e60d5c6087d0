"""Kills `balcao index` and `balcao prepare` at random moments, and looks at what is left.

    python -m benchmarks.catalogue_kills --source trn.json.gz --work DIR --kills 20

After each kill the folder must be whole (an old one, or a new one) or not there; at the end an
undisturbed run must succeed and sweep up what the killed ones left.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from engine.catalogue.catalogue import Catalogue
from engine.core.files import read_manifest


def check_index(out: Path) -> str:
    """What is in the folder. Raises if it is not whole."""
    if not out.exists():
        return "none"
    catalogue = Catalogue.open(out)
    kept = read_manifest(out).counts["kept"]
    if len(catalogue) != kept:
        raise AssertionError(f"{len(catalogue)} products instead of {kept}")
    catalogue.close()
    return "whole"


def check_rows(out: Path) -> str:
    """The same for training rows."""
    if not out.exists():
        return "none"
    for split, count in read_manifest(out).counts["splits"].items():
        with (out / f"{split}.jsonl").open("rb") as stream:
            found = sum(1 for _ in stream)
        if found != count:
            raise AssertionError(f"{split}: {found} rows instead of {count}")
    return "whole"


def kill_often(command: Sequence[str], out: Path, kills: int, check: Callable[[Path], str]) -> str:
    """Run and kill `command` that many times; returns what was found, in a line."""
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    whole = time.perf_counter() - began
    draw = random.Random(1)
    found: dict[str, int] = {}
    for number in range(kills):
        if number == kills // 2:
            shutil.rmtree(out)  # From here on there is no old one to keep.
        running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(draw.uniform(0.05, whole))
        running.send_signal(signal.SIGKILL)
        running.wait()
        state = check(out)
        found[state] = found.get(state, 0) + 1
    subprocess.run(command, check=True, capture_output=True)
    left = [path.name for path in out.parent.glob(f".{out.name}.*-*")]
    return f"after {kills} kills: {found}; the next run: {check(out)}, left over: {left or 'none'}"


def make_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="a folder to write to")
    parser.add_argument("--kills", type=int, default=20)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Kill and report."""
    options = make_parser().parse_args(argv)
    for module, check in (("index", check_index), ("prepare", check_rows)):
        out = options.work / f"killed-{module}"
        command = [sys.executable, "-m", f"scripts.{module}"]
        command += [str(options.source), "--out", str(out)]
        print(f"{module}: {kill_often(command, out, options.kills, check)}", flush=True)
        shutil.rmtree(out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
