"""Fine-tune a Llama on this machine: LoRA, on a GPU or a CPU.

balcao train --data data/rows --base models/llama --out models/lora --recipe exact
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from engine.config import paths
from engine.core.errors import BalcaoError, DataError, EngineUnavailable, UsageError
from engine.core.files import read_manifest
from engine.core.text import one_line
from engine.training.processes import Processes
from engine.training.recipe import Recipe, read_recipe
from engine.training.runs.folder import LOG_FILE, check_new, is_done, lock_holder
from scripts.common import (
    DONE,
    FAILED,
    INTERRUPTED,
    USAGE,
    ProgressLine,
    Stopping,
    guarded,
    say,
)
from scripts.runs import check_engine, offer_engine

if TYPE_CHECKING:
    from engine.training.train import Base, LoraRun
    from engine.training.tuner import Tuner


_ROOT = Path(__file__).resolve().parent.parent
_EVERY = 0.2
"""Seconds between two looks whether it has begun."""
_TAIL = 5
"""Lines of the log that tell why it did not."""


def detach(given: list[str], out: Path) -> int:
    """Start `balcao train` with the arguments `given` and wait until it has taken its folder.

    Raises BalcaoError if it does not begin.
    """
    if os.name != "posix":
        raise UsageError("--detach needs sessions, which this system does not have.")
    log = out / LOG_FILE
    process = _start(given, out, log)
    print(f"process   {process.pid}, in a session of its own")
    print(f"log       {log}")
    print(f"follow    balcao runs follow {out}")
    print(f"stop      balcao runs stop {out}", flush=True)
    say("starting; Ctrl-C leaves it to itself")
    try:
        _wait(process, out, log)
    except KeyboardInterrupt:
        say("balcao: the run goes on without this terminal.")
        raise
    return DONE


def _start(given: list[str], out: Path, log: Path) -> subprocess.Popen[bytes]:
    # -P: a folder named scripts where the person stands is none of ours.
    command = [sys.executable, "-P", "-m", "scripts.train", *given]
    known = os.environ.get("PYTHONPATH")
    path = os.pathsep.join([str(_ROOT), *([known] if known else [])])
    try:
        out.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as stream:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                env=os.environ | {"PYTHONPATH": path},
                start_new_session=True,
            )
    except OSError as error:
        raise BalcaoError(f"{log} cannot be written: {error.strerror}.") from error


def _wait(process: subprocess.Popen[bytes], out: Path, log: Path) -> None:
    """Until the run has its folder, or has ended already: well, or with the reason in its log."""
    while lock_holder(out) != process.pid:
        if status := process.poll():
            lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL:]
            said = one_line(" ".join(lines))
            raise BalcaoError(f"The run ended with status {status}: {said}", f"All of it: {log}")
        if status == 0:
            return
        time.sleep(_EVERY)


_RECIPES = Path(__file__).resolve().parent / "recipes"
_DEFAULT = "exact"


def make_parser() -> argparse.ArgumentParser:
    """The options of `balcao train`."""
    named = ", ".join(sorted(file.stem for file in _RECIPES.glob("*.toml")))
    parser = argparse.ArgumentParser(
        prog="balcao train",
        allow_abbrev=False,  # --detach starts the same command again without it
        description="Fine-tune a Llama by LoRA on the rows that `balcao prepare` wrote.",
    )
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="holds train.jsonl")
    parser.add_argument("--base", required=True, metavar="MODEL", help="folder, hub id or demo")
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
    parser.add_argument("--detach", action="store_true", help="go on when this terminal closes")
    parser.add_argument(
        "--engine", metavar="ID", default="", help="the chat's engine to make of it"
    )
    parser.add_argument("--dry-run", action="store_true", help="check and estimate, train nothing")
    parser.add_argument("--no-probe", action="store_true", help="start without the estimate")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run; 0 when done, 1 when it failed, 2 for wrong usage, 130 on Ctrl-C."""
    given = list(sys.argv[1:] if argv is None else argv)
    options = make_parser().parse_args(given)
    return guarded(lambda: _run(options, given))


