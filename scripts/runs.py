"""List training runs, follow, compare, stop or remove them, or use an adapter in the chat.

balcao runs follow models/lora
"""

from __future__ import annotations

import argparse
import math
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TextIO

import msgspec

from engine.config import edit
from engine.config.settings import load, own_catalogue
from engine.core.errors import UsageError
from engine.core.files import writing
from engine.core.process import runnable
from engine.core.text import byte_count, counted, did_you_mean, json_line, one_line
from engine.training.runs import display
from engine.training.runs.control import add_engine, stop_run
from engine.training.runs.folder import lock_holder, read_inputs
from engine.training.runs.status import Score
from engine.training.runs.view import MetricsReader, RunView, find_run, list_runs, view_run
from scripts.common import (
    DONE,
    FAILED,
    INTERRUPTED,
    call,
    can_ask,
    command,
    confirm,
    fold_lines,
    say,
)

ACTIONS = {"list": 0, "follow": 1, "compare": 2, "stop": 1, "use": 1, "remove": 1}
"""How many runs each action takes."""
_ORDERS: dict[str, Callable[[RunView], Any]] = {
    "age": lambda view: view.age,
    "name": lambda view: view.name.casefold(),
    "state": lambda view: view.state,
    "loss": lambda view: math.inf if view.loss is None else view.loss,
    "learned": lambda view: -view.word_for_word.get("training", Score(0, 0)).share,
}
_PLAIN_INTERVAL, _POLL_INTERVAL = 10.0, 0.5
"""Seconds between two plain lines, two looks at the run."""
_MIN_CURVE_HEIGHT, _MAX_CURVE_HEIGHT = 4, 16


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="balcao runs",
        usage="balcao runs [-h] [list] [--sort ORDER] [--json]\n"
        "       balcao runs [follow] RUN | compare RUN RUN | stop RUN\n"
        "       balcao runs remove RUN [--yes]\n"
        "       balcao runs use RUN [--engine ID] [--catalogue DIR]",
        description="Show and control the training runs of this machine.",
        epilog="actions:\n"
        "  list             list all runs (the default)\n"
        "  follow RUN       show a run live until it ends; q leaves, s stops it\n"
        "  compare RUN RUN  show what differs, and the curves of both on one scale\n"
        "  stop RUN         save the run and stop it after its current step\n"
        "  use RUN          make the adapter of a finished run an engine of the chat\n"
        "  remove RUN       delete the folder of a run that is not active\n\n"
        "Without RUN, follow and stop take the only active run.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("words", nargs="*", metavar="RUN", help="folder or name of the run")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    parser.add_argument("--sort", choices=tuple(_ORDERS), help="order of the list (default: age)")
    parser.add_argument("--yes", action="store_true", help="with `remove`: do not ask")
    parser.add_argument("--engine", metavar="ID", default="", help="with `use`: id of the engine")
    parser.add_argument(
        "--catalogue",
        type=Path,
        metavar="DIR",
        help="with `use`: the catalogue of its products (default: one nearby that has them)",
    )
    return parser


@command(make_parser)
def main(options: argparse.Namespace) -> int:
    words: list[str] = options.words
    action = words.pop(0) if words and words[0] in ACTIONS else ("follow" if words else "list")
    if len(words) > ACTIONS[action]:
        hint = did_you_mean(words[0], ACTIONS)
        raise UsageError(f"Too many arguments.{hint}", "See balcao runs --help.")
    if action == "list":
        return _print_runs(_sorted(options.sort), as_json=options.json)
    folders = [find_run(word, ACTIONS) for word in words] or [_only_active_run()]
    if len(folders) < ACTIONS[action]:
        raise UsageError("compare needs two runs.", "List them with balcao runs.")
    if options.json:
        return _print_runs([view_run(folder) for folder in folders], as_json=True)
    folder = folders[0]
    actions: dict[str, Callable[[], int]] = {
        "follow": lambda: _follow(folder),
        "compare": lambda: _compare(*folders),
        "stop": lambda: _stop(folder),
        "use": lambda: _use(folder, options.engine, options.catalogue),
        "remove": lambda: _remove(folder, yes=options.yes),
    }
    return actions[action]()


def _sorted(order: str | None) -> list[RunView]:
    views = list_runs()
    return sorted(views, key=_ORDERS[order]) if order else views


def _only_active_run() -> Path:
    active = [view.folder for view in list_runs() if view.state == "running"]
    if len(active) == 1:
        return active[0]
    message = f"{len(active)} runs are active." if active else "No run is active."
    raise UsageError(message, "Name one; list them with balcao runs.")


def _print_runs(views: Sequence[RunView], *, as_json: bool, fit: bool = False) -> int:
    if as_json:
        for view in views:
            print(json_line(msgspec.to_builtins(view, enc_hook=str)))
    elif not views:
        say("balcao: no runs yet. Start one with balcao train.")
    else:
        rows = display.runs_table(views)
        room = shutil.get_terminal_size().columns - len(rows[0]) - 2
        room = room if fit or sys.stdout.isatty() else sys.maxsize
        folders = ["FOLDER", *(_end(one_line(str(view.folder)), room) for view in views)]
        for row, folder in zip(rows, folders, strict=True):
            print(f"{row}  {folder}".rstrip())
    return DONE


def _end(name: str, room: int) -> str:
    """Return the end of a long name, if there is room for it."""
    return name if len(name) <= room else f"…{name[1 - room :]}" if room > 1 else ""


