"""Lines of text one below the other: paragraphs, lists, quotes, code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rich.cells import cell_len
from rich.console import Console
from rich.style import Style
from rich.text import Text

# Rich's wrapping asks for one; all that it would need of it is a width, and that it is told.
CONSOLE = Console(width=80, color_system=None, force_terminal=False)
_LEAST = 8
"""Columns that a text keeps, however deep it stands."""


class Line(NamedTuple):
    """A line as it is drawn.

    `row` and `column` say where its first character stands in the text as one would copy it, where
    a wrapped paragraph is one row. `fill` is the style of what is right of its end.
    """

    text: Text
    row: int
    column: int
    fill: Style | None = None


@dataclass(slots=True)
class Leaf:
    """A row of text before it is wrapped; `first` and `rest` stand before its lines, in `sign`."""

    text: Text
    first: str = ""
    rest: str = ""
    sign: Style | str = ""
    fill: Style | None = None
    rule: str = ""
    """Instead of text: this sign, as often as it goes into a line."""

    def lines(self, width: int, row: int) -> list[Line]:
        """Wrapped to `width` cells."""
        first, rest = _cut(self.first, width), _cut(self.rest, width)
        room = max(1, width - cell_len(first))
        if self.rule:
            return [Line(Text(first + self.rule * room, self.sign, end=""), row, 0)]
        if cell_len(self.text.plain) <= room:
            return [Line(self._after(first, self.text), row, 0, self.fill)]
        lines: list[Line] = []
        place = 0
        for piece in self.text.wrap(CONSOLE, room):
            place = max(place, self.text.plain.find(piece.plain, place))
            before = rest if lines else first
            lines.append(Line(self._after(before, piece), row, place, self.fill))
            place += len(piece.plain)
        return lines

    def _after(self, before: str, piece: Text) -> Text:
        if not before:
            return piece
        return Text.assemble((before, self.sign), piece, end="")


class Flow:
    """Leaves in order; wrapped anew only when the width changes."""

    def __init__(self, leaves: Sequence[Leaf]) -> None:
        self.leaves = leaves
        self._width = -1
        self._lines: list[Line] = []

    def height(self, width: int) -> int:
        """How many lines it takes."""
        if width != self._width:
            self._width = width
            self._lines = [
                line for row, leaf in enumerate(self.leaves) for line in leaf.lines(width, row)
            ]
        return len(self._lines)

    def line(self, width: int, place: int) -> Line:
        """One of them."""
        self.height(width)
        return self._lines[place]

    def rows(self, width: int) -> list[str]:  # noqa: ARG002 - a table's rows depend on it
        """The text as one would copy it."""
        return [leaf.first + leaf.text.plain for leaf in self.leaves]

    def row_count(self, width: int) -> int:  # noqa: ARG002 - as above
        """How many those are."""
        return len(self.leaves)

    def kept(self, width: int) -> tuple[int, object]:  # noqa: ARG002 - as above
        """None of its lines: while more words come, another takes its place."""
        return 0, None

    def texts(self) -> list[Text]:
        """Everything in it that someone wrote, in order."""
        return [leaf.text for leaf in self.leaves]

    def forget(self) -> None:
        """Wrap again: the texts have been styled otherwise."""
        self._width = -1


def _cut(before: str, width: int) -> str:
    """What stands before a line, of which a narrow screen gets only the innermost part."""
    room = max(0, width - _LEAST)
    return before if len(before) <= room else before[len(before) - room :]
