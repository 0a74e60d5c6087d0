"""How far a long command is, on stderr: one live line in a terminal, plain lines elsewhere."""

from __future__ import annotations

import errno
import shutil
import time
from types import TracebackType
from typing import Self, TextIO

from engine.core.text import one_line
from engine.core.types import Progress

_LIVE_EVERY = 0.2
_PLAIN_EVERY = 10.0
"""Seconds between two lines."""
_MINUTE = 60


class ProgressLine:
    """Shows progress with the time left; leaves a terminal's line clean when it ends."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._live = stream.isatty()
        self._began = time.monotonic()
        self._shown = self._began if not self._live else 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live:
            self._write("\r\x1b[K")

    def tell(self, sentence: str) -> None:
        """A line that stays, above the live one."""
        self._write(("\r\x1b[K" if self._live else "") + one_line(sentence) + "\n")

    def show(self, progress: Progress) -> None:
        """Draw, unless the last drawing was a moment ago."""
        now = time.monotonic()
        if now - self._shown < (_LIVE_EVERY if self._live else _PLAIN_EVERY):
            return
        self._shown = now
        line = _line(progress, now - self._began)
        if self._live:
            width = shutil.get_terminal_size().columns - 1
            self._write(f"\r\x1b[K{one_line(line, width)}")
        else:
            self._write(f"{line}\n")

    def _write(self, text: str) -> None:
        """A terminal that has been closed says EIO: the work that is shown must outlive that."""
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError as error:
            if error.errno != errno.EIO:
                raise


def _line(progress: Progress, seconds: float) -> str:
    if not progress.fraction:
        return f"{progress.label}, {_span(seconds)} so far"
    left = seconds * (1 - progress.fraction) / progress.fraction
    return f"{progress.fraction:4.0%}  {progress.label}, {_span(left)} left"


def _span(seconds: float) -> str:
    if seconds < _MINUTE:
        return f"{seconds:.0f} s"
    return f"{seconds // _MINUTE:.0f} min {seconds % _MINUTE:.0f} s"