def _compare(*folders: Path) -> int:
    views, metrics = [view_run(one) for one in folders], [MetricsReader(one) for one in folders]
    for one in metrics:
        one.refresh()
    _print_runs(views, as_json=False, fit=True)
    for line in filter(None, map(one_line, display.differences(*map(read_inputs, folders)))):
        print(fold_lines(line, "  "))
    width, rows = shutil.get_terminal_size()
    height = max(min((rows - 12) // 2, _MAX_CURVE_HEIGHT), _MIN_CURVE_HEIGHT)
    scale = [point for one in metrics for point in one.points]
    for view, one in zip(views, metrics, strict=True):
        lines = display.curve(one.points, width - 1, height, scale) or ["no steps yet"]
        print(f"{one_line(view.name)}: {display.summary(view)}", *lines, sep="\n")
    return DONE


def _remove(folder: Path, *, yes: bool) -> int:
    if lock_holder(folder) is not None:
        raise UsageError(f"The run in {folder} is active.", f"Run: balcao runs stop {folder}")
    files = [file for file in folder.rglob("*") if file.is_file()]
    size, engine = byte_count(sum(file.stat().st_size for file in files)), edit.engine_of(folder)
    used = f" The engine “{engine}” of the chat needs its adapter." if engine else ""
    place = one_line(str(folder.resolve()))
    if not confirm(f"Delete {place}, {counted(len(files), 'file')}, {size}?{used}", yes=yes):
        say("Nothing was removed.")
        return FAILED
    with writing(folder):
        shutil.rmtree(folder)
    say(f"Removed {place}: {size} freed.")
    return DONE


def _follow(folder: Path) -> int:
    try:
        view, ended = follow(folder, sys.stdout)
    except KeyboardInterrupt:
        # Not raised again: "stopped" would sound as if the run had stopped.
        say("balcao: the run continues.")
        return INTERRUPTED
    if not ended:
        say("balcao: the run continues.")
    elif advice := display.next_step(view):
        print(runnable(advice))
    return FAILED if view.state in ("failed", "killed") else DONE


def _stop(folder: Path) -> int:
    stop_run(folder)
    say("The run saves and stops after this step.")
    while lock_holder(folder) is not None:
        time.sleep(_POLL_INTERVAL)
    return _print_runs([view_run(folder)], as_json=False)


def _use(folder: Path, engine: str, catalogue: Path | None) -> int:
    if engine:
        check_engine(folder, engine)
    use_engine(folder, engine, catalogue)
    return DONE


def check_engine(out: Path, wanted: str) -> None:
    """Raise UsageError if the run in `out` cannot become the engine `wanted`."""
    if edit.engine_of(out) != wanted:
        edit.check_free(wanted, load(), adapter=True)


def offer_engine(out: Path, wanted: str) -> None:
    """Make the adapter the engine `wanted`; without an id, ask the user first."""
    name, used = edit.adapter_id(out.resolve()), edit.engine_of(out)
    asks = not wanted and used is None and can_ask()
    if wanted or (asks and confirm(f"Use it as engine “{name}” in the chat?")):
        use_engine(out, wanted)
    elif used is None:
        say(f"Use it in the chat:\n{call('runs', 'use', out, indent='  ')}")


def use_engine(out: Path, wanted: str, catalogue: Path | None = None) -> None:
    """Make the adapter in `out` an engine and print its id. Raise BalcaoError."""
    name = add_engine(out, wanted, catalogue)
    if wanted not in ("", name):
        say(f"It is an engine already, and keeps its name: {name}.")
    print(f"engine    {name}")
    if own := own_catalogue(load().engines[name]):
        print(f"catalogue {own}")
    else:
        named = call("runs", "use", out, "--catalogue", "DIR", indent="  ")
        say(f"No catalogue of its products was found. Name it:\n{named}")
    say(f"Ask it:\n{call('--engine', name, '--memory', indent='  ')}")


def follow(folder: Path, stream: TextIO) -> tuple[RunView, bool]:
    """Show the run until it ends or the user leaves; return its state, and whether it ended."""
    from tui.plain.run_screen import RunScreen, can_draw

    if not can_draw(stream):
        return _follow_plainly(folder, stream), True
    screen = RunScreen(folder, stream, load().unicode)
    with screen.keys():
        view = view_run(folder)
        screen.show(view)
        while view.state == "running" and not screen.left:
            screen.wait(_POLL_INTERVAL, view)
            view = view_run(folder)
            screen.show(view)
    return view, not screen.left


def _follow_plainly(folder: Path, stream: TextIO) -> RunView:
    lines = _PlainDisplay(folder, stream)
    while True:
        view = view_run(folder)
        lines.show(view)
        if view.state != "running":
            return view
        time.sleep(_POLL_INTERVAL)


class _PlainDisplay:
    """Print the progress every ten seconds, and each sample."""

    def __init__(self, folder: Path, stream: TextIO) -> None:
        self._metrics = MetricsReader(folder)
        self._stream = stream
        self._shown = 0.0
        self._sampled_at = 0

    def show(self, view: RunView) -> None:
        self._metrics.refresh()
        lines = []
        if self._metrics.sampled_at > self._sampled_at:
            self._sampled_at = self._metrics.sampled_at
            lines = [display.sampled_at(self._metrics)]
            lines += map(" ".join, display.sample_lines(self._metrics))
        if time.monotonic() - self._shown >= _PLAIN_INTERVAL or view.state != "running":
            self._shown = time.monotonic()
            lines.append(", ".join(filter(None, (display.summary(view), display.score_line(view)))))
        for line in lines:
            print(one_line(line), file=self._stream, flush=True)


if __name__ == "__main__":
    sys.exit(main())
