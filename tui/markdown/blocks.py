"""Draws the blocks of Markdown: from markdown-it's tree to leaves and tables."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markdown_it.tree import SyntaxTreeNode
from rich.style import Style
from rich.text import Text

from tui.markdown.code_part import colour
from tui.markdown.flow import Leaf
from tui.markdown.inline_part import lines_of, text_of
from tui.markdown.palette_part import BAR, BULLET, COLUMN, RULE, Palette
from tui.markdown.table_part import Row, Table

_NESTING = 60


def parser() -> MarkdownIt:
    """CommonMark with tables and struck-out words.

    HTML is text, since nothing here would draw it. So are definitions of links: an address that a
    model gives at the end of its answer is to be seen and not to vanish; and what stands further
    down must not change what has been drawn above.
    """
    rules = MarkdownIt("commonmark", {"html": False, "maxNesting": _NESTING})
    return rules.enable(["table", "strikethrough"]).disable("reference")


@dataclass(frozen=True, slots=True)
class Before:
    """What stands before the first line of a block, and before the others."""

    first: str = ""
    rest: str = ""

    def then(self, first: str, rest: str) -> Before:
        """The same for a block inside this one."""
        return Before(self.first + first, self.rest + rest)

    @property
    def later(self) -> Before:
        """The same for a block that is not the first one inside."""
        return Before(self.rest, self.rest)


class Drawer:
    """Draws one block at a time; knows the colours and signs, and how inline text is read."""

    def __init__(self, rules: MarkdownIt, palette: Palette) -> None:
        self._rules = rules
        self.palette = palette

    def leaves(self, node: SyntaxTreeNode, before: Before, *, closed: bool) -> Iterator[Leaf]:
        """A block. Program code gets its colours once the block is `closed`."""
        match node.type:
            case "paragraph":
                yield from self._text(node, before, None)
            case "heading":
                yield from self._text(node, before, self.palette.heading)
            case "fence" | "code_block":
                yield from self._code(node, before, closed=closed)
            case "hr":
                yield Leaf(Text(end=""), before.first, sign=self.palette.sign, rule=RULE)
            case "blockquote":
                bar = f"{BAR} "
                inside = before.then(bar, bar)
                yield from self._inside(node.children, inside, closed=closed) or self._nothing(
                    inside
                )
            case "bullet_list" | "ordered_list":
                for place, item in enumerate(node.children):
                    at = before.later if place else before
                    yield from self.item(item, number(node) + place, at, closed=closed)
            case "table":
                yield from self._nested_table(node, before)

    def item(
        self, node: SyntaxTreeNode, place: int, before: Before, *, closed: bool
    ) -> Iterator[Leaf]:
        """An item of a list; `place` is its number if the list is a numbered one."""
        sign = f"{place}{node.markup} " if node.info else f"{BULLET} "
        inside = before.then(sign, " " * len(sign))
        yield from self._inside(node.children, inside, closed=closed) or self._nothing(inside)

    def table(self, node: SyntaxTreeNode) -> Table:
        """A table that has its heading only."""
        head = node.children[0].children[0]
        aligns = [str(cell.attrs.get("style", "")).partition(":")[2] for cell in head.children]
        return Table(self.row(head), aligns, self.palette)

    def row(self, node: SyntaxTreeNode) -> Row:
        """A row of a table."""
        style = self.palette.strong if node.children[0].type == "th" else None
        return Row([self._cell(cell, style) for cell in node.children])

    def _inside(self, nodes: list[SyntaxTreeNode], before: Before, *, closed: bool) -> list[Leaf]:
        """Blocks inside another, a blank line between them; a list follows its sentence at once."""
        leaves: list[Leaf] = []
        for node in nodes:
            if leaves and not node.type.endswith("_list"):
                leaves += self._nothing(before.later)
            at = before.later if leaves else before
            leaves += self.leaves(node, at, closed=closed)
        return leaves

    def _nothing(self, before: Before) -> list[Leaf]:
        return [Leaf(Text(end=""), before.first, before.rest, self.palette.sign)]

    def _text(self, node: SyntaxTreeNode, before: Before, style: Style | None) -> Iterator[Leaf]:
        for text in self._lines(node, style):
            yield Leaf(text, before.first, before.rest, self.palette.sign)
            before = before.later

    def _code(self, node: SyntaxTreeNode, before: Before, *, closed: bool) -> Iterator[Leaf]:
        lines = [text_of(line, self.palette.block) for line in node.content.rstrip().split("\n")]
        language = node.info.split(maxsplit=1)[0] if node.info.strip() else ""
        if closed and language:
            colour(lines, language, self.palette.code_theme)
        for text in lines:
            fill = self.palette.block
            yield Leaf(text, before.first, before.rest, self.palette.sign, fill)
            before = before.later

    def _nested_table(self, node: SyntaxTreeNode, before: Before) -> Iterator[Leaf]:
        """A table inside a list or a quote has no room for columns: a line a row."""
        between = Text(f" {COLUMN} ", self.palette.sign, end="")
        for part in node.children:
            for row in part.children:
                line = between.join(self.row(row).cells)
                line.end = ""
                yield Leaf(line, before.first, before.rest, self.palette.sign)
                before = before.later

    def _cell(self, node: SyntaxTreeNode, style: Style | None) -> Text:
        lines = self._lines(node, style)
        return lines[0] if lines else Text(end="")

    def _lines(self, node: SyntaxTreeNode, style: Style | None) -> list[Text]:
        content = node.children[0].content if node.children else ""
        tokens: list[Token] = []
        self._rules.inline.parse(content, self._rules, {}, tokens)
        lines = lines_of(tokens, self.palette)
        for line in lines if style else ():
            line.stylize_before(style)  # type: ignore[arg-type] # it is one here
        return lines


def number(node: SyntaxTreeNode) -> int:
    """With what a numbered list begins."""
    return int(node.attrs.get("start", 1))
