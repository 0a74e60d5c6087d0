"""Wrap blocks of styled text and tables into lines of a given width."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

from rich.align import AlignMethod
from rich.cells import cell_len
from rich.console import Console
from rich.style import Style
from rich.text import Text

# tui.terminal has an ASCII character for each of these.
BULLET = "•"
BAR = "▌"
RULE = "─"
COLUMN = "│"
CROSS = "┼"

CONSOLE = Console(width=80, color_system=None, force_terminal=False)
"""Rich's wrapping needs a console, but neither its width nor its output."""
_MIN_TEXT = 8
"""Cells left for text, however deep it is nested."""
_MIN_COLUMN = 4
"""Cells of a table column; a narrower table is drawn as a list."""
_PLAIN = Style.null()


@dataclass(frozen=True, slots=True)
class MarkdownStyles:
    """A style for each kind of text. `code_theme` is the name of a Rich syntax theme."""

    heading: Style = _PLAIN
    strong: Style = _PLAIN
    em: Style = _PLAIN
    strike: Style = _PLAIN
    code: Style = _PLAIN
    block: Style = _PLAIN
    """Whole lines of a code block."""
    link: Style = _PLAIN
    sign: Style = _PLAIN
    """Bullets, bars, rules and frames."""
    code_theme: str = "ansi_dark"


class RenderedLine(NamedTuple):
    """One line on the screen.

    `row` and `column` give its position in the text that is copied, where a wrapped paragraph is
    one row. `fill` is the style of the cells after the text.
    """

    text: Text
    row: int
    column: int
    fill: Style | None = None


@dataclass(slots=True)
class TextRow:
    """A row of text before wrapping; `first` and `rest` precede its lines, styled as `sign`."""

    text: Text
    first: str = ""
    rest: str = ""
    sign: Style | str = ""
    fill: Style | None = None
    rule: str = ""
    """A character that fills the line instead of text."""

    def lines(self, width: int, row: int) -> list[RenderedLine]:
        first, rest = _shorten(self.first, width), _shorten(self.rest, width)
        room = max(1, width - cell_len(first))
        if self.rule:
            return [RenderedLine(Text(first + self.rule * room, self.sign, end=""), row, 0)]
        if cell_len(self.text.plain) <= room:
            return [RenderedLine(self._prefixed(first, self.text), row, 0, self.fill)]
        lines: list[RenderedLine] = []
        column = 0
        for piece in self.text.wrap(CONSOLE, room):
            column = max(column, self.text.plain.find(piece.plain, column))
            text = self._prefixed(rest if lines else first, piece)
            lines.append(RenderedLine(text, row, column, self.fill))
            column += len(piece.plain)
        return lines

    def _prefixed(self, prefix: str, piece: Text) -> Text:
        return Text.assemble((prefix, self.sign), piece, end="") if prefix else piece


def _shorten(prefix: str, width: int) -> str:
    """Drop the outer part of a prefix on a narrow screen."""
    room = max(0, width - _MIN_TEXT)
    return prefix if len(prefix) <= room else prefix[len(prefix) - room :]


class TextBlock:
    """Consecutive rows, wrapped again only when the width changes."""

    def __init__(self, text_rows: Sequence[TextRow]) -> None:
        self._text_rows = text_rows
        self._width = -1
        self._lines: list[RenderedLine] = []

    def height(self, width: int) -> int:
        if width != self._width:
            self._width = width
            self._lines = [
                line for row, each in enumerate(self._text_rows) for line in each.lines(width, row)
            ]
        return len(self._lines)

    def line(self, width: int, index: int) -> RenderedLine:
        self.height(width)
        return self._lines[index]

    def rows(self, width: int) -> list[str]:  # noqa: ARG002 - a table's depend on it
        return [row.first + row.text.plain for row in self._text_rows]

    def row_count(self, width: int) -> int:  # noqa: ARG002 - as above
        return len(self._text_rows)

    def stable_lines(self, width: int) -> tuple[int, object]:  # noqa: ARG002 - as above
        """Return none: an open block is replaced when text arrives."""
        return 0, None

    def texts(self) -> list[Text]:
        """Return all text of the author, in order."""
        return [row.text for row in self._text_rows]

    def invalidate(self) -> None:
        """Wrap again at the next call."""
        self._width = -1


