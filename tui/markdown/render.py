"""Draws the blocks of Markdown: from markdown-it's tree to leaves and tables."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import unquote

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markdown_it.tree import SyntaxTreeNode
from rich.style import Style
from rich.text import Text

from engine.core.text import printable
from tui.markdown.layout import BAR, BULLET, COLUMN, RULE, MarkdownStyles, Table, TableRow, TextRow


def colour(lines: Sequence[Text], language: str, theme: str) -> None:
    """Colour the lines of a program in place; in a language that is not known they stay as is."""
    from rich.syntax import Syntax

    code = "\n".join(line.plain for line in lines)
    coloured = Syntax("", language, theme=theme).highlight(code)
    for line, like in zip(lines, coloured.split("\n", allow_blank=True), strict=False):
        line.spans += like.spans


_BLANKS = re.compile(r"\s+")


def lines_of(tokens: Sequence[Token], palette: MarkdownStyles) -> list[Text]:
    """The text of inline tokens, one `Text` for each line that the writer has ended by hand."""
    writer = _InlineRenderer(palette)
    for token in tokens:
        writer.take(token)
    return writer.lines


def text_of(content: str, style: Style | str = "") -> Text:
    """Foreign text as one line; tabs become blanks, since a tab has no width of its own."""
    return Text(printable(content).expandtabs(4), style, end="")


class _InlineRenderer:
    """Writes tokens in order. Emphasis may be nested: the styles that are on are a stack."""

    def __init__(self, palette: MarkdownStyles) -> None:
        self.lines = [Text(end="")]
        self._palette = palette
        self._styles: list[Style] = []
        self._link = ("", 0)
        self._opening = {
            "em_open": palette.em,
            "strong_open": palette.strong,
            "s_open": palette.strike,
            "link_open": palette.link,
        }

    def take(self, token: Token) -> None:
        """Write one token."""
        kind = token.type
        if kind in ("text", "text_special"):
            self._write(_BLANKS.sub(" ", token.content))
        elif kind == "softbreak":
            self._write(" ")
        elif kind == "hardbreak":
            self.lines.append(Text(end=""))
        elif kind == "code_inline":
            self._write(token.content, self._palette.code)
        elif kind == "image":
            self._write(f"[{token.content}] ({token.attrGet('src')})", self._palette.link)
        elif kind in self._opening:
            self._open(token)
        elif kind.endswith("_close"):
            self._close(kind)

    def _open(self, token: Token) -> None:
        self._styles.append(self._opening[token.type])
        if token.type == "link_open":
            self._link = (str(token.attrGet("href") or ""), len(self._plain))

    def _close(self, kind: str) -> None:
        self._styles.pop()
        if kind == "link_close":
            address, start = self._link
            words = self._plain[start:]
            if words not in (address, address.removeprefix("mailto:"), unquote(address)):
                self._write(f" ({address})", self._palette.sign)

    def _write(self, content: str, style: Style | None = None) -> None:
        own = [*self._styles, style] if style else self._styles
        self.lines[-1].append(text_of(content).plain, Style.combine(own) if own else None)

    @property
    def _plain(self) -> str:
        return "\n".join(line.plain for line in self.lines)


def mark(texts: Sequence[Text], record: str, styles: tuple[Style, Style]) -> None:
    """Style the words of `texts`, taken as one text: the record's, and those that are not.

    `engine.fidelity.measure` decides which are the record's, by the words as drawn: Markdown's
    own characters, which fidelity counts, are not on the screen.
    """
    from engine.fidelity.measure import spans

    ends, place = iter(_ends(texts)), 0
    end, text = next(ends, (0, Text()))
    start = 0
    for span in spans("\n".join(text.plain for text in texts), record):
        last = place + len(span.text)
        style = styles[0] if span.quoted else styles[1]
        while True:
            text.stylize(style, max(place, start) - start, min(last, end) - start)
            if end >= last:
                break
            start = end + 1
            end, text = next(ends, (last, Text()))
        place = last


def unmark(texts: Sequence[Text], styles: tuple[Style, Style]) -> None:
    """Take those marks away."""
    for text in texts:
        text.spans = [span for span in text.spans if span.style not in styles]


def _ends(texts: Sequence[Text]) -> list[tuple[int, Text]]:
    ends, place = [], 0
    for text in texts:
        ends.append((place + len(text.plain), text))
        place += len(text.plain) + 1
    return ends


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
class Prefix:
    """What stands before the first line of a block, and before the others."""

    first: str = ""
    rest: str = ""

    def then(self, first: str, rest: str) -> Prefix:
        """The same for a block inside this one."""
        return Prefix(self.first + first, self.rest + rest)

    @property
    def later(self) -> Prefix:
        """The same for a block that is not the first one inside."""
        return Prefix(self.rest, self.rest)


class BlockRenderer:
    """Draws one block at a time; knows the colours and signs, and how inline text is read."""

    def __init__(self, rules: MarkdownIt, palette: MarkdownStyles) -> None:
        self._rules = rules
        self.palette = palette

    def leaves(self, node: SyntaxTreeNode, before: Prefix, *, closed: bool) -> Iterator[TextRow]:
        """A block. Program code gets its colours once the block is `closed`."""
        match node.type:
            case "paragraph":
                yield from self._text(node, before, None)
            case "heading":
                yield from self._text(node, before, self.palette.heading)
            case "fence" | "code_block":
                yield from self._code(node, before, closed=closed)
            case "hr":
                yield TextRow(Text(end=""), before.first, sign=self.palette.sign, rule=RULE)
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
        self, node: SyntaxTreeNode, place: int, before: Prefix, *, closed: bool
    ) -> Iterator[TextRow]:
        """An item of a list; `place` is its number if the list is a numbered one."""
        sign = f"{place}{node.markup} " if node.info else f"{BULLET} "
        inside = before.then(sign, " " * len(sign))
        yield from self._inside(node.children, inside, closed=closed) or self._nothing(inside)

    def table(self, node: SyntaxTreeNode) -> Table:
        """A table that has its heading only."""
        head = node.children[0].children[0]
        aligns = [str(cell.attrs.get("style", "")).partition(":")[2] for cell in head.children]
        return Table(self.row(head), aligns, self.palette)

    def row(self, node: SyntaxTreeNode) -> TableRow:
        """A row of a table."""
        style = self.palette.strong if node.children[0].type == "th" else None
        return TableRow([self._cell(cell, style) for cell in node.children])

    def _inside(
        self, nodes: list[SyntaxTreeNode], before: Prefix, *, closed: bool
    ) -> list[TextRow]:
        """Blocks inside another, a blank line between them; a list follows its sentence at once."""
        leaves: list[TextRow] = []
        for node in nodes:
            if leaves and not node.type.endswith("_list"):
                leaves += self._nothing(before.later)
            at = before.later if leaves else before
            leaves += self.leaves(node, at, closed=closed)
        return leaves

    def _nothing(self, before: Prefix) -> list[TextRow]:
        return [TextRow(Text(end=""), before.first, before.rest, self.palette.sign)]

    def _text(self, node: SyntaxTreeNode, before: Prefix, style: Style | None) -> Iterator[TextRow]:
        for text in self._lines(node, style):
            yield TextRow(text, before.first, before.rest, self.palette.sign)
            before = before.later

    def _code(self, node: SyntaxTreeNode, before: Prefix, *, closed: bool) -> Iterator[TextRow]:
        lines = [text_of(line, self.palette.block) for line in node.content.rstrip().split("\n")]
        language = node.info.split(maxsplit=1)[0] if node.info.strip() else ""
        if closed and language:
            colour(lines, language, self.palette.code_theme)
        for text in lines:
            fill = self.palette.block
            yield TextRow(text, before.first, before.rest, self.palette.sign, fill)
            before = before.later

    def _nested_table(self, node: SyntaxTreeNode, before: Prefix) -> Iterator[TextRow]:
        """A table inside a list or a quote has no room for columns: a line a row."""
        between = Text(f" {COLUMN} ", self.palette.sign, end="")
        for part in node.children:
            for row in part.children:
                line = between.join(self.row(row).cells)
                line.end = ""
                yield TextRow(line, before.first, before.rest, self.palette.sign)
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
