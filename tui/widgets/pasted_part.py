"""Long texts, each held under a short mark: the composer shows the mark, the question has the text.

A text area lays out all of its text anew at many a key: 1 MB of it takes a second for each.
"""

from __future__ import annotations

from engine.core.i18n import tr

_LONG = 8_000
"""Characters from which a text is held: up to it a key takes some 10 ms at most."""


class Pasted:
    """The texts of one composer."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}

    def marked(self, text: str) -> str:
        """`text`, or the mark under which it is held from here on."""
        if len(text) < _LONG:
            return text
        mark = tr("[text {count}: {count2:,} letters]").format(
            count=len(self._texts) + 1, count2=len(text)
        )
        self._texts[mark] = text
        return mark

    def holds(self, text: str) -> bool:
        """Whether one of the marks is in `text`."""
        return any(mark in text for mark in self._texts)

    def whole(self, text: str) -> str:
        """`text` with what its marks stand for; a mark that was changed is only words."""
        for mark, held in self._texts.items():
            text = text.replace(mark, held)
        return text
