"""A long command that is told to stop: by Ctrl-C, a signal to end, or a terminal that goes away."""

from __future__ import annotations

import os
import signal
import sys
import time
from types import FrameType, TracebackType
from typing import Any, Self

_SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]
_ONE_PRESS = 1.0
"""Seconds: `accelerate launch` passes on the Ctrl-C that the terminal has sent to all as well."""


class Stopping:
    """While it is open a signal ends the command as Ctrl-C does; the second one at once.

    After `gently` the first signal only makes it true, for whoever asks between two steps. `tell`:
    whether this process says so.
    """

    def __init__(self, *, tell: bool = True) -> None:
        self._asked = 0.0
        self._tell = tell
        self._gently = False
        self._before: dict[int, Any] = {}
        self._terminals: list[int] = []

    def __call__(self) -> bool:
        """Whether to stop."""
        return bool(self._asked)

    def __enter__(self) -> Self:
        # Now, since one that has gone does not say any more that it was a terminal.
        streams = [stream for stream in (sys.stdout, sys.stderr) if stream and stream.isatty()]
        self._terminals = [stream.fileno() for stream in streams]
        for number in _SIGNALS:
            # `nohup` has it ignored, which is to stay so. A shell's `&` ignores Ctrl-C: likewise.
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._hear)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def gently(self, wanted: bool) -> None:
        """From here on the first signal waits for the end of a step, or does not."""
        self._gently = wanted

    def _hear(self, number: int, _frame: FrameType | None) -> None:
        if number == getattr(signal, "SIGHUP", None):
            # Both the shell and the kernel send one: the second is no second wish.
            signal.signal(number, signal.SIG_IGN)
            self._write_nowhere()
        pressed = time.monotonic()
        if not self._gently or (self._asked and pressed - self._asked > _ONE_PRESS):
            raise KeyboardInterrupt
        if not self._asked:
            self._asked = pressed
            if self._tell:
                # print() may be in the middle of a line: a handler must not enter it again.
                os.write(2, b"\nStopping after this step; Ctrl-C again stops at once.\n")

    def _write_nowhere(self) -> None:
        """The terminal has gone: what is written to it from now on would be an error."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for handle in self._terminals:
            os.dup2(nowhere, handle)
        os.close(nowhere)
