"""The list of conversations: a slice at a time, since there may be ten thousand."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from textual.content import Content
from textual.events import Resize
from textual.message import Message
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from engine.core.i18n import tr
from engine.core.text import one_line
from engine.store.listing_part import Listed, Marked

_NEAR = 10
"""Conversations before the end of what has been fetched, from which on more is."""
_WITH_TIME = 64
"""Columns from which on the hour is told with the day."""


def slice_for(height: int) -> int:
    """How many to fetch at a time for a terminal of that many lines: those seen, and some more."""
    return height + _NEAR


class ConversationList(OptionList, can_focus=False):
    """Draws conversations, the hits of a search marked; asks for more before its end is reached."""

    class NearEnd(Message):
        """More of the list is about to be seen."""

    def __init__(self) -> None:
        super().__init__(id="conversation-list", compact=True)
        self.entries: list[Listed] = []
        self._with_time = False

    def show(self, entries: Sequence[Listed], *, place: int = 0) -> None:
        """Draw these in place of those before, the one at `place` highlighted."""
        self.clear_options()
        self.entries = []
        self.add(entries)
        if self.entries:
            self.highlighted = max(0, min(place, len(self.entries) - 1))

    def add(self, entries: Sequence[Listed]) -> None:
        """Draw more at the end."""
        self.entries += entries
        self._with_time = self.size.width >= _WITH_TIME
        self.add_options(Option(_drawn(entry, with_time=self._with_time)) for entry in entries)

    @property
    def chosen(self) -> Listed | None:
        """The one that is highlighted."""
        place = self.highlighted
        return None if place is None or place >= len(self.entries) else self.entries[place]

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        """Ask for more in time."""
        if event.option_index >= len(self.entries) - _NEAR:
            self.post_message(self.NearEnd())

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """The same for the mouse wheel and the scroll bar."""
        super().watch_scroll_y(old_value, new_value)
        if new_value > old_value and new_value + 2 * self.size.height >= self.virtual_size.height:
            self.post_message(self.NearEnd())

    def on_resize(self, event: Resize) -> None:
        """Draw anew where there is room for the hour now, or none any more."""
        if (event.size.width >= _WITH_TIME) != self._with_time:
            self.show(self.entries[:], place=self.highlighted or 0)


def _drawn(entry: Listed, *, with_time: bool) -> Content:
    when = datetime.fromtimestamp(entry.updated).astimezone()
    day = when.strftime("%Y-%m-%d %H:%M" if with_time else "%Y-%m-%d")
    title = _marked(entry.title_hit) if entry.title_hit else Content(one_line(entry.title))
    fork = (tr("fork · "), "dim") if entry.forked else ""
    line = Content.assemble((f"{day} {entry.turns:>4}  ", "dim"), fork, title)
    # The first question is the title, as long as nobody has given another.
    if not entry.hit or (entry.title_hit and _text(entry.hit) == _text(entry.title_hit)):
        return line
    return Content.assemble(line, "\n    ", _marked(entry.hit))


def _text(marked: Marked) -> str:
    return one_line("".join(text for text, _ in marked))


def _marked(marked: Marked) -> Content:
    """Bold and underlined, so that the mark is seen without colours too."""
    # A blank at the edge of a piece stays, since one_line would take it away.
    return Content.assemble(
        *((one_line(f"|{text}|")[1:-1], "bold underline" if hit else "") for text, hit in marked)
    )
