"""Read and write whole lines: no colours, no cursor movement, no screen."""

from __future__ import annotations

import codecs
import errno
import io
import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from types import FrameType
from typing import TextIO

from rich.cells import cell_len

from engine.core.i18n import tr
from engine.core.process import Terminals, ignore_signals, not_ignored
from engine.core.text import one_line, printable
from tui.terminal import UTF8, set_charset, terminal_charset
from tui.textual_patches.driver import EXIT_TIMEOUT

PROMPT = tr("You: ")
_CONTINUES = "\\"
_PARTS = re.compile(r"\n|[^\S\n]+|\S+")
"""A line break, blanks or a word."""


class LineTerminal:
    """An input and an output stream; either may be a pipe instead of a terminal."""

    def __init__(self, reader: TextIO, writer: TextIO, unicode: str = "auto") -> None:
        """Choose the character set; `unicode` is the setting of that name."""
        self._reader = reader
        self._writer = writer
        self._reads_terminal = reader.isatty()
        self._writes_terminal = writer.isatty()
        self._terminals = Terminals()
        own = codecs.lookup(writer.encoding or UTF8).name
        charset = terminal_charset(unicode, python_charset=own) if self._writes_terminal else own
        set_charset(writer, charset)
        if isinstance(reader, io.TextIOWrapper):
            reader.reconfigure(encoding=charset if self._reads_terminal else None, errors="replace")
        self._word = ""
        self._is_streaming = False
        self._column = 0

    def write(self, text: str = "") -> None:
        self._write(printable(text) + "\n")

    def report(self, sentence: str) -> None:
        self.write(one_line(sentence))

    def stream(self, text: str) -> None:
        """Write text up to its last whole word: a screen reader misreads half a word."""
        text = self._word + printable(text)
        self._is_streaming = True
        end = 1 + max(text.rfind(" "), text.rfind("\n"))
        self._word = text[end:]
        self._write(text[:end])

    def end_stream(self) -> None:
        """Write the last word of streamed text, and end its line."""
        if self._is_streaming:
            word, self._word, self._is_streaming = self._word, "", False
            self._write(word + "\n")

    def _write(self, text: str) -> None:
        """Write text, in a terminal with its lines broken between words.

        Raises HungUp if the terminal is gone; later text goes nowhere.
        """
        try:
            if self._writes_terminal:
                text = self._wrapped(text)
            print(text, end="", file=self._writer, flush=True)
        except OSError as error:
            if not self._writes_terminal or error.errno != errno.EIO:
                raise
            self._terminals.detach()
            raise HungUp from error

    def _wrapped(self, text: str) -> str:
        """Return text of whole words with line breaks where the terminal would cut a word.

        A word longer than a line is left to the terminal.
        """
        width = _width(self._writer)
        parts = []
        for part in _PARTS.findall(text):
            cells = cell_len(part)
            if part == "\n":
                self._column = 0
            elif self._column + cells <= width or not width:
                self._column += cells
            elif part.isspace():
                self._column = width
                continue
            else:
                if self._column:
                    parts.append("\n")
                self._column = cells % width
            parts.append(part)
        return "".join(parts)

    def lines(self, typed: str = "") -> Iterator[str | None]:
        """Yield lines until the end of the input, and None for Ctrl-C.

        `typed` was typed before the first line. A backslash at the end of a line continues it on
        the next. Raises HungUp if the terminal is gone; the line being typed is dropped.
        """
        *before, draft = typed.split("\n")
        for line in before:
            self.write(PROMPT + line)
            yield line
        while True:
            try:
                line = self._read_line("" if draft else PROMPT)
            except EOFError:
                break
            except KeyboardInterrupt:
                draft = ""
                self.write()
                yield None
                continue
            if line.endswith(_CONTINUES):
                draft += line.removesuffix(_CONTINUES) + "\n"
                continue
            yield draft + line
            draft = ""
        if draft:
            yield draft
        if self._reads_terminal:
            self.write()

    def _read_line(self, prompt: str) -> str:
        try:
            if self._reads_terminal and self._reader is sys.stdin and self._writer is sys.stdout:
                return input(prompt)
            line = self._reader.readline()
        except OSError as error:
            raise EOFError from error
        finally:
            # input() takes a hang-up for Enter, or for the end of a file.
            if self._reads_terminal and not self._reader.isatty():
                self._terminals.detach()
                raise HungUp
        if not line:
            raise EOFError
        line = line.rstrip("\r\n")
        if line.strip():
            # From a pipe nothing is echoed, and the answer needs its question above it.
            self.write(prompt + line)
        return line


def _width(writer: TextIO) -> int:
    """Return the columns of a terminal, 0 if they are not known."""
    try:
        return os.get_terminal_size(writer.fileno()).columns
    except OSError:
        return 0


def edit_lines() -> None:
    """Let input() edit lines and recall earlier ones, where readline is available."""
    with suppress(ImportError):
        import readline

        # Bracketed paste sends escape sequences; a paste may come as lines.
        readline.parse_and_bind("set enable-bracketed-paste off")


HUNG_UP = 128 + signal.SIGHUP
"""The exit code after a hang-up."""


class HungUp(Exception):
    """The terminal can no longer be read or written."""


class ExitSignals:
    """Handles SIGHUP and SIGTERM; `code` is the exit code once one arrives, 0 before."""

    def __init__(self) -> None:
        self.code = 0
        self._numbers: list[int] = []
        self._terminals = Terminals()

    def listen(self) -> None:
        """Let a signal stop what is running, as Ctrl-C does."""
        self._numbers = not_ignored(("SIGHUP", "SIGTERM"))
        for number in self._numbers:
            signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.code = 128 + number
        ignore_signals(self._numbers)  # shell and kernel both send one
        if number == signal.SIGHUP:
            self._terminals.detach()
        signal.alarm(EXIT_TIMEOUT)
        interrupt = signal.getsignal(signal.SIGINT)
        if not callable(interrupt):
            raise KeyboardInterrupt
        # While an answer arrives this is asyncio's handler: it cancels, and the text is saved.
        interrupt(signal.SIGINT, frame)
