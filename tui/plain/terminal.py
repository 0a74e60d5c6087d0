"""What the plain chat says and hears: whole lines, no colour, no movement of a cursor."""

from __future__ import annotations

import codecs
import errno
import io
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from types import FrameType
from typing import TextIO

from engine.core.i18n import tr
from engine.core.signals import Terminals, not_ignored
from engine.core.text import one_line, printable
from tui.terminal import UTF8, set_charset, terminal_charset
from tui.textual_patches.driver import EXIT_TIMEOUT

PROMPT = tr("You: ")
_CONTINUES = "\\"


class Voice:
    """Two streams; one that is no terminal is taken and given as it is."""

    def __init__(self, heard: TextIO, said: TextIO, unicode: str = "auto") -> None:
        """`unicode` is the setting of that name."""
        self._heard = heard
        self._said = said
        self._terminal = heard.isatty()
        self._shown = said.isatty()
        self._terminals = Terminals()
        own = codecs.lookup(said.encoding or UTF8).name
        charset = terminal_charset(unicode, python_charset=own) if self._shown else own
        set_charset(said, charset)
        if isinstance(heard, io.TextIOWrapper):
            heard.reconfigure(encoding=charset if self._terminal else None, errors="replace")
        self._held = ""

    def say(self, text: str = "") -> None:
        """Say a line, or some."""
        self._put(printable(text) + "\n")

    def tell(self, text: str) -> None:
        """Say something about the state of things, on one line."""
        self.say(one_line(text))

    def speak(self, piece: str) -> None:
        """Say more of an answer, up to its last whole word: half of one is read out wrongly."""
        text = self._held + printable(piece)
        upto = 1 + max(text.rfind(" "), text.rfind("\n"))
        self._held = text[upto:]
        self._put(text[:upto])

    def finish(self) -> None:
        """Say the word that was held back, and end the line."""
        held, self._held = self._held, ""
        self._put(held + "\n")

    def _put(self, text: str) -> None:
        """Write it. Raises Gone where the terminal has hung up; from then on it goes nowhere."""
        try:
            print(text, end="", file=self._said, flush=True)
        except OSError as error:
            if not self._shown or error.errno != errno.EIO:
                raise
            self._terminals.detach()
            raise Gone from error

    def lines(self, typed: str = "") -> Iterator[str | None]:
        """What the person says, until the end of it; None where Ctrl-C was pressed instead.

        `typed` was typed before the first. A backslash at the end of a line goes on with the next.
        Raises Gone once the terminal has hung up: what stood in the line was not sent.
        """
        *before, said = typed.split("\n")
        for line in before:
            self.say(PROMPT + line)
            yield line
        while True:
            try:
                line = self._line("" if said else PROMPT)
            except EOFError:
                break
            except KeyboardInterrupt:
                said = ""
                self.say()
                yield None
                continue
            if line.endswith(_CONTINUES):
                said += line.removesuffix(_CONTINUES) + "\n"
                continue
            yield said + line
            said = ""
        if said:
            yield said
        if self._terminal:
            self.say()

    def _line(self, prompt: str) -> str:
        try:
            if self._terminal and self._heard is sys.stdin and self._said is sys.stdout:
                return input(prompt)
            line = self._heard.readline()
        except OSError as error:
            raise EOFError from error
        finally:
            # To input() the end of a line that broke is an Enter, or an end of file.
            if self._terminal and not self._heard.isatty():
                self._terminals.detach()
                raise Gone
        if not line:
            raise EOFError
        line = line.rstrip("\r\n")
        if line.strip():
            # Nobody has typed it: what is asked belongs to what is read afterwards.
            self.say(prompt + line)
        return line


def edit_lines() -> None:
    """Let input() edit a line and walk through those before, where the terminal is up to it."""
    with suppress(ImportError):
        import readline

        # No escape sequence without a need: a paste comes as lines, like everything else here.
        readline.parse_and_bind("set enable-bracketed-paste off")


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
        for number in not_ignored(("SIGHUP", "SIGTERM")):
            signal.signal(number, self._hear)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self.code:  # both the shell and the kernel send one
            return
        self.code = 128 + number
        if number == signal.SIGHUP:
            self._terminals.detach()
        signal.alarm(EXIT_TIMEOUT)
        interrupt = signal.getsignal(signal.SIGINT)
        if not callable(interrupt):
            raise KeyboardInterrupt
        # asyncio's own while an answer comes: that one cancels it, so that what came is kept.
        interrupt(signal.SIGINT, frame)
