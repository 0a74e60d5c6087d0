"""The training runs: list them, follow one, stop one, have one answer in the chat.

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

from engine.config import engines as engines_file
from engine.config.settings import load
from engine.core.errors import UsageError
from engine.core.text import json_line, one_line
from engine.training.runs.display import (
    curve,
    next_step,
    runs_table,
    sample_lines,
    score_line,
    summary,
)
from engine.training.runs.folder import add_engine, lock_holder, stop_run
from engine.training.runs.view import (
    MetricsReader,
    RunView,
    find_run,
    list_runs,
    view_run,
)
from scripts.common import DONE, FAILED, INTERRUPTED, can_ask, confirm, guarded, say

_LIVE_EVERY, _PLAIN_EVERY = 1.0, 10.0
"""Seconds between two drawings, two lines."""
_LOOK_EVERY = 0.5
_HIGHEST = 16
_OTHER_LINES = 4
"""The run's folder, what it is at, its score, and the line where the cursor stands."""


def follow(folder: Path, stream: TextIO) -> RunView:
    """Show the run until it is no longer alive; returns how it ended."""
    drawing = _Live(folder, stream) if _can_draw(stream) else _Plain(folder, stream)
    view = view_run(folder)
    while True:
        drawing.draw(view)
        if view.state != "running":
            drawing.end(view)
            return view
        time.sleep(_LOOK_EVERY)
        view = view_run(folder)


def _can_draw(stream: TextIO) -> bool:
    """Whether it is a terminal with a cursor to move and with braille to draw in."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="replace")
    try:
        "⣿✓✗".encode(stream.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"


class _Plain:
    """Lines that stay: how far the run is, every ten seconds, and what every sample gave."""

    def __init__(self, folder: Path, stream: TextIO) -> None:
        self._metrics = MetricsReader(folder)
        self._stream = stream
        self._shown = 0.0
        self._sampled = 0

    def draw(self, view: RunView) -> None:
        self._metrics.refresh()
        lines = []
        if self._metrics.sampled_at > self._sampled:
            self._sampled = self._metrics.sampled_at
            lines = sample_lines(self._metrics)
        if time.monotonic() - self._shown >= _PLAIN_EVERY or view.state != "running":
            self._shown = time.monotonic()
            lines.append(", ".join(filter(None, (summary(view), score_line(view)))))
        for line in lines:
            print(one_line(line), file=self._stream, flush=True)

    def end(self, view: RunView) -> None:
        if words := next_step(view):
            print(words, file=self._stream, flush=True)


class _Live:
    """The curve, drawn again in its place."""

    def __init__(self, folder: Path, stream: TextIO) -> None:
        self._metrics = MetricsReader(folder)
        self._stream = stream
        self._shown = 0.0
        self._height = 0

    def draw(self, view: RunView) -> None:
        if time.monotonic() - self._shown < _LIVE_EVERY and view.state == "running":
            return
        self._shown = time.monotonic()
        self._metrics.refresh()
        width, rows = shutil.get_terminal_size()
        lines = [one_line(str(view.folder)), summary(view), score_line(view)]
        told = sample_lines(self._metrics)[: max(rows // 3, 2)]
        room = min(rows - _OTHER_LINES - len(told), _HIGHEST)
        lines += curve(self._metrics.points, width - 1, room) + told
        # One column less than there is: a line that fills the last one wraps in some terminals.
        text = "\n".join(line[: width - 1] for line in lines[: rows - 1])
        up = f"\x1b[{self._height}A" if self._height else ""
        self._stream.write(f"{up}\r\x1b[J{text}\n")
        self._stream.flush()
        self._height = text.count("\n") + 1

    def end(self, view: RunView) -> None:
        if words := next_step(view):
            self._stream.write(f"{words}\n")


_DO = ("list", "follow", "stop", "use")
_EVERY = 0.2


def make_parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    parser = argparse.ArgumentParser(
        prog="balcao runs",
        usage="balcao runs [-h] [--json] [list | [follow] RUN | stop RUN | use RUN [--engine ID]]",
        description="Training runs: list them, follow one with a live curve, stop one, or make"
        " its adapter an engine of the chat.",
    )
    parser.add_argument("words", nargs="*", metavar="RUN", help="its folder, or its name")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--engine", metavar="ID", default="", help="the engine's id, for `use`")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    options = make_parser().parse_args(argv)
    return guarded(lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    words: list[str] = options.words
    do = words.pop(0) if words and words[0] in _DO else ("follow" if words else "list")
    if len(words) > 1 or (do == "list" and words):
        raise UsageError("That is more than one run.", "See `balcao runs --help`.")
    if do == "list":
        return _list(list_runs(), as_json=options.json)
    folder = find_run(words[0]) if words else _only_one()
    if options.json:
        return _list([view_run(folder)], as_json=True)
    if do == "stop":
        return _stop(folder)
    if do == "use":
        return _use(folder, options.engine)
    return _follow(folder)


def _only_one() -> Path:
    """The run that is meant where none is named."""
    alive = [view.folder for view in list_runs() if view.state == "running"]
    if len(alive) == 1:
        return alive[0]
    found = "No run is alive" if not alive else f"{len(alive)} runs are alive"
    raise UsageError(f"{found}: name one.", "`balcao runs` lists them.")


def _list(views: Sequence[RunView], *, as_json: bool) -> int:
    if as_json:
        for view in views:
            print(json_line(msgspec.to_builtins(view, enc_hook=str)))
        return DONE
    if not views:
        say("balcao: there is no run yet; `balcao train` begins one.")
        return DONE
    folders = ["FOLDER", *(one_line(str(view.folder)) for view in views)]
    for row, folder in zip(runs_table(views), folders, strict=True):
        print(f"{row}  {folder}")
    return DONE


def _follow(folder: Path) -> int:
    try:
        view = follow(folder, sys.stdout)
    except KeyboardInterrupt:
        # Not raised again: what is said of that would sound as if the run had stopped.
        say("balcao: no longer followed; the run goes on.")
        return INTERRUPTED
    return FAILED if view.state in ("failed", "killed") else DONE


def _stop(folder: Path) -> int:
    stop_run(folder)
    say("It saves and stops after this step.")
    while lock_holder(folder) is not None:
        time.sleep(_EVERY)
    _list([view_run(folder)], as_json=False)
    return DONE


def _use(folder: Path, wanted: str) -> int:
    if wanted:
        check_engine(folder, wanted)
    use_engine(folder, wanted)
    return DONE


def check_engine(out: Path, wanted: str) -> None:
    """Raises UsageError if the run in `out` cannot become an engine of that id."""
    if engines_file.engine_of(out) != wanted:
        engines_file.check_unused(wanted, load())


def offer_engine(out: Path, wanted: str) -> None:
    """Make the adapter the engine `wanted`; without a name, ask the user first."""
    name = engines_file.adapter_id(out.resolve())
    if wanted or (
        engines_file.engine_of(out) is None
        and can_ask()
        and confirm(f"Use it as engine “{name}” in the chat?")
    ):
        use_engine(out, wanted)


def use_engine(out: Path, wanted: str) -> None:
    """Make the adapter in `out` an engine, and say which. Raises BalcaoError."""
    name = add_engine(out, wanted)
    print(f"engine    {name}")
    say(f"Ask it: balcao --engine {name}; in the chat F2 has it.")


if __name__ == "__main__":
    sys.exit(main())
