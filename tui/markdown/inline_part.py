"""What stands inside a paragraph, a heading or a cell, as lines of styled text.

Links are not opened, so what they point to is said: a link is its words and its address.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import unquote

from markdown_it.token import Token
from rich.style import Style
from rich.text import Text

from engine.core.text import printable
from tui.markdown.palette_part import Palette

_BLANKS = re.compile(r"\s+")


def lines_of(tokens: Sequence[Token], palette: Palette) -> list[Text]:
    """The text of inline tokens, one `Text` for each line that the writer has ended by hand."""
    writer = _Writer(palette)
    for token in tokens:
        writer.take(token)
    return writer.lines


def text_of(content: str, style: Style | str = "") -> Text:
    """Foreign text as one line; tabs become blanks, since a tab has no width of its own."""
    return Text(printable(content).expandtabs(4), style, end="")


class _Writer:
    """Writes tokens in order. Emphasis may be nested: the styles that are on are a stack."""

    def __init__(self, palette: Palette) -> None:
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
