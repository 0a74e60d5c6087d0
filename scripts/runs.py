"""List training runs, follow one with a live curve, stop one, or use its adapter in the chat.

balcao runs follow models/lora
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

import msgspec

from engine.config import edit
from engine.config.settings import load, own_catalogue
from engine.core.errors import UsageError
from engine.core.text import did_you_mean, json_line, one_line
from engine.training.runs import display
from engine.training.runs.control import add_engine, stop_run
from engine.training.runs.folder import lock_holder
from engine.training.runs.view import MetricsReader, RunView, find_run, list_runs, view_run
from scripts.common import DONE, FAILED, INTERRUPTED, can_ask, command, confirm, say

_ACTIONS = ("list", "follow", "stop", "use")
_LIVE_INTERVAL, _PLAIN_INTERVAL, _POLL_INTERVAL = 1.0, 10.0, 0.5
"""Seconds between two drawings, two plain lines, two looks at the run."""
_MAX_CURVE_HEIGHT = 16
_OTHER_LINES = 4
"""The run's folder, state and score, and the line of the cursor."""


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="balcao runs",
        usage="balcao runs [-h] [--json] [list | [follow] RUN | stop RUN | use RUN [options]]",
        description="Show and control the training runs of this machine.",
        epilog="actions:\n"
        "  list        list all runs (the default)\n"
        "  follow RUN  show a run with a live curve until it ends\n"
        "  stop RUN    save the run and stop it after its current step\n"
        "  use RUN     make the adapter of a finished run an engine of the chat\n\n"
        "Without RUN, follow and stop take the only active run.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("words", nargs="*", metavar="RUN", help="folder or name of the run")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
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
    action = words.pop(0) if words and words[0] in _ACTIONS else ("follow" if words else "list")
    if len(words) > 1 or (action == "list" and words):
        hint = did_you_mean(words[0], _ACTIONS)
        raise UsageError(f"Too many arguments.{hint}", "See balcao runs --help.")
    if action == "list":
        return _print_runs(list_runs(), as_json=options.json)
    folder = find_run(words[0]) if words else _only_active_run()
    if options.json:
        return _print_runs([view_run(folder)], as_json=True)
    match action:
        case "stop":
            return _stop(folder)
        case "use":
            if options.engine:
                check_engine(folder, options.engine)
            use_engine(folder, options.engine, options.catalogue)
            return DONE
    return _follow(folder)


def _only_active_run() -> Path:
    active = [view.folder for view in list_runs() if view.state == "running"]
    if len(active) == 1:
        return active[0]
    message = f"{len(active)} runs are active." if active else "No run is active."
    raise UsageError(message, "Name one; list them with balcao runs.")


def _print_runs(views: Sequence[RunView], *, as_json: bool) -> int:
    if as_json:
        for view in views:
            print(json_line(msgspec.to_builtins(view, enc_hook=str)))
    elif not views:
        say("balcao: no runs yet. Start one with balcao train.")
    else:
        folders = ["FOLDER", *(one_line(str(view.folder)) for view in views)]
        for row, folder in zip(display.runs_table(views), folders, strict=True):
            print(f"{row}  {folder}")
    return DONE


def _follow(folder: Path) -> int:
    try:
        view = follow(folder, sys.stdout)
    except KeyboardInterrupt:
        # Not raised again: "stopped" would sound as if the run had stopped.
        say("balcao: the run continues.")
        return INTERRUPTED
    return FAILED if view.state in ("failed", "killed") else DONE


def _stop(folder: Path) -> int:
    stop_run(folder)
    say("The run saves and stops after this step.")
    while lock_holder(folder) is not None:
        time.sleep(_POLL_INTERVAL)
    return _print_runs([view_run(folder)], as_json=False)


def check_engine(out: Path, wanted: str) -> None:
    """Raise UsageError if the run in `out` cannot become the engine `wanted`."""
    if edit.engine_of(out) != wanted:
        edit.check_free(wanted, load(), adapter=True)


def offer_engine(out: Path, wanted: str) -> None:
    """Make the adapter the engine `wanted`; without an id, ask the user first."""
    name = edit.adapter_id(out.resolve())
    if wanted or (
        edit.engine_of(out) is None
        and can_ask()
        and confirm(f"Use it as engine “{name}” in the chat?")
    ):
        use_engine(out, wanted)


def use_engine(out: Path, wanted: str, catalogue: Path | None = None) -> None:
    """Make the adapter in `out` an engine and print its id. Raise BalcaoError."""
    name = add_engine(out, wanted, catalogue)
    print(f"engine    {name}")
    if own := own_catalogue(load().engines[name]):
        print(f"catalogue {own}")
    else:
        say("No catalogue of its products was found. Name it: balcao runs use RUN --catalogue DIR")
    say(f"Ask it: balcao --engine {name} --memory")


def follow(folder: Path, stream: TextIO) -> RunView:
    """Show the run until it ends and return its final state."""
    screen = _LiveDisplay(folder, stream) if _can_draw(stream) else _PlainDisplay(folder, stream)
    while True:
        view = view_run(folder)
        screen.show(view)
        if view.state != "running":
            if advice := display.next_step(view):
                print(advice, file=stream, flush=True)
            return view
        time.sleep(_POLL_INTERVAL)


def _can_draw(stream: TextIO) -> bool:
    """Return whether the stream is a terminal that moves the cursor and shows braille."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="replace")
    try:
        "⣿✓✗".encode(stream.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"


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
            lines = display.sample_lines(self._metrics)
        if time.monotonic() - self._shown >= _PLAIN_INTERVAL or view.state != "running":
            self._shown = time.monotonic()
            lines.append(", ".join(filter(None, (display.summary(view), display.score_line(view)))))
        for line in lines:
            print(one_line(line), file=self._stream, flush=True)


class _LiveDisplay:
    """Draw the curve in place."""

    def __init__(self, folder: Path, stream: TextIO) -> None:
        self._metrics = MetricsReader(folder)
        self._stream = stream
        self._shown = 0.0
        self._height = 0

    def show(self, view: RunView) -> None:
        if time.monotonic() - self._shown < _LIVE_INTERVAL and view.state == "running":
            return
        self._shown = time.monotonic()
        self._metrics.refresh()
        width, rows = shutil.get_terminal_size()
        samples = display.sample_lines(self._metrics)[: max(rows // 3, 2)]
        height = min(rows - _OTHER_LINES - len(samples), _MAX_CURVE_HEIGHT)
        lines = [one_line(str(view.folder)), display.summary(view), display.score_line(view)]
        lines += display.curve(self._metrics.points, width - 1, height) + samples
        # One column is left free: some terminals wrap a line that fills the last one.
        text = "\n".join(line[: width - 1] for line in lines[: rows - 1])
        up = f"\x1b[{self._height}A" if self._height else ""
        self._stream.write(f"{up}\r\x1b[J{text}\n")
        self._stream.flush()
        self._height = text.count("\n") + 1


if __name__ == "__main__":
    sys.exit(main())
