"""Render markdown-it's syntax tree as rows of styled text and tables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import cast
from urllib.parse import unquote

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markdown_it.tree import SyntaxTreeNode
from rich.align import AlignMethod
from rich.style import Style
from rich.text import Text

from engine.core.text import printable
from tui.markdown.layout import BAR, BULLET, COLUMN, RULE, MarkdownStyles, Table, TableRow, TextRow

_MAX_NESTING = 60
_WHITESPACE = re.compile(r"\s+")

_OPEN_WORDS = 3
"""Words at the end of a growing text that may begin a quote."""


def markdown_parser() -> MarkdownIt:
    """Create a parser for CommonMark with tables and strikethrough.

    HTML stays text: nothing here renders it. Link reference definitions stay text too: an address
    at the end of an answer must be visible, and must not change what has been drawn above it.
    """
    parser = MarkdownIt("commonmark", {"html": False, "maxNesting": _MAX_NESTING})
    return parser.enable(["table", "strikethrough"]).disable("reference")


def list_start(node: SyntaxTreeNode) -> int:
    """Return the first number of an ordered list."""
    return int(node.attrs.get("start", 1))


@dataclass(frozen=True, slots=True)
class Prefix:
    """The text before the first row of a block, and before the others: bars and bullets."""

    first: str = ""
    rest: str = ""

    def nest(self, first: str, rest: str) -> Prefix:
        return Prefix(self.first + first, self.rest + rest)

    @property
    def later(self) -> Prefix:
        """The prefix of the rows after the first."""
        return Prefix(self.rest, self.rest)


class BlockRenderer:
    """Render one block at a time."""

    def __init__(self, parser: MarkdownIt, styles: MarkdownStyles) -> None:
        self._parser = parser
        self._styles = styles

    def rows(self, node: SyntaxTreeNode, prefix: Prefix, *, closed: bool) -> Iterator[TextRow]:
        """Render a block. Code is highlighted once the block is `closed`."""
        match node.type:
            case "paragraph" | "heading":
                style = self._styles.heading if node.type == "heading" else None
                yield from self._text_rows(self._inline(node, style), prefix)
            case "fence" | "code_block":
                code = self._code(node, closed=closed)
                yield from self._text_rows(code, prefix, self._styles.block)
            case "hr":
                yield TextRow(Text(end=""), prefix.first, sign=self._styles.sign, rule=RULE)
            case "blockquote":
                bar = f"{BAR} "
                yield from self._children(node, prefix.nest(bar, bar), closed=closed)
            case "bullet_list" | "ordered_list":
                for index, item in enumerate(node.children):
                    number = list_start(node) + index
                    yield from self.item(item, number, prefix, closed=closed)
                    prefix = prefix.later
            case "table":
                yield from self._text_rows(self._nested_table(node), prefix)

    def item(
        self, node: SyntaxTreeNode, number: int, prefix: Prefix, *, closed: bool
    ) -> Iterator[TextRow]:
        """Render a list item; `number` is for ordered lists."""
        sign = f"{number}{node.markup} " if node.info else f"{BULLET} "
        yield from self._children(node, prefix.nest(sign, " " * len(sign)), closed=closed)

    def table(self, node: SyntaxTreeNode) -> Table:
        """Render a table's heading, without its rows."""
        head = node.children[0].children[0]
        styles = [str(cell.attrs.get("style", "")).partition(":")[2] for cell in head.children]
        aligns = [cast("AlignMethod", style or "left") for style in styles]
        return Table(self.table_row(head), aligns, self._styles)

    def table_row(self, node: SyntaxTreeNode) -> TableRow:
        style = self._styles.strong if node.children[0].type == "th" else None
        lines = [self._inline(cell, style) for cell in node.children]
        return TableRow([cell[0] if cell else Text(end="") for cell in lines])

    def _children(self, node: SyntaxTreeNode, prefix: Prefix, *, closed: bool) -> list[TextRow]:
        """Render nested blocks with a blank row between them, but none before a list."""
        rows: list[TextRow] = []
        for child in node.children:
            if rows and not child.type.endswith("_list"):
                rows.append(self._blank(prefix.later))
            rows += self.rows(child, prefix.later if rows else prefix, closed=closed)
        return rows or [self._blank(prefix)]

    def _blank(self, prefix: Prefix) -> TextRow:
        return TextRow(Text(end=""), prefix.first, prefix.rest, self._styles.sign)

    def _text_rows(
        self, texts: Iterable[Text], prefix: Prefix, fill: Style | None = None
    ) -> Iterator[TextRow]:
        for text in texts:
            yield TextRow(text, prefix.first, prefix.rest, self._styles.sign, fill)
            prefix = prefix.later

    def _code(self, node: SyntaxTreeNode, *, closed: bool) -> list[Text]:
        style = self._styles.block
        lines = [_one_line(line, style) for line in node.content.rstrip().split("\n")]
        language = node.info.split(maxsplit=1)[0] if node.info.strip() else ""
        if closed and language:
            _highlight(lines, language, self._styles.code_theme)
        return lines

    def _nested_table(self, node: SyntaxTreeNode) -> Iterator[Text]:
        """Render each row on a line, without columns: lists and quotes are too narrow."""
        separator = Text(f" {COLUMN} ", self._styles.sign, end="")
        for part in node.children:
            for row in part.children:
                line = separator.join(self.table_row(row).cells)
                line.end = ""
                yield line

    def _inline(self, node: SyntaxTreeNode, style: Style | None) -> list[Text]:
        content = node.children[0].content if node.children else ""
        tokens: list[Token] = []
        self._parser.inline.parse(content, self._parser, {}, tokens)
        renderer = _InlineRenderer(self._styles)
        for token in tokens:
            renderer.render(token)
        if style:
            for line in renderer.lines:
                line.stylize_before(style)
        return renderer.lines


