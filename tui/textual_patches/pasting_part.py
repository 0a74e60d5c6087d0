"""Takes pastes out of what a terminal sends, whole; Textual's parser takes them apart by letters.

A paste of 1 MB costs it 0.6 s of work, which the chat has to share. Used by the terminal's driver.
"""

from __future__ import annotations

from collections.abc import Iterator

from textual.events import Paste

_BEGIN, _END = "\x1b[200~", "\x1b[201~"


class Pastes:
    """Keeps what came of a paste until its end has come."""

    def __init__(self) -> None:
        self._held: list[str] | None = None
        self._tail = ""

    def feed(self, text: str) -> Iterator[str | Paste]:
        """What is in `text`, in order: pastes that have ended, and what is not pasted.

        A beginning that is cut in two is left to the parser, with all that it begins.
        """
        while text:
            if self._held is None:
                typed, begin, text = text.partition(_BEGIN)
                if typed:
                    yield typed
                if begin:
                    self._held = []
            else:
                came, end, text = (self._tail + text).partition(_END)
                # The end may be cut in two.
                self._tail = "" if end else came[1 - len(_END) :]
                self._held.append(came.removesuffix(self._tail))
                if end:
                    yield Paste("".join(self._held).replace("\0", ""))
                    self._held = None
