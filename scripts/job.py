"""Build a catalogue, train an adapter and judge it, as job.toml describes.

balcao job new products.csv
balcao job run
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from msgspec import structs

from engine.catalogue.catalogue import Catalogue
from engine.catalogue.formats.columns import parse_columns
from engine.config.settings import load, own_catalogue
from engine.core.errors import UsageError
from engine.core.files import locked, read_manifest, write_atomic, writing
from engine.core.text import counted
from engine.training.job import steps
from engine.training.job.check import check_job, find_targets
from engine.training.job.file import JobFile, read_job
from engine.training.job.template import short_name, survey, write_template
from engine.training.openai.plan import TRAIN
from engine.training.preview import preview_tokens
from engine.training.processes import Processes
from engine.training.runs.control import add_engine
from engine.training.runs.folder import step_reached
from engine.training.write import learned_nothing
from scripts import evaluate, index, prepare, train
from scripts.common import (
    DONE,
    FAILED,
    INTERRUPTED,
    call,
    command,
    has_colour,
    notify,
    say_folded,
)
from scripts.index import COLUMNS, DATA_SET, describe_source

_FILE = Path("job.toml")
_STEPS = (
    "Build the catalogue",
    "Write the training rows",
    "Train an adapter",
    "Use it in the chat",
    "Judge the engines",
)
_LONG = 10.0
"""Seconds from which the end of a job is announced to the terminal."""
_KINDS = 4
"""Kinds of questions in an evaluation without held-out products."""


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="balcao job", description=__doc__.splitlines()[0])
    actions = parser.add_subparsers(dest="action", required=True, metavar="new|run")
    add = actions.add_parser("new", help="write a job.toml to edit").add_argument
    add("source", type=Path, metavar="FILE", help=DATA_SET.partition(";")[0])
    add("--columns", type=parse_columns, metavar=COLUMNS, help="columns that are not obvious")
    add("--base", default="smollm2", metavar="MODEL", help="folder, hub id or smollm2 (default)")
    add("--out", type=Path, default=_FILE, metavar="FILE", help="default: job.toml")
    add = actions.add_parser("run", help="do the steps that are not done").add_argument
    add("file", nargs="?", type=Path, default=_FILE, metavar="FILE", help="default: job.toml")
    add("--dry-run", action="store_true", help="show rows, steps, memory and time; write nothing")
    add("--yes", action="store_true", help="do not ask before judging remote engines")
    return parser


@command(make_parser)
def main(options: argparse.Namespace) -> int:
    if options.action == "new":
        return _new(options)
    job = read_job(options.file, train.RECIPES)
    check_job(job)
    if options.dry_run:
        return _plan(job)
    busy = UsageError(f"Another `balcao job run` works in {job.out}.", "Wait for it or stop it.")
    try:
        with locked(job.out / ".job.lock", busy=busy):
            status = _run(job, yes=options.yes)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(_continue(job)) from None
    if status == INTERRUPTED:
        say_folded(_continue(job))
    return status


def _new(options: argparse.Namespace) -> int:
    if options.out.exists():
        raise UsageError(
            f"{options.out} already exists.",
            f"Run it with balcao job run {options.out}, or write another with --out FILE.",
        )
    if not options.source.is_file():
        found = "is a folder" if options.source.is_dir() else "does not exist"
        raise UsageError(f"{options.source} {found}.", "Name the file of your products.")
    held = survey(options.source, options.columns)
    folder = options.out.resolve().parent
    source = options.source
    if folder != Path.cwd().resolve():
        source = Path(os.path.relpath(source.resolve(), folder))
    text = write_template(str(source), short_name(options.source), held, options.base)
    with writing(options.out):
        write_atomic(options.out, text.encode())
    more = " or more" if held.more else ""
    print(f"{counted(held.products, 'product')}{more} in {options.source}")
    for line in describe_source(held.counts.as_dict()):
        print(line)
    named = [] if options.out == _FILE else [options.out]
    print(f"Written to {options.out}. Change it as you like, look at its plan, and run it:")
    print(call("job", "run", *named, "--dry-run", indent="  "))
    print(call("job", "run", *named, indent="  "))
    return DONE


def _continue(job: JobFile) -> str:
    return f"To continue, run the same command: balcao job run {shlex.quote(str(job.file))}"


def _run(job: JobFile, *, yes: bool) -> int:
    """Do the steps that are not done, in order; return the exit code."""
    began = time.monotonic()
    words = _index_words(job)
    if _is_due(1, words, done=steps.catalogue_is_done(job)):
        print(index.build(_options(index, words, job))[2])
    words = _prepare_words(job)
    if _is_due(2, words, done=steps.rows_are_done(job)):
        print(prepare.write_rows(_options(prepare, words, job), job.rows)[1])
    run, state = steps.find_run(job, job.rows)
    words = _train_words(job, run, job.rows, resume=state == "begun")
    if _is_due(3, words, done=state == "done"):
        status = _train(job, words)
        if status != DONE:
            return status
    if learned_nothing(read_manifest(run)):
        say_folded(
            f"balcao: the adapter in {run} has learned nothing. Raise `epochs` under [train.set] in"
            f" {job.file}, or set another `learning_rate`, and run the same command again."
        )
        return FAILED
    engine = job.job.engine
    words = ["runs", "use", str(run), "--engine", engine, "--catalogue", str(job.catalogue)]
    if _is_due(4, words, done=_is_used(job, run)):
        add_engine(run, engine, job.catalogue, instead=True)
    status = _judge(job, run, yes=yes)
    if time.monotonic() - began >= _LONG:
        notify("the job is done")
    print("", "Chat with it:", call("--engine", engine, "--memory", indent="  "), sep="\n")
    return status


def _is_used(job: JobFile, run: Path) -> bool:
    """Return whether the run is the job's engine in the chat, and brings its catalogue."""
    table = load().engines.get(job.job.engine, {})
    ours = str(run.resolve()), str(job.catalogue.resolve())
    return (table.get("adapter"), own_catalogue(table)) == ours


