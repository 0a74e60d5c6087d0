"""A footer that shows what fits: a key that is cut in half tells nothing, and cannot be clicked."""

from __future__ import annotations

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.binding import ActiveBinding
from textual.events import Resize
from textual.widgets import Footer
from textual.widgets._footer import FooterKey

_BORDER = 1


class FittingFooter(Footer):
    """The screen's keys in their order as far as there is room, and the palette, which has all.

    Textual's own footer binds each key that it makes to itself and never lets go of it: a chat that
    is kept open would hold every key that it has ever shown, a megabyte more for every page opened.
    """

    def __init__(self) -> None:
        super().__init__(compact=True)
        self._shown: list[ActiveBinding] | None = None

    def compose(self) -> ComposeResult:
        """The first key of each action that is to be shown, less those that do not fit."""
        if not self._bindings_ready:
            return
        self._shown = list(self.screen.active_bindings.values())
        palette = [self._key(one) for one in self._shown if self._is_palette(one)]
        room = self.screen.size.width - sum(_width(one) + _BORDER for one in palette)
        first = {one.binding.action: one for one in reversed(self._shown) if one.binding.show}
        for one in self._shown:
            if first.get(one.binding.action) is one:
                key = self._key(one)
                room -= _width(key)
                if room < 0:
                    break
                yield key
        yield from palette

    async def recompose(self) -> None:
        """Only if the keys have changed, or the room for them, and while there is a screen."""
        if self.is_attached and self._shown != list(self.screen.active_bindings.values()):
            await super().recompose()

    def on_resize(self, event: Resize) -> None:
        """Other keys may fit now."""
        del event
        self._shown = None
        self.call_after_refresh(self.recompose)

    def _is_palette(self, active: ActiveBinding) -> bool:
        return active.binding.key == self.app.COMMAND_PALETTE_BINDING

    def _key(self, active: ActiveBinding) -> FooterKey:
        binding = active.binding
        palette = self._is_palette(active)
        return FooterKey(
            binding.key,
            self.app.get_key_display(binding),
            binding.description,
            binding.action,
            disabled=not active.enabled,
            tooltip=binding.tooltip or binding.description if palette else active.tooltip,
            classes="-command-palette" if palette else "",
        )


def _width(key: FooterKey) -> int:
    """Columns that a key takes, with the blank after it."""
    return cell_len(f"{key.key_display} {key.description} ")
