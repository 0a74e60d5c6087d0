"""Fine-tune a Llama on this machine: LoRA, on a GPU or a CPU.

balcao train --data data/rows --base models/llama --out models/lora --recipe exact
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Self

from engine import manifest
from engine.errors import EngineUnavailable, UsageError
from engine.training import lora_folder
from engine.training.lora_recipe import Recipe, read_recipe
from scripts.common import DONE, INTERRUPTED, guarded, say
from scripts.progress import ProgressLine

if TYPE_CHECKING:
    from engine.training.lora_train import Base

_RECIPES = Path(__file__).resolve().parent / "recipes"
_DEFAULT = "exact"


def make_parser() -> argparse.ArgumentParser:
    """The options of `balcao train`."""
    named = ", ".join(sorted(file.stem for file in _RECIPES.glob("*.toml")))
    parser = argparse.ArgumentParser(
        prog="balcao train",
        description="Fine-tune a Llama by LoRA on the rows that `balcao prepare` wrote.",
    )
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="holds train.jsonl")
    parser.add_argument("--base", required=True, metavar="MODEL", help="a folder, or a hub id")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the adapter's")
    parser.add_argument(
        "--recipe",
        default=_DEFAULT,
        metavar="FILE",
        help=f"a TOML file, or one of {named} (default: {_DEFAULT})",
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="over the recipe's value"
    )
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out")
    parser.add_argument("--dry-run", action="store_true", help="check and count, train nothing")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run; 0 when done, 1 when it failed, 2 for wrong usage, 130 on Ctrl-C."""
    options = make_parser().parse_args(argv)
    return guarded(lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    from engine.training.lora_train import LoraRun, check_packages, outcome_text

    out: Path = options.out
    recipe = _recipe(options.recipe, options.set)
    if options.resume and lora_folder.is_done(out):
        print(outcome_text(out, manifest.read(out)))
        return DONE
    if not options.resume:
        lora_folder.check_new(out)
    check_packages(recipe)
    base = _base(options.base)
    with LoraRun(options.data, base, out, recipe) as run:
        if options.dry_run:
            print(run.plan_text())
            return DONE
        say(run.plan_text())
        say("loading the model")
        tuner = run.load(resume=options.resume)
        with ProgressLine(sys.stderr) as line, Stopping() as stopping:
            outcome = run.train(tuner, line.show, stopping)
        if not outcome.done:
            say(f"balcao: stopped at step {outcome.steps}; --resume goes on from there.")
            return INTERRUPTED
        with ProgressLine(sys.stderr) as line:
            made = run.finish(tuner, outcome, line.show)
    print(outcome_text(out, made))
    return DONE


def _recipe(named: str, changes: Sequence[str]) -> Recipe:
    bundled = _RECIPES / f"{named}.toml"
    return read_recipe(bundled if bundled.exists() else Path(named), changes)


def _base(named: str) -> Base:
    from engine.backends.weights import find_model
    from engine.training.lora_train import Base

    try:
        found = find_model(named, "base")
    except EngineUnavailable as error:
        raise UsageError(error.message, "Name a folder with a whole Llama: --base.") from error
    is_folder = Path(named).expanduser().is_dir()
    return Base(str(found.folder) if is_folder else named, found.folder, found.weights)


class Stopping:
    """Whether Ctrl-C was pressed; the second one stops at once."""

    def __init__(self) -> None:
        self._asked = False

    def __call__(self) -> bool:
        """Asked after every step."""
        return self._asked

    def __enter__(self) -> Self:
        self._before = signal.signal(signal.SIGINT, self._hear)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        signal.signal(signal.SIGINT, self._before)

    def _hear(self, _number: int, _frame: FrameType | None) -> None:
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True
        # print() may be in the middle of a line: a signal handler must not enter it again.
        os.write(2, b"\nStopping after this step; Ctrl-C again stops at once.\n")


if __name__ == "__main__":
    sys.exit(main())
