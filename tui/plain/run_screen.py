"""`balcao runs follow` on a terminal: a run's curve, facts and last sample, drawn in place."""

from __future__ import annotations

import os
import select
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from engine.core.errors import BalcaoError
from engine.core.i18n import tr
from engine.core.text import one_line, printable
from engine.training.runs import display
from engine.training.runs.control import stop_run
from engine.training.runs.view import MetricsReader, RunView
from tui.terminal import UTF8, colour_disabled, is_dumb, set_charset, terminal_charset

_INTERVAL = 1.0
"""Seconds between two drawings."""
_MIN_CURVE, _MAX_CURVE = 4, 16
"""Lines of the curve."""
_ROOMY = 11
"""Lines for the curve from which on two of them are left blank."""
_SAMPLES = 3
"""The part of the lines that answers may take: a third."""
_COLOURS = {"✓": 32, "≈": 33, "✗": 31}


class RunScreen:
    """Draw a run in place, and obey its keys: `left` is true once the user has left."""

    def __init__(self, folder: Path, stream: TextIO, unicode: str = "auto") -> None:
        set_charset(stream, terminal_charset(unicode, python_charset=stream.encoding or UTF8))
        self.left = False
        self._metrics = MetricsReader(folder)
        self._stream = stream
        self._colour = not colour_disabled()
        self._has_keys = False
        self._stopping = self._note = ""
        self._shown = 0.0
        self._height = 0
        self._size = (0, 0)

    @contextmanager
    def keys(self) -> Iterator[None]:
        """Read single keys in the block, if there is a keyboard."""
        if not _has_keyboard():
            yield
            return
        import termios
        import tty

        before = termios.tcgetattr(sys.stdin)
        tty.setcbreak(sys.stdin)
        self._has_keys = True
        try:
            yield
        finally:
            self._has_keys = False
            with suppress(termios.error):  # the terminal has hung up
                termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)

    def wait(self, seconds: float, view: RunView) -> None:
        """Wait for a key, and obey it."""
        if not self._has_keys:
            time.sleep(seconds)
        elif select.select([sys.stdin], [], [], seconds)[0]:
            pressed = os.read(sys.stdin.fileno(), 64)
            self._has_keys = bool(pressed)
            self._obey(pressed[:1].lower(), view)

    def _obey(self, key: bytes, view: RunView) -> None:
        if key == b"s" and not self._stopping:
            self._stopping = tr("S again: it saves and stops after this step.")
            self._note = self._stopping
        elif key == b"s":
            self._stopping = ""
            self._note = tr("It saves and stops after this step.")
            try:
                stop_run(view.folder)
            except BalcaoError as error:
                self._note = str(error)
        else:
            self.left = key == b"q"
            self._stopping = self._note = ""
        self._shown = 0.0

    def show(self, view: RunView) -> None:
        """Draw the run, unless the last drawing was a moment ago."""
        if time.monotonic() - self._shown < _INTERVAL and view.state == "running":
            return
        self._shown = time.monotonic()
        self._metrics.refresh()
        size = shutil.get_terminal_size()
        # A narrower terminal has wrapped the lines: nobody knows where the first one is now.
        up = "\x1b[H\x1b[2J" if self._size not in (size, (0, 0)) else ""
        if not up and self._height:
            up = f"\x1b[{self._height}A"
        # One column is left free: some terminals wrap a line that fills the last one.
        lines = self._lines(view, size.columns - 1, size.lines - 1)[: size.lines - 1]
        self._stream.write(f"{up}\r\x1b[J" + "".join(f"{line}\n" for line in lines))
        self._stream.flush()
        self._height, self._size = len(lines), size

    def _lines(self, view: RunView, width: int, height: int) -> list[str]:
        above = display.facts(view, self._metrics.before, width)
        samples = display.sample_lines(self._metrics, width - 1)[: height // _SAMPLES]
        below = [f" {self._coloured(sign)} {text}" for sign, text in samples]
        if below:
            below.insert(0, display.sampled_at(self._metrics))
        end = (
            [self._footer(width)]
            if view.state == "running" and self._has_keys and not self.left
            else []
        )
        spare = height - len([*above, *below, *end])
        blank = [""] * (spare > _ROOMY)
        spare = min(spare - 2 * len(blank), _MAX_CURVE)
        curve = display.curve(self._metrics.points, width, max(spare, _MIN_CURVE))
        return [*(line[:width] for line in [*above, *curve]), *blank, *below, *blank, *end]

    def _coloured(self, sign: str) -> str:
        return f"\x1b[{_COLOURS[sign]}m{sign}\x1b[0m" if self._colour else sign

    def _footer(self, width: int) -> str:
        text = self._note or tr("Q leave (the run goes on) · S stop")
        text = one_line(printable(text), width)
        return f"\x1b[2m{text}\x1b[0m" if self._colour and not self._note else text


def can_draw(stream: TextIO) -> bool:
    """Return whether the stream is a terminal that moves the cursor."""
    return stream.isatty() and not is_dumb()


def _has_keyboard() -> bool:
    """Return whether keys come to this process: a job in the background may not ask for them."""
    try:
        import termios  # noqa: F401 - Windows has none

        return sys.stdin.isatty() and os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except (ImportError, OSError, ValueError):
        return False
