"""Textual's web driver, changed so that a chat exits when `balcao serve` dies."""

from __future__ import annotations

import os
from contextlib import suppress

from textual.drivers.web_driver import WebDriver
from textual.messages import ExitApp


class BrowserDriver(WebDriver):
    """Exit when the server goes away; Textual's driver keeps the app running."""

    def run_input_thread(self) -> None:
        """Read input until the app or the server ends."""
        super().run_input_thread()
        if not self.exit_event.is_set():
            # Nothing reads the pipe: discard what the app draws while it exits.
            with suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno)
            self.send_message(ExitApp())
