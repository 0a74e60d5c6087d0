"""A text area that replaces long pastes by placeholders, because Textual edits them slowly."""

from __future__ import annotations

from typing import Any

from textual.events import Paste

from engine.core.i18n import tr
from engine.core.text import printable
from tui.textual_patches.widgets import EditArea

_MAX_TEXT = 8_000
"""Characters above which a paste is replaced by a placeholder; up to it a key takes 10 ms."""
MAX_TITLE = 200
"""Characters of a text that may be the start of a title."""


class PastePlaceholders:
    """Short placeholders for long pastes, which Textual's text area edits slowly."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}

    def shorten(self, text: str) -> str:
        """Return `text`, or a placeholder that `expand` replaces by it."""
        if len(text) < _MAX_TEXT:
            return text
        placeholder = tr(
            "[text {count}: {count2:,} letters]", count=len(self._texts) + 1, count2=len(text)
        )
        self._texts[placeholder] = text
        return placeholder

    def are_in(self, text: str) -> bool:
        return any(placeholder in text for placeholder in self._texts)

    def expand(self, text: str) -> str:
        """Replace placeholders by their texts; an edited placeholder stays as it is."""
        for placeholder, pasted in self._texts.items():
            text = text.replace(placeholder, pasted)
        return text


class PasteArea(EditArea):
    """Read its text from `question`: `text` has placeholders."""

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 - those of a text area
        super().__init__(**options)
        self._pastes = PastePlaceholders()

    @property
    def question(self) -> str:
        """The text with all pastes expanded."""
        return self._pastes.expand(self.text).strip()

    @property
    def title_start(self) -> str:
        """The text if it may be the start of a title; else an empty string."""
        # Read line by line: `text` joins all lines of a long document.
        line = self.document.get_line(0)
        is_short = self.document.line_count == 1 and len(line) <= MAX_TITLE
        return line if is_short and not self._pastes.are_in(line) else ""

    @property
    def is_blank(self) -> bool:
        """Whether there is no text at all."""
        return self.document.end == (0, 0)

    async def _on_paste(self, event: Paste) -> None:
        event.prevent_default()
        event.stop()
        self.paste(event.text)

    def action_paste(self) -> None:
        self.paste(self.app.clipboard)

    def paste(self, text: str) -> None:
        """Replace the selection by `text`, or by a placeholder if it is long."""
        # Terminals send line ends as carriage returns.
        lines = printable(text.replace("\r\n", "\n").replace("\r", "\n"))
        result = self.replace(
            self._pastes.shorten(lines), *self.selection, maintain_selection_offset=False
        )
        self.move_cursor(result.end_location)

    def replace_text(self, text: str) -> None:
        end = self.document.end
        self.replace(self._pastes.shorten(text), (0, 0), end, maintain_selection_offset=False)
        self.move_cursor(self.document.end)
