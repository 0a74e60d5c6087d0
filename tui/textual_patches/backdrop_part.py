"""A container that has no face of its own, drawn for less."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from textual.geometry import Region
    from textual.strip import Strip
    from textual.widget import Widget
else:
    # No widget itself: Textual looks for a widget's styles at the first widget it is made from.
    Widget = object


class Backdrop(Widget):
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
