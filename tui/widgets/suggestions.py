"""Suggestions above the composer: a short list that never takes the focus."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from textual.content import Content
from textual.events import Click
from textual.message import Message
from textual.widgets import Static

from engine.core.i18n import tr
from engine.core.text import one_line
from tui.commands.slash import Suggestion

_MAX_LINES = 6
_MAX_LABEL = 200
_NOT_HIGHLIGHTED = -1


class Suggestions(Static):
    """Suggestions for one text, as an overlay on the conversation."""

    @dataclass
    class Selected(Message):
        """A suggestion was clicked."""

        suggestion: Suggestion

    def __init__(self) -> None:
        super().__init__("", id="suggestions", markup=False)
        self.display = False
        self._typed = ""
        self._suggestions: list[Suggestion] = []
        self._top = 0
        self._highlighted = _NOT_HIGHLIGHTED
        self._dismissed = False
        self._accepted = ""
        self._expected = ""
        self._accept_on_arrival = False

    @property
    def is_open(self) -> bool:
        return bool(self._suggestions)

    @property
    def has_highlight(self) -> bool:
        return self._highlighted != _NOT_HIGHLIGHTED

    def are_for(self, text: str) -> bool:
        """Whether the list belongs to that text, or the text is the highlighted suggestion."""
        return self.is_open and text == self._current

    def needs_none(self, text: str) -> bool:
        """Whether a text needs no look-up: its list is shown, or it was accepted from one."""
        return self.are_for(text) or (bool(text) and text == self._accepted)

    def show(self, typed: str, suggestions: Sequence[Suggestion]) -> None:
        """Show suggestions for a typed text, unless dismissed; an empty sequence closes the list.

        A dismissed list stays closed until the text is empty.
        """
        self._expected, self._accepted = "", ""
        self._dismissed = self._dismissed and bool(typed)
        self._typed = typed
        self._suggestions = [] if self._dismissed else list(suggestions)
        self._top, self._highlighted = 0, _NOT_HIGHLIGHTED
        self._draw()

    def expect(self, typed: str) -> None:
        """Note that suggestions for a text are being looked up."""
        self._expected, self._accept_on_arrival = typed, False

    def accept_on_arrival(self, typed: str) -> bool:
        """Ask for the first suggestion in advance; return whether any are expected."""
        self._accept_on_arrival = bool(typed) and typed == self._expected
        return self._accept_on_arrival

    @property
    def is_awaited(self) -> bool:
        """Whether the first suggestion was asked for in advance and has arrived."""
        return self._accept_on_arrival and self.is_open

    def close(self) -> None:
        self._suggestions, self._highlighted = [], _NOT_HIGHLIGHTED
        self._draw()

    def dismiss(self) -> None:
        self.close()
        self._dismissed = True

    def move(self, step: int) -> str:
        """Move the highlight down (1) or up (-1); return the text for the composer."""
        last = len(self._suggestions) - 1
        self._highlighted = max(_NOT_HIGHLIGHTED, min(self._highlighted + step, last))
        if self.has_highlight:
            self._top = min(max(self._top, self._highlighted - _MAX_LINES + 1), self._highlighted)
        self._draw()
        return self._current

    def accept(self) -> str:
        """Close the list; return the text of the highlighted suggestion, or of the first."""
        self._accepted = self._suggestions[max(self._highlighted, 0)].text
        self._expected = ""
        self.close()
        return self._accepted

    def reset(self) -> None:
        """Start over for the next question, also after a dismissal."""
        self.show("", ())

    def on_click(self, event: Click) -> None:
        index = self._top + event.y
        if index < len(self._suggestions):
            self.post_message(self.Selected(self._suggestions[index]))

    @property
    def _current(self) -> str:
        return self._suggestions[self._highlighted].text if self.has_highlight else self._typed

    def _draw(self) -> None:
        self.display = self.is_open
        shown = self._suggestions[self._top : self._top + _MAX_LINES]
        if not shown:
            return
        labels = max(cell_len(each.label) for each in shown) if shown[0].about else 0
        at = self._highlighted - self._top
        lines = [_line(each, labels, highlighted=n == at) for n, each in enumerate(shown)]
        more = len(self._suggestions) - len(shown)
        if more:
            lines.append(
                Content.styled(tr("  {more} more: keep typing or press ↓", more=more), "dim")
            )
        self.update(Content("\n").join(lines))
        self.styles.offset = (0, -len(lines))


def _line(suggestion: Suggestion, width: int, *, highlighted: bool) -> Content:
    label = suggestion.label
    label = set_cell_size(label, width) if width else one_line(label, _MAX_LABEL)
    # The mark is for terminals without colours.
    mark = "›" if highlighted else " "
    style = "reverse" if highlighted else ""
    return Content.assemble((f"{mark} {label}", style), (f"  {suggestion.about}", "dim"))
