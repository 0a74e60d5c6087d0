"""The colours of program code in an answer, by Pygments."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text


def colour(lines: Sequence[Text], language: str, theme: str) -> None:
    """Colour the lines of a program in place; in a language that is not known they stay as is."""
    from rich.syntax import Syntax

    code = "\n".join(line.plain for line in lines)
    coloured = Syntax("", language, theme=theme).highlight(code)
    for line, like in zip(lines, coloured.split("\n", allow_blank=True), strict=False):
        line.spans += like.spans
