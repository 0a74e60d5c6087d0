"""A footer that shows what fits: a key that is cut in half tells nothing, and cannot be clicked."""

from __future__ import annotations

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.events import Resize
from textual.widgets import Footer
from textual.widgets._footer import FooterKey

_BORDER = 1


class FittingFooter(Footer):
    """The screen's keys in their order as far as there is room, and the palette, which has all."""

    def __init__(self) -> None:
        super().__init__(compact=True)

    def compose(self) -> ComposeResult:
        """Textual's keys, less those that do not fit."""
        found = list(super().compose())
        palette = [one for one in found if one.has_class("-command-palette")]
        room = self.screen.size.width - sum(_width(one) + _BORDER for one in palette)
        for one in found:
            if one not in palette:
                room -= _width(one)
                if room < 0:
                    break
                yield one
        yield from palette

    def on_resize(self, event: Resize) -> None:
        """Other keys may fit now."""
        del event
        self.call_after_refresh(self.recompose)


def _width(key: object) -> int:
    """Columns that a key takes, with the blank after it."""
    if not isinstance(key, FooterKey):
        return 0
    return cell_len(f"{key.key_display} {key.description} ")
