"""Lines of text one below the other: paragraphs, lists, quotes, code."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

from rich.cells import cell_len
from rich.console import Console
from rich.style import Style
from rich.text import Text

# Each has its row in tui.terminal, for a terminal without Unicode.
BULLET = "•"
BAR = "▌"
RULE = "─"
COLUMN = "│"
CROSS = "┼"

_PLAIN = Style.null()


@dataclass(frozen=True, slots=True)
class MarkdownStyles:
    """Styles by what they are for. `code_theme` is Rich's name of the colours of program code."""

    heading: Style = _PLAIN
    strong: Style = _PLAIN
    em: Style = _PLAIN
    strike: Style = _PLAIN
    code: Style = _PLAIN
    block: Style = _PLAIN
    """A block of code, the whole line."""
    link: Style = _PLAIN
    sign: Style = _PLAIN
    """Bullets, bars, rules and frames."""
    code_theme: str = "ansi_dark"


# Rich's wrapping asks for one; all that it would need of it is a width, and that it is told.
CONSOLE = Console(width=80, color_system=None, force_terminal=False)
_LEAST = 8
"""Columns that a text keeps, however deep it stands."""


class RenderedLine(NamedTuple):
    """A line as it is drawn.

    `row` and `column` say where its first character stands in the text as one would copy it, where
    a wrapped paragraph is one row. `fill` is the style of what is right of its end.
    """

    text: Text
    row: int
    column: int
    fill: Style | None = None


@dataclass(slots=True)
class TextRow:
    """A row of text before it is wrapped; `first` and `rest` stand before its lines, in `sign`."""

    text: Text
    first: str = ""
    rest: str = ""
    sign: Style | str = ""
    fill: Style | None = None
    rule: str = ""
    """Instead of text: this sign, as often as it goes into a line."""

    def lines(self, width: int, row: int) -> list[RenderedLine]:
        """Wrapped to `width` cells."""
        first, rest = _cut(self.first, width), _cut(self.rest, width)
        room = max(1, width - cell_len(first))
        if self.rule:
            return [RenderedLine(Text(first + self.rule * room, self.sign, end=""), row, 0)]
        if cell_len(self.text.plain) <= room:
            return [RenderedLine(self._after(first, self.text), row, 0, self.fill)]
        lines: list[RenderedLine] = []
        place = 0
        for piece in self.text.wrap(CONSOLE, room):
            place = max(place, self.text.plain.find(piece.plain, place))
            before = rest if lines else first
            lines.append(RenderedLine(self._after(before, piece), row, place, self.fill))
            place += len(piece.plain)
        return lines

    def _after(self, before: str, piece: Text) -> Text:
        if not before:
            return piece
        return Text.assemble((before, self.sign), piece, end="")


class TextBlock:
    """Leaves in order; wrapped anew only when the width changes."""

    def __init__(self, leaves: Sequence[TextRow]) -> None:
        self.leaves = leaves
        self._width = -1
        self._lines: list[RenderedLine] = []

    def height(self, width: int) -> int:
        """How many lines it takes."""
        if width != self._width:
            self._width = width
            self._lines = [
                line for row, leaf in enumerate(self.leaves) for line in leaf.lines(width, row)
            ]
        return len(self._lines)

    def line(self, width: int, place: int) -> RenderedLine:
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


_LEAST_COLUMN = 4
"""Cells that a column has at least; where there is less, the table is written as a list."""


class TableRow:
    """Cells, and how they were wrapped last."""

    __slots__ = ("_widths", "_wrapped", "cells", "natural")

    def __init__(self, cells: Sequence[Text]) -> None:
        self.cells = cells
        self.natural = [cell_len(cell.plain) for cell in cells]
        self._widths: tuple[int, ...] = ()
        self._wrapped: list[list[Text]] = []

    def height(self, widths: tuple[int, ...]) -> int:
        """How many lines it takes in columns of these widths."""
        if all(map(int.__le__, self.natural, widths)):
            return 1
        return max(len(cell) for cell in self._wrap(widths))

    def cells_at(self, place: int, widths: tuple[int, ...]) -> list[Text]:
        """One line of each cell."""
        if all(map(int.__le__, self.natural, widths)):
            return list(self.cells)
        blank = Text(end="")
        return [cell[place] if place < len(cell) else blank for cell in self._wrap(widths)]

    def forget(self) -> None:
        """Wrap again: the texts have been styled otherwise."""
        self._widths = ()

    def _wrap(self, widths: tuple[int, ...]) -> list[list[Text]]:
        if widths != self._widths:
            pairs = zip(self.cells, widths, strict=True)
            self._wrapped = [list(cell.wrap(CONSOLE, width)) or [cell] for cell, width in pairs]
            self._widths = widths
        return self._wrapped


