"""A Markdown text that grows at its end, and what of it can be drawn once and for all.

CommonMark reads a text line by line, and only the innermost blocks that are open at its end can
still change. So whatever stands before the last block that whole lines have begun is closed for
good, and only the rest is read again when words are added. Of a list it is the last item that is
open, of a table the last row: the rest of a list is read below an item that is not drawn, the rest
of a table below the table's own heading.

What is drawn in the end is the same, block for block, as when the whole is read at once
(tests/tui/markdown). One limit of markdown-it's is not kept: it ends a table after 65,536 cells
that are not there.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol, cast

from markdown_it.tree import SyntaxTreeNode
from rich.text import Text

from tui.markdown.layout import MarkdownStyles, RenderedLine, Table, TableRow, TextBlock, TextRow
from tui.markdown.render import BlockRenderer, Prefix, number, parser


class Block(Protocol):
    """What can be drawn."""

    def height(self, width: int) -> int:
        """How many lines it takes in so many cells."""
        ...

    def line(self, width: int, place: int) -> RenderedLine:
        """One of them."""
        ...

    def rows(self, width: int) -> list[str]:
        """The text as one would copy it."""
        ...

    def row_count(self, width: int) -> int:
        """How many those are."""
        ...

    def kept(self, width: int) -> tuple[int, object]:
        """How many of its lines no later words change, as long as the second stays as it is."""
        ...

    def texts(self) -> list[Text]:
        """Everything in it that someone wrote, in order."""
        ...

    def forget(self) -> None:
        """Wrap again: the texts have been styled otherwise."""
        ...


class BlockLayout:
    """Blocks one below the other; only what is new or may have changed is measured again."""

    def __init__(self) -> None:
        self._blocks: list[Block] = []
        self._stable = 0
        self._width = 0
        self._tops = [0]
        self._rows = [0]

    @property
    def blocks(self) -> Sequence[Block]:
        """What is laid out."""
        return self._blocks

    @property
    def settled(self) -> int:
        """The first line that the next `set` may change."""
        return self._tops[min(self._stable, len(self._tops) - 1)]

    def kept(self, width: int) -> tuple[int, object]:
        """How many lines no later words change, as long as the second stays as it is."""
        if self._stable >= len(self._blocks) or not self.height(width):
            return self.settled, None
        lines, as_long_as = self._blocks[self._stable].kept(width)
        return self.settled + lines, as_long_as

    def set(self, blocks: list[Block], stable: int) -> None:
        """Lay out these; from the first one on, `stable` of them will be the same next time."""
        self._blocks = blocks
        self._forget_from(self._stable)
        self._stable = stable

    def restart(self) -> None:
        """The texts have been styled otherwise: wrap all of them again."""
        for block in self._blocks:
            block.forget()
        self._forget_from(0)

    def height(self, width: int) -> int:
        """How many lines all of it takes in so many cells."""
        if width != self._width:
            self._forget_from(0)
            self._width = width
        for block in self._blocks[len(self._tops) - 1 :]:
            self._tops.append(self._tops[-1] + block.height(width))
            self._rows.append(self._rows[-1] + block.row_count(width))
        return self._tops[-1]

    def line(self, width: int, place: int) -> RenderedLine | None:
        """One line, its `row` counted from the first block on; None below the last one."""
        if place >= self.height(width):
            return None
        which = bisect_right(self._tops, place) - 1
        line = self._blocks[which].line(width, place - self._tops[which])
        return line._replace(row=line.row + self._rows[which])

    def copied(self, width: int) -> str:
        """The text as one would copy it."""
        return "\n".join(row for block in self._blocks for row in block.rows(width))

    def _forget_from(self, which: int) -> None:
        del self._tops[which + 1 :], self._rows[which + 1 :]


_HEADING_LINES = 2


class _Unit(NamedTuple):
    """The least that can be closed: a block, an item of a list, a table's heading, or its row.

    `start` is its first line; `place` an item's number, or where the heading of a row's table is in
    the text (-1: before it); `goes_on` says that the unit before belongs to the same list or table.
    """

    node: SyntaxTreeNode
    start: int
    place: int = 0
    goes_on: bool = False


class MarkdownDocument:
    """Feed it text, and draw its `blocks`: of these, `stable` ones will never change."""

    def __init__(self, palette: MarkdownStyles) -> None:
        self._rules = parser()
        self._drawer = BlockRenderer(self._rules, palette)
        self._closed: list[Block] = []
        self._tail: list[Block] = []
        self._rest = ""
        self._whole_lines = 0
        self._before = ""
        self._next_item = 0
        self._table: Table | None = None

    @property
    def palette(self) -> MarkdownStyles:
        """The colours and signs that it is drawn with."""
        return self._drawer.palette

    @property
    def blocks(self) -> list[Block]:
        """All of it, in order, blank lines included."""
        return [*self._closed, *self._tail]

    @property
    def stable(self) -> int:
        """How many of the blocks, from the first one, will not change any more."""
        return len(self._closed) - (self._table is not None)

    @property
    def waiting(self) -> int:
        """Characters that the next `read` is about."""
        return len(self._rest)

    def feed(self, text: str) -> None:
        """Add text, already printable; it is there to be drawn after the next `read`."""
        self._rest += text

    def read(self, *, ended: bool = False) -> None:
        """Read what has been fed; `ended` closes what is open."""
        if ended:
            self._close(self._units(self._rest))
            self._rest, self._before, self._table, self._tail = "", "", None, []
            return
        whole = self._rest.rpartition("\n")[0]
        if len(whole) > self._whole_lines:
            units = self._units(whole + "\n")
            if len(units) > 1:
                self._close(units[:-1])
                self._go_on_from(units[-1])
            self._whole_lines = len(self._rest.rpartition("\n")[0])
        self._tail = self._drawn(self._units(self._rest), closed=False)

    def _units(self, source: str) -> list[_Unit]:
        """Cut a text that begins where the last open unit does."""
        # The blocks alone: what stands inside them is read when they are drawn.
        tokens = self._rules.block.parse(self._before + source, self._rules, {}, []) or []
        units: list[_Unit] = []
        for node in SyntaxTreeNode(tokens).children:
            units += self._cut(node, first=not units)
        if not self._before:
            return units
        above = self._before.count("\n")
        return [unit._replace(start=unit.start - above) for unit in units[1:]]

    def _cut(self, node: SyntaxTreeNode, *, first: bool) -> Iterator[_Unit]:
        if node.type in ("bullet_list", "ordered_list"):
            begin = self._next_item - 1 if first and self._before else number(node)
            for place, item in enumerate(node.children):
                yield _Unit(item, _start(item), begin + place, goes_on=place > 0)
            return
        yield _Unit(node, _start(node))
        if node.type == "table":
            heading = -1 if first and self._before else _start(node)
            for row in node.children[1].children if len(node.children) > 1 else ():
                yield _Unit(row, _start(row), heading, goes_on=True)

    def _close(self, units: list[_Unit]) -> None:
        if self._table:
            self._table.end_with(())
        self._closed += self._drawn(units, closed=True)

    def _go_on_from(self, unit: _Unit) -> None:
        """Keep the text from this unit on, and what is needed to read it alone."""
        lines = self._rest.split("\n")
        kind, node = unit.node.type, unit.node
        if kind == "tr" and unit.place >= 0:
            self._before = "\n".join(lines[unit.place : unit.place + _HEADING_LINES]) + "\n"
            self._table = cast("Table", self._closed[-1])
        elif kind != "tr":
            self._table = None
            self._before = ""
        if kind == "list_item" and unit.goes_on:
            # Indented so far that an item of any indentation is its neighbour and not its child.
            self._before = f"   {node.info and 1}{node.markup} x\n"
            self._next_item = unit.place
        self._rest = "\n".join(lines[unit.start :])

    def _drawn(self, units: list[_Unit], *, closed: bool) -> list[Block]:
        """Blocks, and an empty one between any two that do not belong together."""
        drawn: list[Block] = []
        table, rows = self._table, list[TableRow]()
        for unit in units:
            if unit.node.type == "tr" and table:
                rows.append(self._drawer.row(unit.node))
                continue
            _put(rows, table, closed=closed)
            table, rows = None, []
            if not unit.goes_on and (drawn or self._closed):
                drawn.append(TextBlock([TextRow(Text(end=""))]))
            if unit.node.type == "table":
                table = self._drawer.table(unit.node)
            drawn.append(table or self._flow(unit, closed=closed))
        _put(rows, table, closed=closed)
        return drawn

    def _flow(self, unit: _Unit, *, closed: bool) -> TextBlock:
        if unit.node.type == "list_item":
            return TextBlock([*self._drawer.item(unit.node, unit.place, Prefix(), closed=closed)])
        return TextBlock([*self._drawer.leaves(unit.node, Prefix(), closed=closed)])


def _start(node: SyntaxTreeNode) -> int:
    return node.map[0] if node.map else 0


def _put(rows: list[TableRow], table: Table | None, *, closed: bool) -> None:
    if table and closed:
        for row in rows:
            table.close(row)
    elif table:
        table.end_with(rows)
