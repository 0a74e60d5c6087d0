"""The palette, which is Textual's, in the person's language. Imported when it is opened."""

from __future__ import annotations

from rich.align import Align
from rich.text import Text
from textual.command import CommandList, CommandPalette
from textual.theme import ThemeProvider
from textual.widgets.option_list import Option

from engine.core.i18n import tr

_ID = "--command-palette"
"""By this Textual knows that it is open."""
_NOTHING_AFTER = 0.5
"""Seconds without a match, of which more may still come."""


class Palette(CommandPalette):
    """Says that nothing fits in words of ours; all else that it says it is given."""

    def _start_no_matches_countdown(self, search_value: str) -> None:
        """Textual's own, but for the words."""
        self._stop_no_matches_countdown()

        def tell() -> None:
            self._list_visible = bool(search_value)
            if search_value:
                told = Align.center(Text(tr("Nothing fits."), style="not bold"))
                self.query_one(CommandList).add_option(
                    Option(told, disabled=True, id=self._NO_MATCHES)
                )

        self._no_matches_timer = self.set_timer(_NOTHING_AFTER, tell)


def of_commands() -> Palette:
    """Every command by name."""
    return Palette(id=_ID, placeholder=tr("Search for commands…"))


def of_themes() -> Palette:
    """The themes; the one that is chosen is put in force."""
    return Palette([ThemeProvider], id=_ID, placeholder=tr("Search for themes…"))
