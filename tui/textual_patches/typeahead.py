"""Save keys typed during start-up for the composer. Used before Textual is imported."""

from __future__ import annotations

import os
import re
import select
import termios
from collections.abc import Container, Iterator
from contextlib import contextmanager, suppress

_IFLAG, _LFLAG = 0, 3
_READ_SIZE = 65536
_SEQUENCE = r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|O.|.)?"
_KEY = r"[\x00-\x1f\x7f]"


@contextmanager
def capture_typing(terminal: int) -> Iterator[str]:
    """Turn off echo and line editing of a terminal; yield the keys typed before.

    Enter is a line feed in them. Textual restores, when it exits, the mode that it found;
    this restores the original one.
    """
    original = termios.tcgetattr(terminal)
    raw = termios.tcgetattr(terminal)
    raw[_IFLAG] &= ~(termios.ICRNL | termios.IXON)
    raw[_LFLAG] &= ~(termios.ICANON | termios.ECHO)
    termios.tcsetattr(terminal, termios.TCSANOW, raw)
    try:
        yield _read_pending(terminal)
    finally:
        with suppress(termios.error):  # the terminal has hung up
            termios.tcsetattr(terminal, termios.TCSANOW, original)


def _read_pending(terminal: int) -> str:
    typed = b""
    while len(typed) < _READ_SIZE and select.select([terminal], [], [], 0)[0]:
        more = os.read(terminal, _READ_SIZE)
        if not more:
            break
        typed += more
    # The mode may have changed between two keys, so Enter may be \r too. NUL marks end of file.
    return typed.decode("utf-8", "replace").replace("\r", "\n").replace("\0", "")


def without_keys(typed: str) -> str:
    """Strip control keys and escape sequences, for the plain chat."""
    return re.sub(_SEQUENCE, "", typed)


def split_at_key(typed: str) -> tuple[str, str]:
    """Split before the first control key, Enter included."""
    key = re.search(_KEY, typed)
    return (typed[: key.start()], typed[key.start() :]) if key else (typed, "")


def as_terminal_input(keys: str, known: Container[str]) -> str:
    """Encode keys as the terminal sends them to Textual, without sequences that are not `known`.

    The others were meant for the program that ran before: a report, or half a click.
    """
    sequences = re.sub(_SEQUENCE, lambda found: found[0] if found[0] in known else "", keys)
    return sequences.replace("\n", "\r")
