"""A run's loss by its steps, drawn as large as the room that it is given."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content
from textual.widget import Widget

from engine.training.runs.curve_part import curve


class RunCurve(Widget):
    """The curve of `points`, which are step and loss."""

    def __init__(self, *, id: str) -> None:  # noqa: A002 - Textual's own name
        super().__init__(id=id)
        self._points: Sequence[tuple[int, float]] = ()

    def show(self, points: Sequence[tuple[int, float]]) -> None:
        """Draw these from here on; more that are appended to them are drawn at the next call."""
        self._points = points
        self.refresh()

    def render(self) -> Content:
        """The lines, drawn anew for every size."""
        return Content("\n".join(curve(self._points, *self.content_size)))
