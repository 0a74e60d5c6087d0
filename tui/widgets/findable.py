"""Light in views what is found in their texts, and count it in a conversation."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from engine.core.text import one_line, printable
from engine.core.types import Answer, Conversation, Taught, Turn

if TYPE_CHECKING:
    _Mixin = Widget
else:
    _Mixin = object  # Textual takes the default styles from the first Widget base

_MAX_QUESTION = 2_000
"""Characters of a question that are drawn."""
_MARKUP = re.compile(r"[*_`#>|~\[\\]|^\s*[-+\d]", re.MULTILINE)


@dataclass
class Finding:
    """What is looked for, its styles, and the hit that is shown: a view and its number there."""

    pattern: re.Pattern[str]
    style: Style
    current_style: Style
    current: tuple[Findable, int] | None = None


@dataclass(frozen=True, slots=True)
class _Lit:
    """Cells of a line that belong to a hit."""

    start: int
    end: int
    number: int


class Findable(_Mixin):
    """A view that lights what is found in its text. List it before the widget's class."""

    finding: Finding | None = None
    _lit: dict[int, list[_Lit]] | None = None

    def plain_line(self, y: int) -> Strip:
        """Draw a line without lights."""
        return super().render_line(y)

    def render_line(self, y: int) -> Strip:
        """Draw a line, and light the hits in it."""
        strip, finding = self.plain_line(y), self.finding
        if finding is None:
            return strip
        for lit in self._lit_in(finding.pattern).get(y, ()):
            is_current = finding.current == (self, lit.number)
            style = finding.current_style if is_current else finding.style
            middle = [
                Segment(part.text, (part.style or Style.null()) + style, part.control)
                for part in strip.crop(lit.start, lit.end)
            ]
            parts = (strip.crop(0, lit.start), Strip(middle), strip.crop(lit.end))
            strip = Strip.join(parts)
        return strip

    def refresh(
        self,
        *regions: Region,
        repaint: bool = True,
        layout: bool = False,
        recompose: bool = False,
    ) -> Self:
        """Draw again; the hits may be elsewhere."""
        self._lit = None
        return super().refresh(*regions, repaint=repaint, layout=layout, recompose=recompose)

    def find(self, finding: Finding | None) -> None:
        """Light what is found, or nothing."""
        if finding is not self.finding or finding:
            self.finding = finding
            self.refresh()

    def hit_lines(self, pattern: re.Pattern[str]) -> list[int]:
        """Return the line on which each hit begins."""
        lines: dict[int, int] = {}
        for y, parts in sorted(self._lit_in(pattern).items()):
            for lit in parts:
                lines.setdefault(lit.number, y)
        return [lines[number] for number in sorted(lines)]

    def _lit_in(self, pattern: re.Pattern[str]) -> dict[int, list[_Lit]]:
        if self._lit is None:
            lines = [self.plain_line(y).text.rstrip() for y in range(self.content_size.height)]
            self._lit = _lit_lines(lines, pattern)
        return self._lit


def views(holder: Widget) -> Iterator[Findable]:
    """Return the findable views inside a widget: a query does not know a base that is no widget."""
    return (view for view in holder.walk_children() if isinstance(view, Findable))


def light(holder: Widget, finding: Finding | None) -> None:
    """Light what is found in the views inside a widget, or nothing."""
    for view in views(holder):
        view.find(finding)


def _lit_lines(lines: list[str], pattern: re.Pattern[str]) -> dict[int, list[_Lit]]:
    """Find in lines that are wrapped, so that a hit may go on in the next one."""
    text, lit = "\n".join(lines), dict[int, list[_Lit]]()
    for number, found in enumerate(pattern.finditer(text)):
        start = 0
        for y, line in enumerate(lines):
            first, last = max(found.start() - start, 0), min(found.end() - start, len(line))
            if first < last:
                cells = cell_len(line[:first]), cell_len(line[:last])
                lit.setdefault(y, []).append(_Lit(*cells, number))
            start += len(line) + 1
    return lit


def pattern_of(text: str) -> re.Pattern[str] | None:
    """Return what finds a text, whatever its case and blanks are; None for no text."""
    words = [re.escape(word) for word in text.split()]
    return re.compile(r"\s+".join(words), re.IGNORECASE) if words else None


def hits_in(conversation: Conversation, pattern: re.Pattern[str]) -> list[tuple[int, int]]:
    """Return for each hit the index of its turn, and its number there."""
    return [
        (index, number)
        for index, turn in enumerate(conversation.turns)
        for number in range(sum(len(pattern.findall(part)) for part in _parts(turn)))
    ]


def _parts(turn: Turn) -> Iterator[str]:
    """Yield what a turn shows, in order."""
    yield printable(turn.question[:_MAX_QUESTION])
    answer = turn.answer
    if answer is None:
        return
    if answer.sources and not answer.is_list:
        yield one_line(answer.sources[0].product.title)
    if answer.taught is not Taught.NOT_TAUGHT:  # folded
        yield _drawn(answer)


def _drawn(answer: Answer) -> str:
    """Return the answer's text without Markdown's own characters."""
    if answer.verbatim or not _MARKUP.search(answer.text):
        return printable(answer.text)
    from tui.markdown.document import MarkdownDocument
    from tui.markdown.layout import MarkdownStyles

    document = MarkdownDocument(MarkdownStyles())
    document.feed(printable(answer.text))
    document.read(ended=True)
    return "\n".join(text.plain for block in document.blocks for text in block.texts())