def _is_due(number: int, words: list[str], *, done: bool) -> bool:
    """Show a step with its command; return whether the step is due."""
    step = f"[{number}/{len(_STEPS)}] {_STEPS[number - 1]}"
    print(f"{step}: done before" if done else step, flush=True)
    if not done:
        print(call(*words, indent="  "), flush=True)
    return not done


def _options(module: Any, words: list[str], job: JobFile) -> argparse.Namespace:  # noqa: ANN401
    options: argparse.Namespace = module.make_parser().parse_args(words[1:])
    options.columns = job.columns  # a name may have a comma
    return options


def _index_words(job: JobFile) -> list[str]:
    words = ["index", str(job.data), "--out", str(job.catalogue), *_column_words(job)]
    return words if job.job.catalogue.meaning else [*words, "--no-meaning"]


def _prepare_words(job: JobFile) -> list[str]:
    given = structs.asdict(job.job.rows).items()
    values = [f"--{name.replace('_', '-')}={value}" for name, value in given if value is not None]
    return ["prepare", str(job.data), "--out", str(job.rows), *_column_words(job), *values]


def _column_words(job: JobFile) -> list[str]:
    named = ",".join(f"{field}={column}" for field, column in job.columns.items())
    return ["--columns", named] if named else []


def _train_words(job: JobFile, run: Path, rows: Path, *, resume: bool) -> list[str]:
    changes = [word for change in job.changes for word in ("--set", change)]
    named = job.recipe_file.parent == train.RECIPES
    recipe = job.job.train.recipe if named else str(job.recipe_file)
    given = ["--data", str(rows), "--base", job.base, "--out", str(run), "--recipe", recipe]
    return ["train", *given, *changes, *(["--resume"] if resume else [])]


def _train(job: JobFile, words: list[str]) -> int:
    """Show a row, estimate and train; return the exit code."""
    options = train.make_parser().parse_args(words[1:])
    recipe, finished = train.complete(options)
    for line in preview_tokens(job.rows, job.base, recipe).row_lines(1, colour=has_colour()):
        print(line, flush=True)
    status = DONE if finished else train.fit(options, recipe, Processes.here())
    if status == DONE:
        train.present(options.out)
    return status


def _judge(job: JobFile, run: Path, *, yes: bool) -> int:
    if not job.job.evaluate.engines:
        return DONE
    words, done = _judging(job, run)
    return evaluate.main([*words[1:], *["--yes"] * yes]) if _is_due(5, words, done=done) else DONE


def _judging(job: JobFile, run: Path) -> tuple[list[str], bool]:
    """Return the command of the evaluation, and whether it is done."""
    with closing(Catalogue.open(job.catalogue)) as catalogue:
        targets = find_targets(job, run, evaluate.identify(catalogue))
    report, limit = steps.find_report(job, targets), job.job.evaluate.limit
    files = [evaluate.rows_file(job.rows), job.rows / TRAIN]
    words = ["evaluate", "--data", str(job.rows), "--catalogue", str(job.catalogue)]
    words += ["--engines", ",".join(job.job.evaluate.engines), "--out", str(report)]
    words += [f"--limit={limit}"] if limit else []
    return words, steps.report_is_done(report, targets, files, limit)


def _plan(job: JobFile) -> int:
    """Show rows, time and memory of the training, and the state of each step."""
    states = ["done" if steps.catalogue_is_done(job) else "to do"]
    done = steps.rows_are_done(job)
    with TemporaryDirectory() as temporary:
        rows = job.rows if done else Path(temporary) / "rows"
        if not done:
            print(prepare.write_rows(_options(prepare, _prepare_words(job), job), rows)[1])
        run, state = steps.find_run(job, rows)
        states += ["done" if done else "to do", state]
        words = [*_train_words(job, run, rows, resume=state == "begun"), "--dry-run"]
        options = train.make_parser().parse_args(words[1:])
        if state != "done":
            shown = preview_tokens(rows, job.base, job.recipe)
            for line in shown.row_lines(len(shown.rows), colour=has_colour()):
                print(line)
            print(flush=True)
            train.fit(options, job.recipe, Processes.here())
    for line in _table(job, run, states):
        print(line)
    return DONE


def _table(job: JobFile, run: Path, states: list[str]) -> Iterator[str]:
    catalogue, rows, training = states
    judged = job.job.evaluate
    used = all(state == "done" for state in states) and _is_used(job, run)
    asked = counted(_KINDS * judged.limit, "question") if judged.limit else "all questions"
    if training == "begun":
        training = f"after step {step_reached(run)}"
    yield ""
    yield f"index     {catalogue:14} {job.catalogue}"
    yield f"prepare   {rows:14} {job.rows}"
    yield f"train     {training:14} {run}"
    yield f"use       {'done' if used else 'to do':14} engine {job.job.engine}"
    if judged.engines:
        state = "done" if used and _judging(job, run)[1] else "to do"
        yield f"evaluate  {state:14} {asked}, {counted(len(judged.engines), 'engine')}"


if __name__ == "__main__":
    sys.exit(main())