class _InlineRenderer:
    """Render inline tokens in order; nested emphasis is a stack of styles."""

    def __init__(self, styles: MarkdownStyles) -> None:
        self.lines = [Text(end="")]
        self._styles = styles
        self._stack: list[Style] = []
        self._link = ("", 0)
        self._opening = {
            "em_open": styles.em,
            "strong_open": styles.strong,
            "s_open": styles.strike,
            "link_open": styles.link,
        }

    def render(self, token: Token) -> None:
        kind = token.type
        if kind in ("text", "text_special"):
            self._write(_WHITESPACE.sub(" ", token.content))
        elif kind == "softbreak":
            self._write(" ")
        elif kind == "hardbreak":
            self.lines.append(Text(end=""))
        elif kind == "code_inline":
            self._write(token.content, self._styles.code)
        elif kind == "image":
            self._write(f"[{token.content}] ({token.attrGet('src')})", self._styles.link)
        elif kind in self._opening:
            self._open(token)
        elif kind.endswith("_close"):
            self._close(kind)

    def _open(self, token: Token) -> None:
        self._stack.append(self._opening[token.type])
        if token.type == "link_open":
            self._link = (str(token.attrGet("href") or ""), len(self._plain))

    def _close(self, kind: str) -> None:
        self._stack.pop()
        if kind == "link_close":
            address, start = self._link
            label = self._plain[start:]
            if label not in (address, address.removeprefix("mailto:"), unquote(address)):
                self._write(f" ({address})", self._styles.sign)

    def _write(self, content: str, style: Style | None = None) -> None:
        styles = [*self._stack, style] if style else self._stack
        text = _one_line(content).plain
        self.lines[-1].append(text, Style.combine(styles) if styles else None)

    @property
    def _plain(self) -> str:
        return "\n".join(line.plain for line in self.lines)


def _one_line(content: str, style: Style | str = "") -> Text:
    # Rich gives tabs a width of 0.
    return Text(printable(content).expandtabs(4), style, end="")


def _highlight(lines: Sequence[Text], language: str, theme: str) -> None:
    """Highlight code in place; an unknown language leaves it as it is."""
    from rich.syntax import Syntax

    code = "\n".join(line.plain for line in lines)
    highlighted = Syntax("", language, theme=theme).highlight(code)
    for line, source in zip(lines, highlighted.split("\n", allow_blank=True), strict=False):
        line.spans += source.spans


def mark(
    texts: Sequence[Text], record: str, styles: tuple[Style, Style], *, growing: bool = False
) -> None:
    """Style the words that come from the record, and the others, in `texts` joined by line ends.

    `engine.fidelity.quotes` decides on the text as drawn, without Markdown's own characters. The
    last words of a `growing` text may be the beginning of a quote, and get no style yet.
    """
    from engine.fidelity.quotes import spans

    marked = Text()
    found = spans("\n".join(text.plain for text in texts), record, cut=growing)
    for span in found:
        is_open = growing and span is found[-1] and len(span.text.split()) <= _OPEN_WORDS
        style = styles[0] if span.quoted else styles[1]
        marked.append(span.text, None if is_open and not span.quoted else style)
    ends = accumulate(len(text.plain) + 1 for text in texts)
    cuts = [at for end in ends for at in (end - 1, end)][:-2]
    # Every other piece is a line end.
    for text, piece in zip(texts, marked.divide(cuts)[::2], strict=False):
        text.spans += piece.spans


def unmark(texts: Sequence[Text], styles: tuple[Style, Style]) -> None:
    """Remove the styles that `mark` added."""
    for text in texts:
        text.spans = [span for span in text.spans if span.style not in styles]
