"""A footer that shows what fits: a key that is cut in half tells nothing, and cannot be clicked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.binding import ActiveBinding, Binding
from textual.containers import VerticalScroll
from textual.events import Key, Resize
from textual.widget import Widget
from textual.widgets import Footer, Input
from textual.widgets._footer import FooterKey

if TYPE_CHECKING:
    from textual.geometry import Region
    from textual.strip import Strip
    from textual.widget import Widget
else:
    # No widget itself: Textual looks for a widget's styles at the first widget it is made from.
    Widget = object


def repaint_now(widget: Widget) -> None:
    """Draw what has changed of `widget` where it stands now, without waiting for the screen.

    Textual draws what has changed sixty times a second, and all of it together: while an answer
    comes, a letter that is typed would wait for the whole conversation to be laid out and drawn.
    """
    app, screen = widget.app, widget.screen
    # There is no public way to it.
    compositor, batched = screen._compositor, app._batch_count  # noqa: SLF001
    if screen is app.screen and not batched and widget in compositor.visible_widgets:
        compositor.update_widgets({widget})
        app._display(screen, compositor.render_update(screen_stack=app._background_screens))  # noqa: SLF001


class SolidBackground(Widget):
    """Draws its background once, and has all its lines alike. Named before the container's class.

    Textual draws every line of a container, whatever covers it, and all of them anew whenever an
    answer that comes gets one more: of four containers behind each other that was two thirds of
    all that was drawn.
    """

    def render_lines(self, crop: Region) -> list[Strip]:
        """One line, as many times as there are; as ever where a border makes them differ."""
        if self.styles.border or self.styles.outline or not crop.height:
            return super().render_lines(crop)
        return super().render_lines(crop._replace(height=1)) * crop.height


_ACTIONS = {
    key.strip(): binding.action
    for binding in Binding.make_bindings(Input.BINDINGS)
    for key in binding.key.split(",")
}


class LineInput(Input):
    """An Input that carries out its own keys at once.

    Textual looks at bindings only after a key has gone up to the app and back, by when the letters
    typed after it are in the text: Ctrl+U and "abc" in one packet end as an empty line.
    """

    async def _on_key(self, event: Key) -> None:
        action = _ACTIONS.get(event.key)
        if action:
            event.prevent_default()
            event.stop()
            await self.run_action(action)


class AnchoredScroll(SolidBackground, VerticalScroll):
    """Scrolling back to the end, by key or wheel, has it follow again."""

    def on_mount(self) -> None:
        """Follow the end."""
        self.anchor()

    @property
    def is_following(self) -> bool:
        """Whether the end stays in view when something is added there."""
        return self.is_anchored and not self._anchor_released

    def release_anchor(self) -> None:
        """Called by Textual at each scrolling, which is not always away from the end."""
        super().release_anchor()
        self.call_next(self._follow_at_end)

    def stop_following(self) -> None:
        """Follow no longer, whatever is in view."""
        super().release_anchor()

    def _follow_at_end(self) -> None:
        # Textual looks only when the line has changed: a page down at the end would leave it, and
        # so would any key where all is in view.
        if not self.max_scroll_y:
            self._anchor_released = False
        elif self.scroll_target_y >= self.max_scroll_y:
            self._check_anchor()


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
