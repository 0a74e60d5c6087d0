"""Keys typed while the program starts, kept for the composer; used before Textual is imported."""

from __future__ import annotations

import os
import re
import select
import termios
from collections.abc import Container, Iterator
from contextlib import contextmanager, suppress

_IFLAG, _LFLAG = 0, 3
_MOST = 65536
_SEQUENCE = r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|O.|.)?"
_KEY = r"[\x00-\x1f\x7f]"


@contextmanager
def capture_typing(terminal: int) -> Iterator[str]:
    """Stop the terminal (a file descriptor) from echoing and rewriting what is typed meanwhile.

    Gives what has been typed before, Enter as a line feed. Until then the terminal was in its own
    line mode, in which Enter arrives as one; from now on it is the carriage return that Textual
    knows. Textual puts back on leaving what it found on entering, so the first state is restored
    here.
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
    # The terminal's mode may have changed between two keys. A NUL stands for the end of a file.
    return typed.decode("utf-8", "replace").replace("\r", "\n").replace("\0", "")


def without_keys(typed: str) -> str:
    """What was typed without its keys, for a chat that knows lines alone."""
    return re.sub(_SEQUENCE, "", typed)


def split_at_key(typed: str) -> tuple[str, str]:
    """The text before the first key, an Enter among them; and that key with all behind it."""
    key = re.search(_KEY, typed)
    return (typed[: key.start()], typed[key.start() :]) if key else (typed, "")


def as_terminal_input(keys: str, known: Container[str]) -> str:
    """The same as a terminal sends it from now on; of the sequences those that are `known`.

    What else lies in its buffer was for the program before: a report, half a click.
    """
    sequences = re.sub(_SEQUENCE, lambda found: found[0] if found[0] in known else "", keys)
    return sequences.replace("\n", "\r")
