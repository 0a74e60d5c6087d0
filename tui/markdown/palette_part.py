"""How the parts of a Markdown text look: the colours of the theme, and the signs."""

from __future__ import annotations

from dataclasses import dataclass

from rich.style import Style

# Each has its row in tui.glyphs_part, for a terminal without Unicode.
BULLET = "•"
BAR = "▌"
RULE = "─"
COLUMN = "│"
CROSS = "┼"

_PLAIN = Style.null()


@dataclass(frozen=True, slots=True)
class Palette:
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