class TableRow:
    """The cells of a row, and how they were last wrapped."""

    __slots__ = ("_widths", "_wrapped", "cells", "natural")

    def __init__(self, cells: Sequence[Text]) -> None:
        self.cells = cells
        self.natural = [cell_len(cell.plain) for cell in cells]
        self._widths: tuple[int, ...] = ()
        self._wrapped: list[list[Text]] = []

    def height(self, widths: tuple[int, ...]) -> int:
        """Return the number of lines in columns of these widths."""
        if self._fits(widths):
            return 1
        return max(len(cell) for cell in self._wrap(widths))

    def line(self, index: int, widths: tuple[int, ...]) -> list[Text]:
        if self._fits(widths):
            return list(self.cells)
        blank = Text(end="")
        return [cell[index] if index < len(cell) else blank for cell in self._wrap(widths)]

    def invalidate(self) -> None:
        self._widths = ()

    def _fits(self, widths: tuple[int, ...]) -> bool:
        return all(map(int.__le__, self.natural, widths))

    def _wrap(self, widths: tuple[int, ...]) -> list[list[Text]]:
        if widths != self._widths:
            pairs = zip(self.cells, widths, strict=True)
            self._wrapped = [list(cell.wrap(CONSOLE, width)) or [cell] for cell, width in pairs]
            self._widths = widths
        return self._wrapped


class Table:
    """A heading, a rule and rows, of which the last ones may still change."""

    def __init__(
        self, head: TableRow, aligns: Sequence[AlignMethod], styles: MarkdownStyles
    ) -> None:
        self.head = head
        self._tail: Sequence[TableRow] = ()
        self._closed: list[TableRow] = []
        self._natural = list(head.natural)
        self._aligns = aligns
        self._styles = styles
        self._width = -1
        self._columns: tuple[int, ...] = ()
        self._ends: list[int] = []
        self._list: TextBlock | None = None

    def close(self, row: TableRow) -> None:
        """Append a row that will not change."""
        self._closed.append(row)
        self._natural = list(map(max, self._natural, row.natural))
        self._width = -1

    def set_tail(self, rows: Sequence[TableRow]) -> None:
        """Replace the last rows, which may still change."""
        self._tail = rows
        self._width = -1

    def height(self, width: int) -> int:
        self._lay_out(width)
        return self._list.height(width) if self._list else self._ends[-1] + 1

    def line(self, width: int, index: int) -> RenderedLine:
        """Return one line; the rule follows the heading."""
        self._lay_out(width)
        if self._list:
            return self._list.line(width, index)
        head = self._ends[0]
        if index == head:
            return RenderedLine(self._rule(), index, 0)
        in_rows = index if index < head else index - 1
        which = bisect_right(self._ends, in_rows)
        start = self._ends[which - 1] if which else 0
        cells = self._rows[which].line(in_rows - start, self._columns)
        return RenderedLine(self._join(cells), index, 0)

    def rows(self, width: int) -> list[str]:
        height = self.height(width)
        if self._list:
            return self._list.rows(width)
        return [self.line(width, index).text.plain.rstrip() for index in range(height)]

    def row_count(self, width: int) -> int:
        height = self.height(width)
        return self._list.row_count(width) if self._list else height

    def stable_lines(self, width: int) -> tuple[int, object]:
        """Return the lines down to the last closed row: they change only with the columns."""
        self._lay_out(width)
        if self._list or not self._closed:
            return 0, None  # until a row is closed the heading may become a paragraph
        return self._ends[len(self._closed)] + 1, self._columns

    def texts(self) -> list[Text]:
        return [cell for row in self._rows for cell in row.cells]

    def invalidate(self) -> None:
        self._width = -1
        for row in self._rows:
            row.invalidate()

    @property
    def _rows(self) -> list[TableRow]:
        return [self.head, *self._closed, *self._tail]

    def _lay_out(self, width: int) -> None:
        if width == self._width:
            return
        self._width = width
        rows, natural = self._rows, self._natural
        for row in self._tail:
            natural = list(map(max, natural, row.natural))
        room = width - 3 * (len(natural) - 1)
        if room < _MIN_COLUMN * len(natural):
            self._list = TextBlock(_as_list(rows, self._styles))
            return
        self._list = None
        self._columns = column_widths(natural, room)
        self._ends = list(accumulate(row.height(self._columns) for row in rows))

    def _rule(self) -> Text:
        line = f"{RULE}{CROSS}{RULE}".join(RULE * width for width in self._columns)
        return Text(line, self._styles.sign, end="")

    def _join(self, cells: list[Text]) -> Text:
        padded = [cell.copy() for cell in cells]
        for cell, width, align in zip(padded, self._columns, self._aligns, strict=True):
            cell.align(align, width)
        line = Text(f" {COLUMN} ", self._styles.sign, end="").join(padded)
        line.end = ""
        return line


