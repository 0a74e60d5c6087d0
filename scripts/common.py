"""Shared by all commands: exit codes, messages, progress, confirmation, signals."""

from __future__ import annotations

import errno
import io
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Self, TextIO

from engine.config.settings import Settings, load
from engine.core import i18n
from engine.core.errors import BalcaoError, SettingsError, UsageError, why
from engine.core.i18n import tr
from engine.core.process import Terminals, not_ignored, own_command, runnable
from engine.core.text import did_you_mean, duration, one_line, printable
from engine.core.types import Progress

if TYPE_CHECKING:
    import argparse

DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130


MOST = 2**53 - 1
"""The largest number of an option: files in JSON hold it exactly."""


def at_least(minimum: int) -> Callable[[str], int]:
    """Return a type of whole numbers for argparse."""

    def whole(text: str) -> int:
        from argparse import ArgumentTypeError

        try:
            number = int(text)
        except ValueError:
            raise ArgumentTypeError(tr("must be a whole number")) from None
        if not minimum <= number <= MOST:
            raise ArgumentTypeError(
                tr("must be {minimum} or more", minimum=minimum)
                if number < minimum
                else tr("must be at most {most}", most=MOST)
            )
        return number

    return whole


whole = at_least(-MOST)


def say(message: str) -> None:
    """Print a message on stderr: stdout is for results. Ignore a missing stderr."""
    with suppress(OSError):
        print(runnable(message), file=sys.stderr, flush=True)


def say_folded(message: str) -> None:
    """Print a message on stderr; on a terminal, break its lines between words."""
    message = runnable(message)
    say(fold_lines(message) if sys.stderr.isatty() else message)


def print_folded(message: str, indent: str = "") -> None:
    """Print a result; on a terminal, break its lines between words."""
    message = runnable(message)
    print(fold_lines(message, indent) if sys.stdout.isatty() else message)