def _run(options: argparse.Namespace, given: list[str]) -> int:
    from engine.training.train import outcome_text

    out: Path = options.out
    here = Processes.here()
    if options.engine and here.first:
        check_engine(out, options.engine)
    if not (options.resume and is_done(out)):
        with Stopping(tell=here.first) as stopping:
            status = _make(options, given, here, stopping)
        if status != DONE or options.dry_run or options.detach:
            return status
    if here.first:
        print(outcome_text(out, read_manifest(out)))
        offer_engine(out, options.engine)
    return DONE


def _make(
    options: argparse.Namespace, given: list[str], here: Processes, stopping: Stopping
) -> int:
    """Check, and do what was asked for."""
    try:
        with _checked(options, here) as run:
            if options.dry_run:
                return _try_out(run, options, sys.stdout if here.first else None)
            if options.detach:
                say(run.plan_text())
                run.check_free(resume=options.resume)
                return detach([one for one in given if one != "--detach"], options.out)
            return _train(run, options, stopping, sys.stderr if here.first else None)
    except (UsageError, DataError) as error:
        # What was given is wrong in the same way for all processes of a machine: said once.
        if here.first_here:
            raise
        return USAGE if isinstance(error, UsageError) else FAILED


def _checked(options: argparse.Namespace, here: Processes) -> LoraRun:
    """The run, its data and base checked."""
    from engine.training.data import check_packages
    from engine.training.train import LoraRun

    recipe = _recipe(options.recipe, options.set)
    if options.detach and here.count > 1:
        raise UsageError(
            "--detach starts one process.", "Detach what starts several: nohup accelerate launch …"
        )
    if here.first and not options.resume:
        check_new(options.out)
    check_packages(recipe)
    return LoraRun(options.data, _base(options.base), options.out, recipe, here)


def _try_out(run: LoraRun, options: argparse.Namespace, stream: TextIO | None) -> int:
    """Say what would be done and what it takes. Only one of several processes has a `stream`."""
    _tell(stream, run.plan_text())
    if not options.no_probe:
        _estimate(run.load(resume=False, take=False), stream)
    return DONE


def _train(
    run: LoraRun, options: argparse.Namespace, stopping: Stopping, stream: TextIO | None
) -> int:
    """Train and write the adapter. Only one of several processes has a `stream`."""
    _tell(stream, f"{run.plan_text()}\nloading the model")
    tuner = run.load(resume=options.resume)
    if not options.no_probe:
        # When it goes on, too: what ended it may have been the kernel, for want of memory.
        _estimate(tuner, stream, whole=not options.resume)
    with Path(os.devnull).open("w") as nowhere:
        with ProgressLine(stream or nowhere) as line:
            stopping.gently(True)
            outcome = run.train(tuner, line.show, stopping, line.tell)
            stopping.gently(False)
        if not outcome.done:
            step = outcome.steps
            _tell(stream, f"balcao: stopped at step {step}; --resume goes on from there.")
            return INTERRUPTED
        with ProgressLine(stream or nowhere) as line:
            run.finish(tuner, outcome, line.show)
    return DONE


def _estimate(tuner: Tuner, stream: TextIO | None, *, whole: bool = True) -> None:
    """Say what the run will take. Raises BalcaoError if it will not fit."""
    if estimate := tuner.estimate():
        _tell(stream, estimate.text if whole else estimate.memory)
        estimate.check()


def _tell(stream: TextIO | None, words: str) -> None:
    if stream:
        print(words, file=stream, flush=True)


def _recipe(named: str, changes: Sequence[str]) -> Recipe:
    bundled = _RECIPES / f"{named}.toml"
    return read_recipe(bundled if bundled.exists() else Path(named), changes)


def _base(named: str) -> Base:
    from engine.backends.llama.weights import find_model
    from engine.training.train import Base

    try:
        found = find_model(paths.model_named(named), "base")
    except EngineUnavailable as error:
        raise UsageError(error.message, "Name a folder with a whole Llama: --base.") from error
    if named == paths.DEMO:
        # The folder's name: where it lies differs from machine to machine.
        return Base(found.folder.name, found.folder, found.weights)
    is_folder = Path(named).expanduser().is_dir()
    return Base(str(found.folder) if is_folder else named, found.folder, found.weights)


if __name__ == "__main__":
    sys.exit(main())
