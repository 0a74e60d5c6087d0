"""Kill `balcao index` and `balcao prepare` at random moments and check the results.

    python -m benchmarks.catalogue_kills --source trn.json.gz --work DIR --kills 20

After each kill the folder must be complete (the old or the new one) or missing. At the end a run
without a kill must succeed and delete the leftovers.
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
    """Check an index folder. Raise AssertionError if it is incomplete."""
    if not out.exists():
        return "missing"
    catalogue = Catalogue.open(out)
    kept = read_manifest(out).counts["kept"]
    if len(catalogue) != kept:
        raise AssertionError(f"{len(catalogue)} products instead of {kept}")
    catalogue.close()
    return "complete"


def check_rows(out: Path) -> str:
    """Check a folder of training rows. Raise AssertionError if it is incomplete."""
    if not out.exists():
        return "missing"
    for split, count in read_manifest(out).counts["splits"].items():
        with (out / f"{split}.jsonl").open("rb") as stream:
            found = sum(1 for _ in stream)
        if found != count:
            raise AssertionError(f"{split}: {found} rows instead of {count}")
    return "complete"


def kill_often(command: Sequence[str], out: Path, kills: int, check: Callable[[Path], str]) -> str:
    """Run and kill `command` repeatedly, and summarise the results in a line."""
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    whole = time.perf_counter() - began
    draw = random.Random(1)
    found: dict[str, int] = {}
    for number in range(kills):
        if number == kills // 2:
            shutil.rmtree(out)  # From here on a kill can leave nothing.
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
    """Make the parser."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="a folder to write to")
    parser.add_argument("--kills", type=int, default=20)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Kill both commands and print the results."""
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
