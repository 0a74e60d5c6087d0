"""Reads the terminal in its own character set; Textual's driver knows UTF-8 alone.

There a byte that is no UTF-8 (an é typed at a Latin-1 terminal, half a mouse report of an old
one) ends the whole chat with a UnicodeDecodeError. Here it is a letter, or a replacement character.
"""

from __future__ import annotations

import os
import selectors
from codecs import getincrementaldecoder
from contextlib import suppress

from textual import constants
from textual._ansi_sequences import ANSI_SEQUENCES_KEYS
from textual._parser import ParseError
from textual._xterm_parser import XTermParser
from textual.driver import Driver
from textual.drivers.linux_driver import LinuxDriver
from textual.events import Paste

from tui.textual_patches.pasting_part import Pastes
from tui.textual_patches.typeahead import as_sent

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
        parser, pastes = XTermParser(self._debug), Pastes()
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
        from tui.textual_patches.browser_part import BrowserDriver

        return BrowserDriver
    if constants.DRIVER is not None:
        return None
    pressed = as_sent(keys, ANSI_SEQUENCES_KEYS)
    return type("TerminalDriver", (TerminalDriver,), {"charset": charset, "pressed": pressed})
