"""Fine-tune a Llama on this machine: LoRA, on a GPU or a CPU.

balcao train --data data/rows --base models/llama --out models/lora --recipe exact
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Self, TextIO

from engine import manifest
from engine.errors import BalcaoError, EngineUnavailable, UsageError
from engine.training import lora_folder
from engine.training.lora_processes import Processes
from engine.training.lora_recipe import Recipe, read_recipe
from scripts.common import DONE, FAILED, INTERRUPTED, USAGE, guarded
from scripts.progress import ProgressLine

if TYPE_CHECKING:
    from engine.training.lora_train import Base, LoraRun

_RECIPES = Path(__file__).resolve().parent / "recipes"
_DEFAULT = "exact"
_ONE_PRESS = 1.0
"""Seconds: `accelerate launch` passes on the Ctrl-C that the terminal has sent to all as well."""


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
    from engine.training.lora_train import outcome_text

    here = Processes.here()
    if options.resume and lora_folder.is_done(options.out):
        if here.first:
            print(outcome_text(options.out, manifest.read(options.out)))
        return DONE
    try:
        run = _checked(options, here)
    except BalcaoError as error:
        if here.first_here:
            raise
        return USAGE if isinstance(error, UsageError) else FAILED
    with run:
        if options.dry_run:
            if here.first:
                print(run.plan_text())
            return DONE
        if here.first:
            return _train(run, options, sys.stderr)
        with Path(os.devnull).open("w") as nowhere:
            return _train(run, options, nowhere)


def _checked(options: argparse.Namespace, here: Processes) -> LoraRun:
    """The run, its data and base checked."""
    from engine.training.lora_train import LoraRun, check_packages

    recipe = _recipe(options.recipe, options.set)
    if here.first and not options.resume:
        lora_folder.check_new(options.out)
    check_packages(recipe)
    return LoraRun(options.data, _base(options.base), options.out, recipe, here)


def _train(run: LoraRun, options: argparse.Namespace, stream: TextIO) -> int:
    """Train and write the adapter; `stream` is told how it goes."""
    from engine.training.lora_train import outcome_text

    print(run.plan_text(), "loading the model", sep="\n", file=stream, flush=True)
    tuner = run.load(resume=options.resume)
    with ProgressLine(stream) as line, Stopping(tell=stream is sys.stderr) as stopping:
        outcome = run.train(tuner, line.show, stopping)
    if not outcome.done:
        stopped = f"balcao: stopped at step {outcome.steps}; --resume goes on from there."
        print(stopped, file=stream, flush=True)
        return INTERRUPTED
    with ProgressLine(stream) as line:
        made = run.finish(tuner, outcome, line.show)
    if made:
        print(outcome_text(options.out, made))
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

    def __init__(self, *, tell: bool = True) -> None:
        self._asked = 0.0
        self._tell = tell

    def __call__(self) -> bool:
        """Asked after every step."""
        return bool(self._asked)

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
        now = time.monotonic()
        if self._asked:
            if now - self._asked > _ONE_PRESS:
                raise KeyboardInterrupt
            return
        self._asked = now
        if self._tell:
            # print() may be in the middle of a line: a signal handler must not enter it again.
            os.write(2, b"\nStopping after this step; Ctrl-C again stops at once.\n")


if __name__ == "__main__":
    sys.exit(main())
