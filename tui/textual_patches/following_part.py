"""A pane that follows its end until the reader scrolls up."""

from __future__ import annotations

from textual.containers import VerticalScroll

from tui.textual_patches.backdrop_part import Backdrop


class FollowingScroll(Backdrop, VerticalScroll):
    """Scrolling back to the end, by key or wheel, has it follow again."""

    def on_mount(self) -> None:
        """Follow the end."""
        self.anchor()

    @property
    def following(self) -> bool:
        """Whether the end stays in view when something is added there."""
        return self.is_anchored and not self._anchor_released

    def release_anchor(self) -> None:
        """Called by Textual at each scrolling, which is not always away from the end."""
        super().release_anchor()
        self.call_next(self._follow_at_end)

    def stay(self) -> None:
        """Follow no longer, whatever is in view."""
        super().release_anchor()

    def _follow_at_end(self) -> None:
        # Textual looks only when the line has changed: a page down at the end would leave it, and
        # so would any key where all is in view.
        if not self.max_scroll_y:
            self._anchor_released = False
        elif self.scroll_target_y >= self.max_scroll_y:
            self._check_anchor()
