"""Fine-tune a Llama on this machine with LoRA, on a GPU or a CPU.

balcao train --data data/rows --base models/llama --out models/lora --recipe exact
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from functools import partial
from pathlib import Path

from engine.core.errors import BalcaoError, DataError, UsageError
from engine.core.files import read_manifest
from engine.core.i18n import tr
from engine.core.text import did_you_mean, json_line
from engine.training.processes import Processes
from engine.training.recipe import Recipe, change_recipe, read_recipe
from engine.training.runs.folder import LOG_FILE, RUN_FILE, is_done, read_inputs
from scripts.common import (
    DONE,
    FAILED,
    INDENT,
    INTERRUPTED,
    USAGE,
    ProgressLine,
    StopSignals,
    call,
    command,
    fold_lines,
    has_colour,
    notify,
    say,
    say_folded,
)
from scripts.runs import check_engine, offer_engine

RECIPES = Path(__file__).resolve().parent / "recipes"
_DEFAULT = "exact"
_RESULT = "base", "steps", "loss", "word_for_word", "refusals"
"""What --json prints of the manifest at the end."""
_LONG = 10.0
"""Seconds from which the end of a run is announced to the terminal."""
_LEARNED_NOTHING = (
    "balcao: no training row is word for word, so the adapter is not offered to the chat. Train for"
    " more `epochs` or with another `learning_rate`."
)


def make_parser() -> argparse.ArgumentParser:
    names = ", ".join(_recipe_names())
    parser = argparse.ArgumentParser(
        prog="balcao train",
        allow_abbrev=False,  # --detach starts the same command again without it
        description="Fine-tune a Llama with LoRA on the rows that `balcao prepare` wrote.",
    )
    add = parser.add_argument
    add("--data", type=Path, metavar="DIR", help="folder with train.jsonl")
    add("--base", metavar="MODEL", help="folder, hub id or smollm2")
    add("--out", type=Path, metavar="DIR", help="new folder for the adapter")
    add(
        "--recipe",
        metavar="FILE",
        help=f"TOML file, or one of {names} (default: {_DEFAULT})",
    )
    add("--set", action="append", default=[], metavar="NAME=VALUE", help="change a recipe value")
    add("--epochs", type=float, metavar="N", help="the same as --set epochs=N")
    add(
        "--resume",
        action="store_true",
        help="continue the run in --out, with its data, base and recipe; with more --epochs, also"
        " a finished one",
    )
    output = parser.add_mutually_exclusive_group().add_argument
    output("--detach", action="store_true", help="run in the background, without this terminal")
    output("--json", action="store_true", help="print the lines of metrics.jsonl, then the result")
    add("--engine", metavar="ID", default="", help="add the adapter to the chat as this engine")
    add("--dry-run", action="store_true", help="check and estimate only")
    add("--preview", action="store_true", help="only show some rows as the model will see them")
    add("--no-probe", action="store_true", help="skip the estimate of memory and time")
    return parser


@command(make_parser)
def main(options: argparse.Namespace) -> int:
    if options.epochs is not None:
        options.set.append(f"epochs={options.epochs:g}")
    if options.out is None and not options.preview:
        raise UsageError("--out DIR is missing: the new folder for the adapter.")
    processes = Processes.here()
    if options.engine and processes.first:
        check_engine(options.out, options.engine)
    if options.detach and processes.count > 1:
        raise UsageError(
            "--detach starts a single process.", "Use `nohup accelerate launch … &` instead."
        )
    try:
        recipe, finished = complete(options)
        if options.preview:
            return _preview(options, recipe)
        if options.detach and not (options.dry_run or finished):
            return _detach(options, recipe)
        status = DONE if finished else fit(options, recipe, processes)
    except (UsageError, DataError) as error:
        # All processes of a machine find the same mistake: one reports it.
        if processes.first_on_machine:
            raise
        return USAGE if isinstance(error, UsageError) else FAILED
    done = status == DONE and processes.first and not options.dry_run
    if done:
        present(options.out, as_json=options.json)
        _offer(options)
    return status


def _offer(options: argparse.Namespace) -> None:
    from engine.training.write import learned_nothing

    if learned_nothing(read_manifest(options.out)):
        say_folded(_LEARNED_NOTHING)
    else:
        offer_engine(options.out, options.engine)


def present(out: Path, *, as_json: bool = False) -> None:
    """Summarize a finished run."""
    from engine.training.write import summary

    manifest = read_manifest(out)
    if as_json:
        kept = {name: manifest.settings.get(name) for name in _RESULT}
        print(json_line({"adapter": str(out), **kept}), flush=True)
    else:
        for line in summary(out, manifest).split("\n"):
            print(fold_lines(line, INDENT) if sys.stdout.isatty() else line)


def complete(options: argparse.Namespace) -> tuple[Recipe, bool]:
    """Fill in what a resumed run has saved; return the recipe, and whether nothing is left to do.

    Raise UsageError if the data or the base is missing.
    """
    given = any((options.data, options.base, options.recipe, options.set))
    finished, saved = False, None
    if options.resume and options.out:
        finished, saved = is_done(options.out) and not given, read_inputs(options.out)
        options.base = options.base or saved.base
        options.data = options.data or (Path(saved.data_folder) if saved.data_folder else None)
    if options.data is None and not finished:
        raise UsageError("--data DIR is missing: the folder with train.jsonl.")
    if options.base is None:
        raise UsageError("--base MODEL is missing: a folder, a hub id or smollm2.")
    if saved and options.recipe is None:
        return change_recipe(saved.recipe, options.set), finished
    name = options.recipe or _DEFAULT
    file = RECIPES / f"{name}.toml"
    if not file.exists() and not Path(name).exists():
        known = _recipe_names()
        raise UsageError(
            f"There is no recipe {name}.{did_you_mean(name, known)}",
            f"Name a TOML file, or one of {', '.join(known)}.",
        )
    return read_recipe(file if file.exists() else Path(name), options.set), finished


def _recipe_names() -> list[str]:
    return sorted(file.stem for file in RECIPES.glob("*.toml"))


def _title(options: argparse.Namespace) -> str:
    resumed = options.resume and options.recipe is None
    name = "that of the run" if resumed else options.recipe or _DEFAULT
    changes = f", with {', '.join(options.set)}" if options.set else ""
    values = "" if options.dry_run else f"; all values are in {options.out / RUN_FILE}"
    return f"{name}{changes}{values}"


def _preview(options: argparse.Namespace, recipe: Recipe) -> int:
    from engine.training.preview import preview_tokens

    shown = preview_tokens(options.data, options.base, recipe)
    for line in shown.lines(colour=has_colour()):
        print(line)
    return DONE


def fit(
    options: argparse.Namespace,
    recipe: Recipe,
    processes: Processes,
    *,
    check_only: bool = False,
) -> int:
    """Train as the options say; return the exit code."""
    from engine.training.train import TrainConfig, train

    config = TrainConfig(
        data=options.data,
        base=options.base,
        out=options.out,
        recipe=recipe,
        recipe_title=_title(options),
        resume=options.resume,
        probe=not (options.no_probe or check_only),
        dry_run=options.dry_run or check_only,
        log=partial(print, flush=True) if options.json else None,
    )
    began = time.monotonic()
    stream = sys.stdout if options.dry_run and not options.json else sys.stderr
    with (
        Path(os.devnull).open("w") as nowhere,
        ProgressLine(stream if processes.first else nowhere) as line,
        StopSignals(announce=processes.first) as signals,
    ):
        try:
            finished = train(config, line.print_above, line.show, signals.between_steps)
        except BalcaoError:
            _announce(tr("training failed"), began)
            raise
    if finished:
        _announce(tr("training is done"), began)
    return DONE if finished else INTERRUPTED


def _announce(text: str, began: float) -> None:
    if time.monotonic() - began >= _LONG:
        notify(text)


def _detach(options: argparse.Namespace, recipe: Recipe) -> int:
    """Check the run here, where the user sees errors, then start it in the background."""
    from engine.training.runs.control import start_detached, wait_until_started

    fit(options, recipe, Processes(), check_only=True)
    arguments = [one for one in options.arguments if one != "--detach"]
    process = start_detached(arguments, options.out)
    print(f"process   {process.pid}")
    print(f"log       {options.out / LOG_FILE}")
    for name in ("follow", "stop"):
        print(f"{name:10}{call('runs', name, options.out)}", flush=True)
    say("Starting in the background. Ctrl-C leaves it; the run continues.")
    try:
        wait_until_started(process, options.out)
    except KeyboardInterrupt:
        say("balcao: the run continues in the background.")
        raise
    return DONE


if __name__ == "__main__":
    sys.exit(main())
