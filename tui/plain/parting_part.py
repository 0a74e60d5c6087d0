"""Signals that end the plain chat, and a terminal that goes away without one: all is kept.

A line that breaks (SSH, a closed window) is no accident, but a way to leave.
"""

from __future__ import annotations

import signal
from types import FrameType

from tui.textual_patches.leaving_part import PATIENCE, Terminals

HUNG_UP = 128 + signal.SIGHUP
"""The exit code after a line that broke."""


class Gone(Exception):
    """The terminal can be neither read nor written any more."""


class Parting:
    """Hears SIGHUP and SIGTERM once it listens; `code` is then what to end with, 0 until then."""

    def __init__(self) -> None:
        self.code = 0
        self._terminals = Terminals()

    def listen(self) -> None:
        """From here on a signal stops what is going on, as Ctrl-C does, and the chat ends."""
        for number in (signal.SIGHUP, signal.SIGTERM):
            # `nohup` has it ignored, which is to stay so.
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._hear)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self.code:  # both the shell and the kernel send one
            return
        self.code = 128 + number
        if number == signal.SIGHUP:
            self._terminals.away()
        signal.alarm(PATIENCE)
        interrupt = signal.getsignal(signal.SIGINT)
        if not callable(interrupt):
            raise KeyboardInterrupt
        # asyncio's own while an answer comes: that one cancels it, so that what came is kept.
        interrupt(signal.SIGINT, frame)
