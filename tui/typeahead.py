"""Keys typed while the program starts, kept for the composer; used before Textual is imported."""

from __future__ import annotations

import os
import re
import select
import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_IFLAG, _LFLAG = 0, 3
_MOST = 65536
_KEY_SEQUENCE = r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|O.|.)?"


@contextmanager
def typing_kept(terminal: int) -> Iterator[str]:
    """Stop the terminal (a file descriptor) from echoing and rewriting what is typed meanwhile.

    Gives what has been typed before. Until then the terminal was in its own line mode, in which
    Enter arrives as a line feed; from now on it is the carriage return that Textual knows. Textual
    puts back on leaving what it found on entering, so the first state is restored here.
    """
    before = termios.tcgetattr(terminal)
    quiet = termios.tcgetattr(terminal)
    quiet[_IFLAG] &= ~(termios.ICRNL | termios.IXON)
    quiet[_LFLAG] &= ~(termios.ICANON | termios.ECHO)
    termios.tcsetattr(terminal, termios.TCSANOW, quiet)
    try:
        yield _typed_so_far(terminal)
    finally:
        with suppress(termios.error):  # it has hung up
            termios.tcsetattr(terminal, termios.TCSANOW, before)


def _typed_so_far(terminal: int) -> str:
    typed = b""
    while len(typed) < _MOST and select.select([terminal], [], [], 0)[0]:
        more = os.read(terminal, _MOST)
        if not more:
            break
        typed += more
    return re.sub(_KEY_SEQUENCE, "", typed.decode("utf-8", "replace")) if typed else ""
