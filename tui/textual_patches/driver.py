"""Textual's terminal driver, changed in how it decodes input, takes pastes and handles hang-ups.

Textual decodes input as UTF-8 alone: any other byte (é on a Latin-1 terminal, half a mouse report
of an old one) ends the app with a UnicodeDecodeError.
"""

from __future__ import annotations

import asyncio
import os
import selectors
import signal
from codecs import getincrementaldecoder
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress

from textual import constants
from textual._ansi_sequences import ANSI_SEQUENCES_KEYS
from textual._parser import ParseError
from textual._xterm_parser import XTermParser
from textual.driver import Driver
from textual.drivers.linux_driver import LinuxDriver
from textual.events import Paste

from engine.core.process import Terminals, ignore_signals, not_ignored
from tui.textual_patches.typeahead import as_terminal_input

EXIT_TIMEOUT = 10
"""Seconds until a chat without a terminal is killed if it does not exit."""
WEB_DRIVER = "textual.drivers.web_driver:WebDriver"
"""The value of TEXTUAL_DRIVER that textual-serve sets."""
_ESCAPE_DELAY = 0.1
"""Seconds without further input after which Escape is a key and not the start of a sequence."""
_READ_SIZE = 4096
_PASTE_START, _PASTE_END = "\x1b[200~", "\x1b[201~"


class PasteParser:
    """Extract whole pastes from terminal input; Textual parses them letter by letter."""

    _pasted: list[str] | None = None
    _tail = ""

    def feed(self, text: str) -> Iterator[str | Paste]:
        """Yield finished pastes and the text between them, in order."""
        while text:
            if self._pasted is None:
                # A start marker that is split over two reads is left to Textual's parser.
                typed, start, text = text.partition(_PASTE_START)
                if typed:
                    yield typed
                if start:
                    self._pasted = []
            else:
                piece, end, text = (self._tail + text).partition(_PASTE_END)
                # The end marker may be split over two reads.
                self._tail = "" if end else piece[1 - len(_PASTE_END) :]
                self._pasted.append(piece.removesuffix(self._tail))
                if end:
                    yield Paste("".join(self._pasted).replace("\0", ""))
                    self._pasted = None


class AsyncExitSignals:
    """Call `leave` with the exit code of SIGHUP, SIGINT or SIGTERM; Textual handles none."""

    def __init__(self, leave: Callable[[int], Coroutine[None, None, None]]) -> None:
        self._leave = leave
        self._loop = asyncio.get_running_loop()
        self._terminals = Terminals()
        self._numbers = not_ignored(("SIGHUP", "SIGINT", "SIGTERM"))
        for number in self._numbers:
            self._loop.add_signal_handler(number, self._exit, number)

    def _exit(self, number: int) -> None:
        if number == signal.SIGHUP:
            self._terminals.detach()
        signal.alarm(EXIT_TIMEOUT)
        for each in self._numbers:
            self._loop.remove_signal_handler(each)
        ignore_signals(self._numbers)
        self._task = self._loop.create_task(self._leave(128 + number))


class TerminalDriver(LinuxDriver):
    """Decode input in the terminal's own character set, with replacement characters."""

    charset = "utf-8"
    pressed = ""
    """Keys typed before the driver started, as the terminal would have sent them."""

    def _sigcont_application(self, *_: object) -> None:
        """Resume after Ctrl+Z, but not on the SIGCONT that the kernel sends with a hang-up."""
        if os.isatty(self.fileno):
            super()._sigcont_application()

    def run_input_thread(self) -> None:
        """Read input in a thread until the app ends or the terminal hangs up."""
        parser, pastes = XTermParser(self._debug), PasteParser()
        for event in parser.feed(self.pressed) if self.pressed else ():
            self.process_message(event)
        decoder = getincrementaldecoder(self.charset)(errors="replace")
        # Not the platform's default selector: kqueue does not support terminals.
        with selectors.SelectSelector() as selector:
            selector.register(self.fileno, selectors.EVENT_READ)
            while not self.exit_event.is_set():
                if selector.select(_ESCAPE_DELAY):
                    data = b""
                    with suppress(OSError):  # a hang-up; the app gets SIGHUP
                        data = os.read(self.fileno, _READ_SIZE)
                    if not data:
                        break
                    # Half a character decodes to "", which feed() must not get: it means the end.
                    for part in pastes.feed(decoder.decode(data)):
                        for event in [part] if isinstance(part, Paste) else parser.feed(part):
                            self.process_message(event)
                for event in parser.tick():
                    self.process_message(event)
        with suppress(EOFError, ParseError):
            for _ in parser.feed(""):
                pass


def driver_for(charset: str, keys: str = "") -> type[Driver] | None:
    """Choose the driver, None if TEXTUAL_DRIVER names it; `keys` were typed during start-up."""
    if constants.DRIVER == WEB_DRIVER:
        from tui.textual_patches.browser import BrowserDriver

        return BrowserDriver
    if constants.DRIVER is not None:
        return None
    pressed = as_terminal_input(keys, ANSI_SEQUENCES_KEYS)
    return type("TerminalDriver", (TerminalDriver,), {"charset": charset, "pressed": pressed})
