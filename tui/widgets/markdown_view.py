"""Streaming Markdown in one widget, drawn line by line.

Textual's Markdown creates a widget per block, which is too slow for a long list or table. Here
closed blocks are parsed and wrapped once (tui/markdown/document.py), and the rest is drawn ten
times a second at most. Links do not open.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, ClassVar

from rich.style import Style
from textual.color import Color
from textual.geometry import Region, Size
from textual.selection import Selection
from textual.strip import Strip
from textual.widget import Widget

from engine.core.text import printable
from tui.widgets.findable import Findable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textual.timer import Timer

    from tui.markdown.document import MarkdownDocument
    from tui.markdown.layout import Block, BlockLayout, MarkdownStyles

_INTERVAL = 0.1
"""Seconds between two updates while text arrives."""
_THREAD_THRESHOLD = 8_000
"""Characters from which text is parsed in a thread, so that keys are not delayed."""
_PARTS = ("heading", "strong", "em", "strike", "code", "block", "link", "sign")


class MarkdownView(Findable, Widget):
    """A complete text, or an empty one to `append` to and then `finish`."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        *(f"markdown--{part}" for part in _PARTS),
        "marks--quoted",
        "marks--added",
    }

    def __init__(self, text: str = "", classes: str = "") -> None:
        super().__init__(classes=classes)
        self._pieces = [printable(text)]
        self._unread = list(self._pieces)
        self._ended = bool(text)
        self._document: MarkdownDocument | None = None
        self._layout: BlockLayout | None = None
        self._reading = asyncio.Lock()
        self._timer: Timer | None = None
        self._updated = 0.0
        self._marks = (Style.null(), Style.null())
        self._record: str | None = None
        self._marked = 0
        """The blocks that later text cannot change and that are marked."""
        self._strips: dict[int, Strip] = {}
        """Lines that later text cannot change: while it arrives, Textual draws all lines again."""
        self._strips_key: tuple[int, Style, object] | None = None

    @property
    def source(self) -> str:
        return "".join(self._pieces)

    def append(self, text: str) -> None:
        """Add text; it is drawn within a tenth of a second."""
        text = printable(text)
        self._pieces.append(text)
        self._unread.append(text)
        if self._timer is None:
            wait = max(0.001, self._updated + _INTERVAL - monotonic())
            self._timer = self.set_timer(wait, self._update)

    async def finish(self) -> None:
        """Draw the rest: no more text follows."""
        self._ended = True
        self._strips.clear()
        await self._update()

    def mark(self, record: str | None) -> None:
        """Mark the words that come from `record`, while they arrive too; None removes the marks."""
        self._record = record
        if self._layout:
            self._apply_marks(self._layout)
            self._strips.clear()
            self.refresh(layout=True)

    def slip_lines(self) -> list[int]:
        """Return the lines that have marked words which are not the record's."""
        width, layout = self.content_size.width, self._layout
        if layout is None or self._record is None:
            return []
        lines = (layout.line(width, at) for at in range(layout.height(width)))
        return [
            at
            for at, line in enumerate(lines)
            if line and any(span.style == self._marks[1] for span in line.text.spans)
        ]

    async def _update(self) -> None:
        """Parse new text and repaint from the first changed line."""
        async with self._reading:
            if self._timer:
                self._timer.stop()
                self._timer = None
            if not self._unread and not self._ended:
                return
            document, layout = self._feed()
            if document.pending > _THREAD_THRESHOLD:
                await asyncio.to_thread(document.read, ended=self._ended)
            else:
                document.read(ended=self._ended)
            if document is self._document:  # the theme has not changed since
                changed = layout.stable_height
                self._lay_out(document, layout)
                self._repaint(layout, changed)
            self._updated = monotonic()

    def _feed(self) -> tuple[MarkdownDocument, BlockLayout]:
        if self._document is None or self._layout is None:
            from tui.markdown.document import MarkdownDocument
            from tui.markdown.layout import BlockLayout

            self._document, self._layout = MarkdownDocument(self._styles()), BlockLayout()
        self._document.feed("".join(self._unread))
        self._unread.clear()
        return self._document, self._layout

    def _lay_out(self, document: MarkdownDocument, layout: BlockLayout) -> None:
        layout.set_blocks(document.blocks, document.stable)
        if self._record is not None and self._ended:
            self._apply_marks(layout)
        elif self._record is not None and document.pending <= _THREAD_THRESHOLD:
            self._mark_new(layout.blocks[self._marked :], self._record)
            self._marked = document.stable

    def _repaint(self, layout: BlockLayout, changed: int) -> None:
        if self.is_attached:
            width, height = self.content_size
            grown = not width or layout.height(width) != height
            self.refresh(Region(0, changed, width, max(1, height - changed)), layout=grown)

    def _mark_new(self, blocks: Sequence[Block], record: str) -> None:
        """Mark blocks that are new or have grown; those that are complete keep their marks."""
        from tui.markdown.render import mark, unmark

        self._marks = mark_styles(self)
        texts = [text for block in blocks for text in block.texts()]
        unmark(texts, self._marks)  # the closed rows of a table have some
        mark(texts, record, self._marks, growing=True)

    def _apply_marks(self, layout: BlockLayout) -> None:
        from tui.markdown.render import mark, unmark

        texts = [text for block in layout.blocks for text in block.texts()]
        unmark(texts, self._marks)
        self._marks = mark_styles(self)
        if self._record is not None:
            mark(texts, self._record, self._marks, growing=not self._ended)
        layout.invalidate()

    def _styles(self) -> MarkdownStyles:
        from tui.markdown.layout import MarkdownStyles

        styles = {
            part: self.get_component_rich_style(f"markdown--{part}", partial=True)
            for part in _PARTS
        }
        dark = self.app.current_theme.dark
        return MarkdownStyles(**styles, code_theme=f"ansi_{'dark' if dark else 'light'}")

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:  # noqa: ARG002 - Textual's signature
        """Return the lines at that width; a complete text is first parsed here."""
        if self._ended and self._document is None and self._unread:
            document, layout = self._feed()
            document.read(ended=True)
            self._lay_out(document, layout)
        return self._layout.height(width) if self._layout and width else 0

    def plain_line(self, y: int) -> Strip:
        width, base = self.content_size.width, self.visual_style.rich_style
        if self._ended or not self._layout or self.text_selection:
            return self._strip(y, width, base)
        stable, condition = self._layout.stable_lines(width)
        if self._strips_key != (width, base, condition):
            self._strips.clear()
            self._strips_key = width, base, condition
        strip = self._strips.get(y)
        if strip is None:
            strip = self._strip(y, width, base)
            if y < stable:
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
            text.stylize(self._selection_style(), start, len(text) if end < 0 else end)
        strip = Strip(text.render(CONSOLE)).adjust_cell_length(width, line.fill or Style.null())
        return strip.apply_style(base).apply_offsets(line.column, line.row)

    def _selection_style(self) -> Style:
        """Return the theme's style; many themes set no colour for the text in it."""
        style = self.screen.get_component_rich_style("screen--selection")
        if style.bgcolor is None or self.screen.get_component_styles("screen--selection").color.a:
            return style
        behind = Color.from_rich_color(style.bgcolor)
        return style + Style(color=behind.get_contrast_text(1.0).rich_color)

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        if self._layout is None:
            return None
        return selection.extract(self._layout.plain_text(self.content_size.width)), "\n"

    def selection_updated(self, selection: Selection | None) -> None:  # noqa: ARG002 - Textual's signature
        self.refresh()

    def notify_style_update(self) -> None:
        """Parse again in the colours of another theme."""
        super().notify_style_update()
        if self._document is not None and self._styles() != self._document.styles:
            self._document = self._layout = None
            self._marked = 0
            self._strips.clear()
            self._unread = [self.source]
            self._timer = self._timer or self.set_timer(0.001, self._update)


def mark_styles(widget: Widget) -> tuple[Style, Style]:
    """Return the styles of the record's words and of the others; they differ not only in colour."""
    return (
        widget.get_component_rich_style("marks--quoted", partial=True),
        widget.get_component_rich_style("marks--added", partial=True),
    )