def column_widths(natural: Sequence[int], room: int) -> tuple[int, ...]:
    """Fit columns into `room` cells; only columns wider than a fair share shrink."""
    widths = [0] * len(natural)
    left, columns = room, len(natural)
    for column in sorted(range(columns), key=natural.__getitem__):
        widths[column] = max(1, min(natural[column], left // columns))
        left -= widths[column]
        columns -= 1
    return tuple(widths)


def _as_list(rows: Sequence[TableRow], styles: MarkdownStyles) -> list[TextRow]:
    """Write each row as lines of heading and cell, for a screen too narrow for columns."""
    head, *others = rows
    lines = [] if others else [TextRow(cell) for cell in head.cells]
    for number, row in enumerate(others):
        if number:
            lines.append(TextRow(Text(end="")))
        for name, cell in zip(head.cells, row.cells, strict=True):
            lines.append(TextRow(Text.assemble(name, (": ", styles.sign), cell, end="")))
    return lines


Block = TextBlock | Table


class BlockLayout:
    """Blocks below each other; only new and changed blocks are measured again."""

    def __init__(self) -> None:
        self.blocks: Sequence[Block] = []
        self._stable = 0
        self._width = 0
        self._tops = [0]
        self._rows = [0]

    @property
    def stable_height(self) -> int:
        """The lines of the blocks that the next `set_blocks` leaves as they are."""
        return self._tops[min(self._stable, len(self._tops) - 1)]

    def stable_lines(self, width: int) -> tuple[int, object]:
        """Return how many lines later text cannot change, while the second value is the same."""
        if self._stable >= len(self.blocks) or not self.height(width):
            return self.stable_height, None
        lines, condition = self.blocks[self._stable].stable_lines(width)
        return self.stable_height + lines, condition

    def set_blocks(self, blocks: Sequence[Block], stable: int) -> None:
        """Replace the blocks; the first `stable` ones will be the same next time."""
        self.blocks = blocks
        self._forget_from(self._stable)
        self._stable = stable

    def invalidate(self) -> None:
        """Wrap all blocks again: their texts have new styles."""
        for block in self.blocks:
            block.invalidate()
        self._forget_from(0)

    def height(self, width: int) -> int:
        if width != self._width:
            self._forget_from(0)
            self._width = width
        for block in self.blocks[len(self._tops) - 1 :]:
            self._tops.append(self._tops[-1] + block.height(width))
            self._rows.append(self._rows[-1] + block.row_count(width))
        return self._tops[-1]

    def line(self, width: int, index: int) -> RenderedLine | None:
        """Return one line, or None below the last."""
        if index >= self.height(width):
            return None
        which = bisect_right(self._tops, index) - 1
        line = self.blocks[which].line(width, index - self._tops[which])
        return line._replace(row=line.row + self._rows[which])

    def plain_text(self, width: int) -> str:
        return "\n".join(row for block in self.blocks for row in block.rows(width))

    def _forget_from(self, which: int) -> None:
        del self._tops[which + 1 :], self._rows[which + 1 :]
