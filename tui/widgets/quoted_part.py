"""A record's words, letter by letter, in which can be marked what is the record's; and a bar."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.widgets import Static

from engine.core.text import printable
from tui.widgets.markdown_view import mark_styles

_CELLS = 10


class QuotedView(Static):
    """Plain text: no sign in it means anything."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"marks--quoted", "marks--added"}

    def __init__(self, text: str = "") -> None:
        self._text = printable(text)
        super().__init__(self._text, markup=False, classes="words")

    def add(self, text: str) -> None:
        """More words."""
        self._text += printable(text)
        self.update(self._text)

    def mark(self, record: str | None) -> None:
        """Mark which words stand in `record`; None: no longer."""
        if record is None:
            self.update(self._text)
            return
        from tui.markdown.marks_part import mark

        text = Text(self._text)
        mark([text], record, mark_styles(self))
        self.update(text)


def bar(share: float | None) -> str:
    """How much of something (0..1) as ten cells: full only if it is all, empty only if nothing."""
    if share is None:
        return ""
    full = max(int(share * _CELLS), int(share > 0))
    return "▰" * full + "▱" * (_CELLS - full)
