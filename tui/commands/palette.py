"""Textual's command palette in the user's language."""

from __future__ import annotations

from rich.align import Align
from rich.text import Text
from textual.command import CommandList, CommandPalette
from textual.theme import ThemeProvider
from textual.widgets.option_list import Option

from engine.core.i18n import tr

_ID = "--command-palette"
"""The id by which Textual recognises an open palette."""
_NO_MATCH_DELAY = 0.5
"""Seconds to wait for a first match."""


class Palette(CommandPalette):
    """Translates the one text that Textual does not take as a parameter."""

    def _start_no_matches_countdown(self, search_value: str) -> None:
        self._stop_no_matches_countdown()

        def show() -> None:
            self._list_visible = bool(search_value)
            if search_value:
                message = Align.center(Text(tr("Nothing fits."), style="not bold"))
                self.query_one(CommandList).add_option(
                    Option(message, disabled=True, id=self._NO_MATCHES)
                )

        self._no_matches_timer = self.set_timer(_NO_MATCH_DELAY, show)


def of_commands() -> Palette:
    """Return the palette of all commands."""
    return Palette(id=_ID, placeholder=tr("Search for commands…"))


def of_themes() -> Palette:
    """Return the palette of themes, which sets the selected one."""
    return Palette([ThemeProvider], id=_ID, placeholder=tr("Search for themes…"))