def fold_lines(message: str, indent: str = "") -> str:
    """Break a message between words, by the width of the terminal."""
    from textwrap import fill

    width = shutil.get_terminal_size().columns
    return fill(
        message, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def call(*words: object, indent: str = "") -> str:
    """Return a command of this program that runs as printed; backslashes continue its lines."""
    import shlex

    width = shutil.get_terminal_size().columns - len(" \\")
    lines = [f"{indent}{own_command()}"]
    for word in (shlex.quote(str(one)) for one in words):
        if len(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(f"{indent}  {word}")
    return " \\\n".join(lines)


def confirm(question: str, *, yes: bool = False) -> bool:
    """Ask a yes/no question on stderr; `yes` (the option --yes) answers it.

    Raise UsageError if stdin or stderr is not a terminal.
    """
    if yes:
        return True
    if not can_ask():
        raise UsageError(tr("This needs your confirmation."), tr("Add --yes to confirm."))
    print(f"{question} {tr('[y/N]')} ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().casefold() in ("y", "yes", "s", "sim")


def can_ask() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()


def notify(text: str) -> None:
    """Ring stdout's terminal and show `text` as a notification (OSC 9 and 777), if it has one."""
    from tui.terminal import notification

    if sys.stdout.isatty():
        sys.stdout.write(notification(text))
        sys.stdout.flush()


def has_colour() -> bool:
    """Report whether stdout is a terminal whose user wants colours."""
    wanted = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return wanted and sys.stdout.isatty()


def speak() -> None:
    """Use the language of the settings, or the locale's if the settings are invalid."""
    with suppress(SettingsError):
        settings = load()
        i18n.choose(settings.language)
        say_notice(settings)


def say_notice(settings: Settings) -> None:
    """Say on stderr which values of the settings no longer mean what they did."""
    if settings.notice:
        say(f"balcao: {one_line(settings.notice)}")


def guarded(command: Callable[[], int]) -> int:
    """Run `command` and return its exit code, also after an error, Ctrl-C or without output."""
    _open_streams()
    try:
        try:
            return command()
        finally:
            sys.stdout.flush()
    except BalcaoError as error:
        say_folded(f"balcao: {one_line(str(error))}")
        return USAGE if isinstance(error, UsageError) else FAILED
    except KeyboardInterrupt as stop:
        say(" ".join([tr("balcao: stopped."), *map(str, stop.args)]))
        return INTERRUPTED
    except OSError as error:
        # Python's flush at exit must not fail as well.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):  # the reader (head, less) is gone
            place = error.filename or tr("input or output")
            say(f"balcao: {one_line(f'{place}: {why(error)}')}")
        return FAILED


def _open_streams() -> None:
    """Open the null device in place of closed streams (`<&-`), which are None in Python."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115


def command(
    make_parser: Callable[[], argparse.ArgumentParser], *, speaks: bool = False
) -> Callable[[Callable[[argparse.Namespace], int]], Callable[..., int]]:
    """Let a function of parsed options, and their `arguments`, take those of a command line.

    `speaks` is whether it writes in the user's language.
    """

    def decorate(run: Callable[[argparse.Namespace], int]) -> Callable[..., int]:
        def main(argv: Sequence[str] | None = None) -> int:
            def parsed() -> int:
                options = parse(make_parser(), argv)
                options.arguments = sys.argv[1:] if argv is None else argv
                if speaks:
                    speak()
                return run(options)

            return guarded(parsed)

        return main

    return decorate


@contextmanager
def printable_errors() -> Iterator[None]:
    """Say what argparse reports in a sentence, not below a wall of options.

    It is cleaned: argparse repeats the argument, which a terminal might obey.
    """
    written = io.StringIO()
    try:
        with redirect_stderr(written):
            yield
    finally:
        *usage, said = written.getvalue().rstrip().rpartition("\n")
        program, found, error = said.partition(": error: ")
        if found:
            more = tr("See {command} --help.", command=program)
            said = f"balcao: {error}{'' if error.endswith('?') else '.'} {more}"
            say_folded(printable(said))
        elif said:
            say(printable("".join([*usage, said])))


def parse(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse a command line."""
    with printable_errors():
        options, unknown = parser.parse_known_args(argv)
        if unknown:
            hints = [
                did_you_mean(word.partition("=")[0], _options(parser))
                for word in unknown
                if word.startswith("--")
            ]
            hint = "".join(hints)
            end = "." if hint else ""
            parser.error(f"unrecognized arguments: {' '.join(unknown)}{end}{hint}")
    return options


def _options(parser: argparse.ArgumentParser) -> list[str]:
    usage = parser.format_help()
    return sorted(set(re.findall(r"--[a-z][a-z-]*", usage)))


INDENT = " " * 10
"""Of a line that continues another one: its name has 10 characters."""
_LIVE_INTERVAL, _PLAIN_INTERVAL = 0.2, 10.0
"""Seconds between two drawings on a terminal, two lines elsewhere."""


class ProgressLine:
    """Show progress and the time left, in one line of a terminal or in lines of a file."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._live = stream.isatty()
        self._began = time.monotonic()
        self._fraction = 1.0
        self._shown = self._began if not self._live else 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._write("\r\x1b[K")

    def print_above(self, text: str) -> None:
        """Print text that stays, above the live line."""
        text = runnable(text)
        if self._live:
            lines = printable(text).split("\n")
            text = "\r\x1b[K" + "\n".join(fold_lines(line, INDENT) for line in lines)
            self._write(f"{text}\n")
        else:
            self._write(f"{printable(text)}\n")

    def show(self, progress: Progress) -> None:
        """Draw the progress, unless the last drawing was a moment ago."""
        now = time.monotonic()
        if progress.fraction is not None:
            if progress.fraction < self._fraction:  # another phase: time it from here
                self._began = now
                self._shown = 0.0 if self._live else now
            self._fraction = progress.fraction
        if now - self._shown < (_LIVE_INTERVAL if self._live else _PLAIN_INTERVAL):
            return
        self._shown = now
        line = _line(progress, now - self._began)
        if self._live:
            width = shutil.get_terminal_size().columns - 1
            self._write(f"\r\x1b[K{one_line(line, width)}")
        else:
            self._write(f"{one_line(line)}\n")

    def _write(self, text: str) -> None:
        # A closed terminal raises EIO; the work continues without it.
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError as error:
            if error.errno != errno.EIO:
                raise


def _line(progress: Progress, seconds: float) -> str:
    if not progress.fraction:
        return tr("{label}, {time} so far", label=progress.label, time=duration(seconds))
    left = progress.left
    if left is None:
        left = seconds * (1 - progress.fraction) / progress.fraction
    values = {"share": f"{progress.fraction:4.0%}", "label": progress.label}
    return tr("{share}  {label}, {time} left", time=duration(left), **values)


_SAME_PRESS = 1.0
"""Seconds in which a second Ctrl-C is the same press, passed on by `accelerate launch`."""


class StopSignals:
    """Stop the command on SIGINT, SIGTERM and SIGHUP, by raising KeyboardInterrupt.

    Inside `between_steps()`, the first signal only makes the object's call return True, and the
    second one stops at once. `announce`: whether to explain that on stderr.
    """

    def __init__(self, *, announce: bool = True) -> None:
        self._requested = 0.0
        self._announce = announce
        self._deferred = False
        self._before: dict[int, Any] = {}
        self._terminals = Terminals()

    def __call__(self) -> bool:
        """Return whether to stop after this step."""
        return bool(self._requested)

    def __enter__(self) -> Self:
        for number in not_ignored(("SIGINT", "SIGTERM", "SIGHUP")):
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    @contextmanager
    def between_steps(self) -> Iterator[Self]:
        """Defer the first signal in the block to the end of a step."""
        self._deferred = True
        try:
            yield self
        finally:
            self._deferred = False

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if number == getattr(signal, "SIGHUP", None):
            # Both the shell and the kernel send one: the second must not stop at once.
            signal.signal(number, signal.SIG_IGN)
            self._terminals.detach()
        pressed = time.monotonic()
        if not self._deferred or (self._requested and pressed - self._requested > _SAME_PRESS):
            raise KeyboardInterrupt
        if not self._requested:
            self._requested = pressed
            if self._announce:
                # Not print(), which may be in the middle of a line and must not be entered twice.
                os.write(2, b"\nStopping after this step. Press Ctrl-C again to stop now.\n")
