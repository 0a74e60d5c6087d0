"""Conversations found as one types: what to look for, what is told, and the list in slices."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import Input, Static
from textual.worker import Worker, WorkerCancelled

from engine.core.errors import BalcaoError
from engine.core.i18n import tr, tr_n
from engine.core.text import one_line
from engine.store.listing_part import Listed
from tui.screens.conversation_list_part import ConversationList, slice_for
from tui.textual_patches.line_part import Line

if TYPE_CHECKING:
    from engine.store.conversations import ConversationStore

_WORDS = 40
"""Letters of what was typed that are told again."""


class SearchLine(Line):
    """What to look for; its Enter, told in the footer, is the list's."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "submit", tr("Open"), id="history_submit")
    ]


class ConversationSearch(Vertical):
    """Keeps the list to what is typed, and says how much of it there is, or what was done."""

    def __init__(self, store: ConversationStore) -> None:
        super().__init__(id="conversations")
        self._store = store
        self._looking: Worker[None] | None = None
        self._text = ""
        self._more = False

    def compose(self) -> ComposeResult:
        """What to look for, what is told, and what is found."""
        yield SearchLine(placeholder=tr("Search titles, questions, answers…"), compact=True)
        yield Static(id="conversations-told", markup=False)
        yield ConversationList()

    def on_mount(self) -> None:
        """Show the latest."""
        self._look()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Search as one types."""
        self._text = event.value
        self._look()

    def on_conversation_list_near_end(self) -> None:
        """Fetch the next slice, once."""
        if self._more:
            self._more = False
            self._extend()

    @property
    def found(self) -> ConversationList:
        """What is found so far."""
        return self.query_one(ConversationList)

    async def settled(self) -> None:
        """Wait until the list shows what was typed last."""
        if self._looking:
            with suppress(WorkerCancelled):
                await self._looking.wait()

    async def refresh_list(self, told: str = "") -> None:
        """Fetch the list anew; `told` is said about it, or else how much of it there is."""
        text, old = self._text, self.found
        place = old.highlighted or 0 if told else 0
        wanted = max(self._slice, len(old.entries) if told else 0)
        with self.telling():
            entries, total = await asyncio.to_thread(
                lambda: (self._fetch(text, wanted), self._store.count())
            )
            self._more = len(entries) >= wanted
            self.found.show(entries, place=place)
            self.tell(told or self._about(text, len(entries), total))

    def tell(self, told: str) -> None:
        """Say it above the list."""
        self.query_one("#conversations-told", Static).update(one_line(told))

    @contextmanager
    def telling(self) -> Iterator[None]:
        """What the disk does not do is told in a sentence."""
        try:
            yield
        except BalcaoError as error:
            self.tell(str(error))

    def _look(self) -> None:
        self._looking = self.run_worker(self.refresh_list(), group="look", exclusive=True)

    def _fetch(self, text: str, wanted: int) -> list[Listed]:
        return self._store.search(text, wanted) if text.strip() else self._store.listed(wanted)

    @work(group="look")
    async def _extend(self) -> None:
        entries, text = self.found.entries, self._text
        with self.telling():
            if text.strip():
                latest = await asyncio.to_thread(self._fetch, text, len(entries) + self._slice)
                more = latest[len(entries) :]
            else:
                more = await asyncio.to_thread(self._store.listed, self._slice, entries[-1])
            if self.found.entries is entries and text == self._text:
                self._more = bool(more)
                self.found.add(more)

    def _about(self, text: str, shown: int, total: int) -> str:
        if not total:
            return tr("There is none yet: ask something first.")
        if not text.strip():
            return tr_n(
                "{total:,} conversation, the latest first",
                "{total:,} conversations, the latest first",
                total,
            ).format(total=total)
        if not shown:
            return tr("Nothing has “{text}”.").format(text=one_line(text, _WORDS))
        return (
            tr("the latest {shown} that have it").format(shown=shown)
            if self._more
            else tr("{shown} of {total:,} have it").format(shown=shown, total=total)
        )

    @property
    def _slice(self) -> int:
        return slice_for(self.app.size.height)
