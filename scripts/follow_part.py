"""Follows a run: a live curve of its loss in a terminal, a line now and then elsewhere."""

from __future__ import annotations

import io
import os
import shutil
import time
from pathlib import Path
from typing import TextIO

from engine.core.text import one_line
from engine.training.runs.curve_part import curve
from engine.training.runs.display import asked, next_step, score, sentence
from engine.training.runs.run_metrics_part import RunMetrics
from engine.training.runs.view import RunView, look

_LIVE_EVERY, _PLAIN_EVERY = 1.0, 10.0
"""Seconds between two drawings, two lines."""
_LOOK_EVERY = 0.5
_HIGHEST = 16
_OTHER_LINES = 4
"""The run's folder, what it is at, its score, and the line where the cursor stands."""


def follow(folder: Path, stream: TextIO) -> RunView:
    """Show the run until it is no longer alive; returns how it ended."""
    drawing = _Live(folder, stream) if _can_draw(stream) else _Plain(folder, stream)
    view = look(folder)
    while True:
        drawing.draw(view)
        if view.state != "running":
            drawing.end(view)
            return view
        time.sleep(_LOOK_EVERY)
        view = look(folder)


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
        self._metrics = RunMetrics(folder)
        self._stream = stream
        self._shown = 0.0
        self._sampled = 0

    def draw(self, view: RunView) -> None:
        self._metrics.refresh()
        lines = []
        if self._metrics.asked_at > self._sampled:
            self._sampled = self._metrics.asked_at
            lines = asked(self._metrics)
        if time.monotonic() - self._shown >= _PLAIN_EVERY or view.state != "running":
            self._shown = time.monotonic()
            lines.append(", ".join(filter(None, (sentence(view), score(view)))))
        for line in lines:
            print(one_line(line), file=self._stream, flush=True)

    def end(self, view: RunView) -> None:
        if words := next_step(view):
            print(words, file=self._stream, flush=True)


class _Live:
    """The curve, drawn again in its place."""

    def __init__(self, folder: Path, stream: TextIO) -> None:
        self._metrics = RunMetrics(folder)
        self._stream = stream
        self._shown = 0.0
        self._height = 0

    def draw(self, view: RunView) -> None:
        if time.monotonic() - self._shown < _LIVE_EVERY and view.state == "running":
            return
        self._shown = time.monotonic()
        self._metrics.refresh()
        width, rows = shutil.get_terminal_size()
        lines = [one_line(str(view.folder)), sentence(view), score(view)]
        told = asked(self._metrics)[: max(rows // 3, 2)]
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
