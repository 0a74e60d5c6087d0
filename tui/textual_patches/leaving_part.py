"""Signals that end the chat: what came of an answer is kept, as when one leaves by key.

A line that breaks (SSH, a closed window) is such a signal, SIGHUP, and no accident: without this
the words of the last half second would be lost.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable

PATIENCE = 10
"""Seconds after which a chat that cannot leave ends all the same: nobody is there to end it."""


class Terminals:
    """The program's streams that are terminals: noted now, since one that has gone says no more."""

    def __init__(self) -> None:
        streams = (sys.__stdin__, sys.__stdout__, sys.__stderr__)
        self._handles = [one.fileno() for one in streams if one and one.isatty()]

    def away(self) -> None:
        """The terminal has gone: what is written to it from now on would be an error."""
        nowhere = os.open(os.devnull, os.O_RDWR)
        for handle in self._handles:
            os.dup2(nowhere, handle)
        os.close(nowhere)


class Leaving:
    """Hears SIGHUP and SIGTERM for an app from here on, as long as its loop runs."""

    def __init__(self, leave: Callable[[int], Awaitable[None]]) -> None:
        """`leave` leaves, with the exit code that it is given."""
        self._leave = leave
        self._task: asyncio.Future[None] | None = None
        self._terminals = Terminals()
        for number in (signal.SIGHUP, signal.SIGTERM):
            # `nohup` has it ignored, which is to stay so.
            if signal.getsignal(number) is not signal.SIG_IGN:
                asyncio.get_running_loop().add_signal_handler(number, self._hear, number)

    def _hear(self, number: int) -> None:
        if number == signal.SIGHUP:
            self._terminals.away()
        if self._task is None:  # both the shell and the kernel send one
            signal.alarm(PATIENCE)
            self._task = asyncio.ensure_future(self._leave(128 + number))
