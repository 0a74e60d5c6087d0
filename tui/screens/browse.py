"""The browse page: titles of the catalogue, a filter as you type, and the record beside them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.events import Resize
from textual.message import Message
from textual.screen import Screen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option
from textual.worker import Worker, WorkerCancelled

from engine.catalogue.browse import MOST, Listing
from engine.catalogue.catalogue import Retriever
from engine.core.i18n import tr
from engine.core.text import one_line, printable
from engine.core.types import Product
from tui.commands.table import reporting
from tui.textual_patches.widgets import FittingFooter, LineInput, Page

_PAGE = 100
"""Titles that are read at a time."""
_MAX_TITLE = 200
_MIN_WIDTH = 72
"""Columns from which the record has room beside the titles."""


class TitleList(OptionList, can_focus=False):
    """The titles read so far; it asks for more before its end is visible."""

    class NearEnd(Message):
        """The end of the list is almost visible."""

    def __init__(self) -> None:
        super().__init__(id="browse-titles", compact=True)
        self._uids: list[str] = []

    def show(self, entries: Sequence[tuple[str, str]]) -> None:
        self.clear_options()
        self._uids = []
        self.extend(entries)
        if entries:
            self.highlighted = 0

    def extend(self, entries: Sequence[tuple[str, str]]) -> None:
        self._uids += [uid for uid, _ in entries]
        self.add_options(
            Option(Content(one_line(title, _MAX_TITLE) or tr("(no title)"))) for _, title in entries
        )

    @property
    def selected(self) -> str | None:
        """The uid of the highlighted product."""
        index = self.highlighted
        return None if index is None or index >= len(self._uids) else self._uids[index]

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        if new_value > old_value and new_value + 3 * self.size.height >= self.virtual_size.height:
            self.post_message(self.NearEnd())


class FilterInput(LineInput, inherit_bindings=False):
    """The filter; its footer entry for Enter asks for the highlighted product."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "submit", tr("Ask"), id="browse_submit")
    ]


class BrowseScreen(Page, Screen[str | None]):
    """Returns the question for the chosen product, or None."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "ask", tr("Ask"), id="browse_submit"),
        Binding("tab", "read", tr("Record"), id="browse_record", priority=True),
        Binding("down", "move('cursor_down')", show=False, id="browse_down"),
        Binding("up", "move('cursor_up')", show=False, id="browse_up"),
        Binding("pagedown", "move('page_down')", show=False, id="browse_page_down"),
        Binding("pageup", "move('page_up')", show=False, id="browse_page_up"),
        Binding("ctrl+home", "move('first')", show=False, id="browse_first"),
        Binding("ctrl+end", "move('last')", show=False, id="browse_last"),
        Binding("escape", "leave", tr("Close"), id="browse_close"),
    ]

    def __init__(self, catalogue: Retriever, text: str = "") -> None:
        """`text` is the filter to begin with."""
        super().__init__()
        self._catalogue = catalogue
        self._text = text
        self._next = 0
        self._searching: Worker[None] | None = None
        self._product: Product | None = None

    def compose(self) -> ComposeResult:
        with Horizontal(id="browse"):
            with Vertical(id="browse-left"):
                yield Static(tr("Browse"), id="browse-head", markup=False)
                yield FilterInput(self._text, placeholder=tr("Filter by words…"), compact=True)
                yield TitleList()
            with VerticalScroll(id="browse-record"):
                yield Static(id="browse-title", markup=False)
                yield Static(id="browse-text", markup=False)
                yield Static(id="browse-related", markup=False)
        yield FittingFooter()

    def on_mount(self) -> None:
        self._search()

    def on_resize(self, event: Resize) -> None:
        self.set_class(event.size.width < _MIN_WIDTH, "narrow")

    def on_input_changed(self, event: Input.Changed) -> None:
        self._text = event.value
        self._search()

    def on_title_list_near_end(self) -> None:
        if self._next:
            start, self._next = self._next, 0
            self._read_more(start)

    def _search(self) -> None:
        self._searching = self._show_matches(self._text)

    @work(exclusive=True, group="titles")
    async def _show_matches(self, text: str) -> None:
        with reporting(self._show_head):
            page = await asyncio.to_thread(self._catalogue.browse, text, 0, _PAGE)
            self._next = page.next
            self._show_head(_head(page, len(self._catalogue), is_filtered=bool(text.strip())))
            self.query_one(TitleList).show(page.entries)
            if not page.entries:
                self._product = None
                self._draw(())

    @work(exclusive=True, group="titles")
    async def _read_more(self, start: int) -> None:
        with reporting(self._show_head):
            page = await asyncio.to_thread(self._catalogue.browse, self._text, start, _PAGE)
            self._next = page.next
            self.query_one(TitleList).extend(page.entries)

    def _show_head(self, sentence: str) -> None:
        self.query_one("#browse-head", Static).update(one_line(sentence))

    @on(OptionList.OptionHighlighted)
    def _show_highlighted(self) -> None:
        uid = self.query_one(TitleList).selected
        if uid is not None:
            self._show_record(uid)

    @work(exclusive=True, group="record")
    async def _show_record(self, uid: str) -> None:
        with reporting(self._show_head):
            self._product = await asyncio.to_thread(self._catalogue.get, uid)
            self._draw(await asyncio.to_thread(self._catalogue.related, uid))

    def _draw(self, related: Sequence[tuple[str, str]]) -> None:
        product = self._product
        title = one_line(product.title) or tr("(no title)") if product else ""
        text = printable(product.description) or tr("(no description)") if product else ""
        lines = [f" {one_line(name)}" for _, name in related]
        self.query_one("#browse-title", Static).update(title)
        self.query_one("#browse-text", Static).update(text)
        below = "\n".join([tr("Related"), *lines]) if lines else ""
        self.query_one("#browse-related", Static).update(below)
        self.query_one("#browse-record").scroll_home(animate=False)

    @on(Input.Submitted)
    @on(OptionList.OptionSelected)
    @work
    async def action_ask(self) -> None:
        """Ask for the highlighted product, once the list matches the filter."""
        if self._searching:
            with suppress(WorkerCancelled):
                await self._searching.wait()
        uid = self.query_one(TitleList).selected
        if uid is not None:
            with reporting(self._show_head):
                self.dismiss(await asyncio.to_thread(_question, self._catalogue, uid))

    def action_move(self, where: str) -> None:
        getattr(self.query_one(TitleList), f"action_{where}")()

    def action_read(self) -> None:
        """Go to the record, to scroll in it, or back; on a narrow screen it covers the titles."""
        reading = not self.has_class("reading")
        self.set_class(reading, "reading")
        self.query_one("#browse-record" if reading else "FilterInput").focus()

    def action_leave(self) -> None:
        """Go back from the record on a narrow screen; else close."""
        if self.has_class("reading") and self.has_class("narrow"):
            self.action_read()
        else:
            self.dismiss()


def _head(page: Listing, products: int, *, is_filtered: bool) -> str:
    if not products or (not page.count and not is_filtered):
        return tr("This catalogue has no titles to browse.")
    if not page.count:
        return tr("No product matches.")
    if page.count == products:
        return tr("Browse · {count:,} products", count=products)
    counted = f"{page.count}+" if page.count == MOST else page.count
    return tr("Browse · {counted} of {products:,}", counted=counted, products=products)


def _question(catalogue: Retriever, uid: str) -> str:
    """Return the title, or else the number: another product may have the title."""
    product = catalogue.get(uid)
    if product is None or not product.title:
        return uid
    named = catalogue.named(product.title).product
    return one_line(product.title) if named and named.uid == uid else uid