class Table:
    """A heading row, a line below it, and rows, of which the last ones may still change."""

    def __init__(self, head: TableRow, aligns: Sequence[str], palette: MarkdownStyles) -> None:
        self.head = head
        self._tail: Sequence[TableRow] = ()
        self._closed: list[TableRow] = []
        self._natural = list(head.natural)
        self._aligns = aligns
        self._palette = palette
        self._laid = -1
        self._widths: tuple[int, ...] = ()
        self._ends: list[int] = []
        self._list: TextBlock | None = None

    def close(self, row: TableRow) -> None:
        """Add a row that will not change any more."""
        self._closed.append(row)
        self._natural = list(map(max, self._natural, row.natural))
        self._laid = -1

    def end_with(self, rows: Sequence[TableRow]) -> None:
        """Let these be the last rows until others are."""
        self._tail = rows
        self._laid = -1

    def height(self, width: int) -> int:
        """How many lines it takes."""
        self._lay(width)
        return self._list.height(width) if self._list else self._ends[-1] + 1

    def line(self, width: int, place: int) -> RenderedLine:
        """One of them; the second is the one below the heading."""
        self._lay(width)
        if self._list:
            return self._list.line(width, place)
        head = self._ends[0]
        if place == head:
            return RenderedLine(self._below_head(), place, 0)
        place_in_rows = place if place < head else place - 1
        which = bisect_right(self._ends, place_in_rows)
        start = self._ends[which - 1] if which else 0
        row = self._rows[which]
        return RenderedLine(self._draw(row.cells_at(place_in_rows - start, self._widths)), place, 0)

    def rows(self, width: int) -> list[str]:
        """The text as one would copy it."""
        height = self.height(width)
        if self._list:
            return self._list.rows(width)
        return [self.line(width, place).text.plain.rstrip() for place in range(height)]

    def row_count(self, width: int) -> int:
        """How many those are."""
        height = self.height(width)
        return self._list.row_count(width) if self._list else height

    def kept(self, width: int) -> tuple[int, object]:
        """Its lines down to the last row that is closed stay, as long as the columns do."""
        self._lay(width)
        if self._list or not self._closed:
            return 0, None  # nor is the heading sure before a row is closed
        return self._ends[len(self._closed)] + 1, self._widths

    def texts(self) -> list[Text]:
        """Everything in it that someone wrote, in order."""
        return [cell for row in self._rows for cell in row.cells]

    def forget(self) -> None:
        """Wrap again: the texts have been styled otherwise."""
        self._laid = -1
        for row in self._rows:
            row.forget()

    @property
    def _rows(self) -> list[TableRow]:
        return [self.head, *self._closed, *self._tail]

    def _lay(self, width: int) -> None:
        if width == self._laid:
            return
        self._laid = width
        rows, natural = self._rows, self._natural
        for row in self._tail:
            natural = list(map(max, natural, row.natural))
        room = width - 3 * (len(natural) - 1)
        if room < _LEAST_COLUMN * len(natural):
            self._list = TextBlock(_listed(rows, self._palette))
            return
        self._list = None
        self._widths = fit(natural, room)
        self._ends = list(accumulate(row.height(self._widths) for row in rows))

    def _below_head(self) -> Text:
        line = f"{RULE}{CROSS}{RULE}".join(RULE * width for width in self._widths)
        return Text(line, self._palette.sign, end="")

    def _draw(self, cells: list[Text]) -> Text:
        between = Text(f" {COLUMN} ", self._palette.sign, end="")
        padded = [
            _pad(cell, width, align)
            for cell, width, align in zip(cells, self._widths, self._aligns, strict=True)
        ]
        line = between.join(padded)
        line.end = ""
        return line


def fit(natural: Sequence[int], room: int) -> tuple[int, ...]:
    """Widths that add up to `room` cells at most: only the widest columns lose.

    Each gets what it asks for as long as that is at most a fair share of what is left over.
    """
    widths = [0] * len(natural)
    left, columns = room, len(natural)
    for place in sorted(range(columns), key=natural.__getitem__):
        widths[place] = max(1, min(natural[place], left // columns))
        left -= widths[place]
        columns -= 1
    return tuple(widths)


def _listed(rows: Sequence[TableRow], palette: MarkdownStyles) -> list[TextRow]:
    """Each row as lines of heading and cell, for a screen too narrow for the columns."""
    head, *others = rows
    leaves = [] if others else [TextRow(cell) for cell in head.cells]
    for number, row in enumerate(others):
        if number:
            leaves.append(TextRow(Text(end="")))
        for name, cell in zip(head.cells, row.cells, strict=True):
            leaves.append(TextRow(Text.assemble(name, (": ", palette.sign), cell, end="")))
    return leaves


def _pad(cell: Text, width: int, align: str) -> Text:
    space = max(0, width - cell_len(cell.plain))
    left = {"right": space, "center": space // 2}.get(align, 0)
    padded = cell.copy()
    padded.pad_left(left)
    padded.pad_right(space - left)
    return padded
