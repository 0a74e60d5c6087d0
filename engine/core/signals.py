"""Signals that end the program, and the terminal that may be gone when they arrive."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable


def not_ignored(names: Iterable[str]) -> list[int]:
    """Return the numbers of the signals that this system has and that nobody has set to ignored.

    `nohup` ignores SIGHUP and a shell's `&` ignores SIGINT: neither may be handled after all.
    """
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    return [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]


class Terminals:
    """The standard streams that are terminals, noted early: a closed one no longer says it is."""

    def __init__(self) -> None:
        streams = (sys.__stdin__, sys.__stdout__, sys.__stderr__)
        self._handles = [one.fileno() for one in streams if one and one.isatty()]

    def detach(self) -> None:
        """Point them to the null device: writing to a terminal that is gone fails."""
        nowhere = os.open(os.devnull, os.O_RDWR)
        for handle in self._handles:
            os.dup2(nowhere, handle)
        os.close(nowhere)
