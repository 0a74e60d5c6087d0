"""The chat in a tab of a browser (`balcao serve`): ends with the tab or the server, and says so."""

from __future__ import annotations

import os
from contextlib import suppress

from textual.drivers.web_driver import WebDriver
from textual.messages import ExitApp


class BrowserDriver(WebDriver):
    """Textual's driver for the web, which would outlive a server that was killed."""

    def run_input_thread(self) -> None:
        """Read until the app ends, or the server is no more."""
        super().run_input_thread()
        if not self.exit_event.is_set():
            # Nobody is there to read what is drawn while leaving: let it go nowhere.
            with suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno)
            self.send_message(ExitApp())
