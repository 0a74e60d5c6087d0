"""A model's words as Markdown, while they come: one widget, drawn line by line.

Textual's own makes a widget of each block, which costs too much in a long list or table. Here what
cannot change any more is read and wrapped once (tui/markdown/document.py), and of the rest the
screen is drawn ten times a second at most. Links are not opened.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, ClassVar

from rich.style import Style
from textual.geometry import Region, Size
from textual.selection import Selection
from textual.strip import Strip
from textual.widget import Widget

from engine.core.text import printable

if TYPE_CHECKING:
    from textual.timer import Timer

    from tui.markdown.document import BlockLayout, MarkdownDocument
    from tui.markdown.layout import MarkdownStyles

_PAUSE = 0.1
"""Seconds between two drawings of words that come."""
_LONG = 8_000
"""Characters that are read beside the loop, so that keys are not kept waiting."""
_PARTS = ("heading", "strong", "em", "strike", "code", "block", "link", "sign")


class MarkdownView(Widget):
    """A text that is whole; or an empty one to `append` to, until it is to `finish`."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        *(f"markdown--{part}" for part in _PARTS),
        "marks--quoted",
        "marks--added",
    }

    def __init__(self, text: str = "", classes: str = "") -> None:
        super().__init__(classes=classes)
        self._pieces = [printable(text)]
        self._fresh = list(self._pieces)
        self._ended = bool(text)
        self._document: MarkdownDocument | None = None
        self._layout: BlockLayout | None = None
        self._reading = asyncio.Lock()
        self._timer: Timer | None = None
        self._drawn = 0.0
        self._marks = (Style.null(), Style.null())
        self._record: str | None = None
        self._strips: dict[int, Strip] = {}
        """Lines that no more words can change, while others come: Textual asks for them anew."""
        self._strips_for: tuple[int, Style, object] | None = None

    @property
    def source(self) -> str:
        """All that was appended, as it was written."""
        return "".join(self._pieces)

    def append(self, text: str) -> None:
        """Add words; they are on the screen within a tenth of a second."""
        text = printable(text)
        self._pieces.append(text)
        self._fresh.append(text)
        if self._timer is None:
            wait = max(0.001, self._drawn + _PAUSE - monotonic())
            self._timer = self.set_timer(wait, self._draw)

    async def finish(self) -> None:
        """No more words will come: draw what is still to be drawn."""
        self._ended = True
        self._strips.clear()
        await self._draw()

    def mark(self, record: str | None) -> None:
        """Mark, once all has come, which words stand in `record`; None: no longer."""
        self._record = record
        if self._ended and self._layout:
            self._put_marks()
            self.refresh(layout=True)

    async def _draw(self) -> None:
        """Read what is new, and let the lines from the first changed one on be drawn."""
        async with self._reading:
            if self._timer:
                self._timer.stop()
                self._timer = None
            if not self._fresh and not self._ended:
                return
            document = self._open()
            document.feed("".join(self._fresh))
            self._fresh.clear()
            if document.waiting > _LONG:
                await asyncio.to_thread(document.read, ended=self._ended)
            else:
                document.read(ended=self._ended)
            if document is self._document:
                self._lay_out(document)
            self._drawn = monotonic()

    def _open(self) -> MarkdownDocument:
        if self._document is None:
            from tui.markdown.document import BlockLayout, MarkdownDocument

            self._document, self._layout = MarkdownDocument(self._palette()), BlockLayout()
        return self._document

    def _set(self, document: MarkdownDocument) -> None:
        if self._layout:
            self._layout.set(document.blocks, document.stable)
            if self._record is not None and self._ended:
                self._put_marks()

    def _lay_out(self, document: MarkdownDocument) -> None:
        if self._layout is None:
            return
        width, height = self.content_size
        changed = self._layout.settled
        self._set(document)
        if self.is_attached:
            grown = not width or self._layout.height(width) != height
            self.refresh(Region(0, changed, width, max(1, height - changed)), layout=grown)

    def _put_marks(self) -> None:
        from tui.markdown.render import mark, unmark

        if self._layout:
            texts = [text for block in self._layout.blocks for text in block.texts()]
            unmark(texts, self._marks)
            self._marks = mark_styles(self)
            if self._record is not None:
                mark(texts, self._record, self._marks)
            self._layout.restart()

    def _begin_anew(self) -> None:
        """Read all of it again: the colours have changed."""
        self._document = self._layout = None
        self._strips.clear()
        self._fresh = [self.source]
        self._timer = self._timer or self.set_timer(0.001, self._draw)

    def _palette(self) -> MarkdownStyles:
        from tui.markdown.layout import MarkdownStyles

        styles = {
            part: self.get_component_rich_style(f"markdown--{part}", partial=True)
            for part in _PARTS
        }
        dark = self.app.current_theme.dark
        return MarkdownStyles(**styles, code_theme=f"ansi_{'dark' if dark else 'light'}")

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:  # noqa: ARG002 - Textual's signature
        """Lines at that width; a text that was whole from the start is first read here."""
        if self._ended and self._document is None and self._fresh:
            document = self._open()
            document.feed("".join(self._fresh))
            self._fresh.clear()
            document.read(ended=True)
            self._set(document)
        return self._layout.height(width) if self._layout and width else 0

    def render_line(self, y: int) -> Strip:
        """Draw one line."""
        width, base = self.content_size.width, self.visual_style.rich_style
        if self._ended or not self._layout or self.text_selection:
            return self._strip(y, width, base)
        kept, as_long_as = self._layout.kept(width)
        if self._strips_for != (width, base, as_long_as):
            self._strips.clear()
            self._strips_for = width, base, as_long_as
        strip = self._strips.get(y)
        if strip is None:
            strip = self._strip(y, width, base)
            if y < kept:
                self._strips[y] = strip
        return strip

    def _strip(self, y: int, width: int, base: Style) -> Strip:
        from tui.markdown.layout import CONSOLE

        line = self._layout.line(width, y) if self._layout else None
        if line is None:
            return Strip.blank(width, base)
        text = line.text
        selected = self.text_selection and self.text_selection.get_span(line.row)
        if selected:
            text = text.copy()
            start, end = (max(0, at - line.column) if at >= 0 else at for at in selected)
            text.stylize(
                self.screen.get_component_rich_style("screen--selection"),
                start,
                len(text) if end < 0 else end,
            )
        strip = Strip(text.render(CONSOLE)).adjust_cell_length(width, line.fill or Style.null())
        return strip.apply_style(base).apply_offsets(line.column, line.row)

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        """What is selected, as text to be copied."""
        if self._layout is None:
            return None
        return selection.extract(self._layout.copied(self.content_size.width)), "\n"

    def selection_updated(self, selection: Selection | None) -> None:  # noqa: ARG002 - Textual's signature
        """Draw the selection."""
        self.refresh()

    def notify_style_update(self) -> None:
        """Draw in the colours of another theme."""
        super().notify_style_update()
        if self._document is not None and self._palette() != self._document.palette:
            self._begin_anew()


def mark_styles(widget: Widget) -> tuple[Style, Style]:
    """How `widget` marks the record's words, and the others: never by the colour alone."""
    return (
        widget.get_component_rich_style("marks--quoted", partial=True),
        widget.get_component_rich_style("marks--added", partial=True),
    )
