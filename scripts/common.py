"""What every command shares: one way to end, in words and in exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress

from engine.core import i18n
from engine.core.errors import BalcaoError, SettingsError, UsageError
from engine.core.i18n import tr
from engine.core.text import one_line

DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130


def say(message: str) -> None:
    """A message for the person: stderr, since stdout is for results."""
    print(message, file=sys.stderr, flush=True)


def speak() -> None:
    """Have the language of the settings in force; where they cannot be read, the locale's."""
    from engine.config.settings import load

    with suppress(SettingsError):
        i18n.choose(load().language)


def guarded(command: Callable[[], int]) -> int:
    """Run `command`; an error of ours, Ctrl-C or a closed pipe ends in its exit code."""
    try:
        return command()
    except BalcaoError as error:
        say(f"balcao: {one_line(str(error))}")
        return USAGE if isinstance(error, UsageError) else FAILED
    except KeyboardInterrupt:
        say(tr("balcao: stopped."))
        return INTERRUPTED
    except BrokenPipeError:
        # The reader (head, less) has gone. stdout is pointed away so that Python's own flush at
        # exit has nothing to complain about.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
