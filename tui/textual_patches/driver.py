"""Reads the terminal in its own character set; Textual's driver knows UTF-8 alone.

There a byte that is no UTF-8 (an é typed at a Latin-1 terminal, half a mouse report of an old
one) ends the whole chat with a UnicodeDecodeError. Here it is a letter, or a replacement character.
"""

from __future__ import annotations

import asyncio
import os
import selectors
import signal
from codecs import getincrementaldecoder
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress

from textual import constants
from textual._ansi_sequences import ANSI_SEQUENCES_KEYS
from textual._parser import ParseError
from textual._xterm_parser import XTermParser
from textual.driver import Driver
from textual.drivers.linux_driver import LinuxDriver
from textual.events import Paste

from engine.core.signals import Terminals, not_ignored
from tui.textual_patches.typeahead import as_terminal_input

_BEGIN, _END = "\x1b[200~", "\x1b[201~"


class PasteParser:
    """Keeps what came of a paste until its end has come."""

    def __init__(self) -> None:
        self._held: list[str] | None = None
        self._tail = ""

    def feed(self, text: str) -> Iterator[str | Paste]:
        """What is in `text`, in order: pastes that have ended, and what is not pasted.

        A beginning that is cut in two is left to the parser, with all that it begins.
        """
        while text:
            if self._held is None:
                typed, begin, text = text.partition(_BEGIN)
                if typed:
                    yield typed
                if begin:
                    self._held = []
            else:
                came, end, text = (self._tail + text).partition(_END)
                # The end may be cut in two.
                self._tail = "" if end else came[1 - len(_END) :]
                self._held.append(came.removesuffix(self._tail))
                if end:
                    yield Paste("".join(self._held).replace("\0", ""))
                    self._held = None


EXIT_TIMEOUT = 10
"""Seconds after which a chat that cannot leave ends all the same: nobody is there to end it."""


class ExitSignals:
    """Hears SIGHUP and SIGTERM for an app from here on, as long as its loop runs."""

    def __init__(self, leave: Callable[[int], Awaitable[None]]) -> None:
        """`leave` leaves, with the exit code that it is given."""
        self._leave = leave
        self._task: asyncio.Future[None] | None = None
        self._terminals = Terminals()
        for number in not_ignored(("SIGHUP", "SIGTERM")):
            asyncio.get_running_loop().add_signal_handler(number, self._hear, number)

    def _hear(self, number: int) -> None:
        if number == signal.SIGHUP:
            self._terminals.detach()
        if self._task is None:  # both the shell and the kernel send one
            signal.alarm(EXIT_TIMEOUT)
            self._task = asyncio.ensure_future(self._leave(128 + number))


IN_BROWSER = "textual.drivers.web_driver:WebDriver"
"""What textual-serve has set in TEXTUAL_DRIVER."""
_TICK = 0.1
"""Seconds after which an Escape that stands alone is known to be the key."""
_MOST = 4096


class TerminalDriver(LinuxDriver):
    """Textual's driver for a terminal, with another way to make letters of bytes."""

    charset = "utf-8"
    pressed = ""
    """Keys that came before this driver, as the terminal would have sent them to it."""

    def _sigcont_application(self, *_: object) -> None:
        """Come back after Ctrl+Z; but the kernel wakes a program up for a hang-up, too."""
        if os.isatty(self.fileno):
            super()._sigcont_application()

    def run_input_thread(self) -> None:
        """Read keys until the app ends; runs in a thread of its own."""
        parser, pastes = XTermParser(self._debug), PasteParser()
        for event in parser.feed(self.pressed) if self.pressed else ():
            self.process_message(event)
        decoder = getincrementaldecoder(self.charset)(errors="replace")
        # Not the platform's default: kqueue knows no terminals.
        with selectors.SelectSelector() as selector:
            selector.register(self.fileno, selectors.EVENT_READ)
            while not self.exit_event.is_set():
                if selector.select(_TICK):
                    data = b""
                    with suppress(OSError):  # a terminal that has hung up; the app hears of it
                        data = os.read(self.fileno, _MOST)
                    if not data:
                        break
                    # Half a character is no text yet, and no text is the parser's end.
                    text = decoder.decode(data)
                    for part in pastes.feed(text):
                        for event in [part] if isinstance(part, Paste) else parser.feed(part):
                            self.process_message(event)
                for event in parser.tick():
                    self.process_message(event)
        with suppress(EOFError, ParseError):
            for _ in parser.feed(""):
                pass


def driver_for(charset: str, keys: str = "") -> type[Driver] | None:
    """The driver for a terminal of that character set, or for the one that Textual was told of.

    `keys` have been pressed already (tui.textual_patches.typeahead); they go before all others.
    """
    if constants.DRIVER == IN_BROWSER:
        from tui.textual_patches.browser import BrowserDriver

        return BrowserDriver
    if constants.DRIVER is not None:
        return None
    pressed = as_terminal_input(keys, ANSI_SEQUENCES_KEYS)
    return type("TerminalDriver", (TerminalDriver,), {"charset": charset, "pressed": pressed})
