"""A Markdown text that grows at its end, parsed incrementally.

CommonMark reads a text line by line, and only the innermost blocks that are open at its end can
still change. So everything before the last block of complete lines is closed, and only the rest is
parsed again when text arrives. In a list the last item is open, in a table the last row. To parse
the rest alone, a list is continued below an item that is not drawn, and a table below a copy of its
heading.

The result equals parsing the whole text at once (tests/tui/markdown), except that markdown-it ends
a table after 65,536 missing cells.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, cast

from markdown_it.tree import SyntaxTreeNode
from rich.text import Text

from tui.markdown.layout import Block, MarkdownStyles, Table, TableRow, TextBlock, TextRow
from tui.markdown.render import BlockRenderer, Prefix, list_start, markdown_parser

_HEADING_LINES = 2


class _Unit(NamedTuple):
    """The smallest part that can be closed: a block, a list item, a table heading or a table row.

    `start` is its first line, `number` an item's number, `heading` the line of a row's table
    heading (-1: in the context). `continues`: it belongs to the same list or table as the unit
    before.
    """

    node: SyntaxTreeNode
    start: int
    number: int = 0
    heading: int = -1
    continues: bool = False


class MarkdownDocument:
    """Feed it text and draw its `blocks`; the first `stable` ones will never change."""

    def __init__(self, styles: MarkdownStyles) -> None:
        self.styles = styles
        self._parser = markdown_parser()
        self._renderer = BlockRenderer(self._parser, styles)
        self._closed: list[Block] = []
        self._tail: list[Block] = []
        self._rest = ""
        self._parsed_lines = 0
        self._context = ""
        self._item_number = 0
        self._table: Table | None = None

    @property
    def blocks(self) -> list[Block]:
        """All blocks in order, blank lines included."""
        return [*self._closed, *self._tail]

    @property
    def stable(self) -> int:
        """The number of leading blocks that will not change."""
        return len(self._closed) - (self._table is not None)

    @property
    def pending(self) -> int:
        """The number of characters that the next `read` parses."""
        return len(self._rest)

    def feed(self, text: str) -> None:
        """Append printable text; the next `read` parses it."""
        self._rest += text

    def read(self, *, ended: bool = False) -> None:
        """Parse what was fed; `ended` closes all blocks."""
        if ended:
            self._close(self._parse(self._rest))
            self._rest, self._context, self._table, self._tail = "", "", None, []
            return
        complete = self._rest.rpartition("\n")[0]
        if len(complete) > self._parsed_lines:
            units = self._parse(complete + "\n")
            if len(units) > 1:
                self._close(units[:-1])
                self._continue_from(units[-1])
            self._parsed_lines = len(self._rest.rpartition("\n")[0])
        self._tail = self._render(self._parse(self._rest), closed=False)

    def _parse(self, source: str) -> list[_Unit]:
        # Blocks only: inline text is parsed when it is rendered.
        tokens = self._parser.block.parse(self._context + source, self._parser, {}, []) or []
        units: list[_Unit] = []
        for node in SyntaxTreeNode(tokens).children:
            units += self._split(node, continued=bool(self._context) and not units)
        return units[1:] if self._context else units

    def _split(self, node: SyntaxTreeNode, *, continued: bool) -> Iterator[_Unit]:
        if node.type in ("bullet_list", "ordered_list"):
            number = self._item_number - 1 if continued else list_start(node)
            for index, item in enumerate(node.children):
                yield _Unit(item, self._line(item), number + index, continues=index > 0)
            return
        yield _Unit(node, self._line(node))
        if node.type == "table":
            heading = -1 if continued else self._line(node)
            for row in node.children[1].children if len(node.children) > 1 else ():
                yield _Unit(row, self._line(row), heading=heading, continues=True)

    def _line(self, node: SyntaxTreeNode) -> int:
        """Return the first line of a node, counted from the end of the context."""
        return (node.map[0] if node.map else 0) - self._context.count("\n")

    def _close(self, units: list[_Unit]) -> None:
        if self._table:
            self._table.set_tail(())
        self._closed += self._render(units, closed=True)

    def _continue_from(self, unit: _Unit) -> None:
        """Drop the text before a unit; save the context that is needed to parse the rest alone."""
        lines = self._rest.split("\n")
        kind, node = unit.node.type, unit.node
        if kind == "tr" and unit.heading >= 0:
            self._context = "\n".join(lines[unit.heading : unit.heading + _HEADING_LINES]) + "\n"
            self._table = cast("Table", self._closed[-1])
        elif kind != "tr":
            self._table = None
            self._context = ""
        if kind == "list_item" and unit.continues:
            # Indented so that an item at any indentation is a sibling and not a child.
            self._context = f"   {node.info and 1}{node.markup} x\n"
            self._item_number = unit.number
        self._rest = "\n".join(lines[unit.start :])

    def _render(self, units: list[_Unit], *, closed: bool) -> list[Block]:
        """Render units, with a blank block between any two that do not belong together."""
        blocks: list[Block] = []
        table, rows = self._table, list[TableRow]()
        for unit in units:
            if unit.node.type == "tr" and table:
                rows.append(self._renderer.table_row(unit.node))
                continue
            _add_rows(rows, table, closed=closed)
            table, rows = None, []
            if not unit.continues and (blocks or self._closed):
                blocks.append(TextBlock([TextRow(Text(end=""))]))
            if unit.node.type == "table":
                table = self._renderer.table(unit.node)
            blocks.append(table or self._text_block(unit, closed=closed))
        _add_rows(rows, table, closed=closed)
        return blocks

    def _text_block(self, unit: _Unit, *, closed: bool) -> TextBlock:
        if unit.node.type == "list_item":
            rows = self._renderer.item(unit.node, unit.number, Prefix(), closed=closed)
        else:
            rows = self._renderer.rows(unit.node, Prefix(), closed=closed)
        return TextBlock([*rows])


def _add_rows(rows: list[TableRow], table: Table | None, *, closed: bool) -> None:
    if table and closed:
        for row in rows:
            table.close(row)
    elif table:
        table.set_tail(rows)
