"""The conversations so far: found as one types, gone on with, renamed, deleted, exported."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Footer, Input, OptionList, Static
from textual.worker import Worker, WorkerCancelled

from engine import paths
from engine.errors import BalcaoError
from engine.i18n import tr, tr_n
from engine.store.listing import Listed
from engine.text import one_line
from tui.screens.prompt import ChoiceScreen, LineScreen
from tui.widgets.conversation_list import ConversationList, slice_for
from tui.widgets.line import Line

if TYPE_CHECKING:
    from engine.store.conversations import ConversationStore

_TITLE = 40
_EXPORTS = {
    "md": tr("this conversation, as Markdown to read"),
    "json": tr("this conversation, as JSON to import again"),
    "all": tr("every conversation, as JSON to import again"),
}


class SearchLine(Line):
    """What to look for; its Enter, told in the footer, is the list's."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "submit", tr("Open"), id="history_submit")
    ]


class ConversationsScreen(ModalScreen[int | None]):
    """Ends with the id of the conversation to go on with, or None."""

    CSS_PATH = "../pages.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f2", "rename", tr("Rename"), id="history_rename"),
        Binding("f8", "delete", tr("Delete"), id="history_delete"),
        Binding("ctrl+z", "undelete", tr("Undo"), id="history_undelete"),
        Binding("f5", "export", tr("Export"), id="history_export"),
        Binding("f7", "import", tr("Import"), id="history_import"),
        Binding("escape,ctrl+o", "dismiss", tr("Close"), key_display="esc", id="history_close"),
        Binding("down", "move('cursor_down')", show=False, id="history_down"),
        Binding("up", "move('cursor_up')", show=False, id="history_up"),
        Binding("pagedown", "move('page_down')", show=False, id="history_page_down"),
        Binding("pageup", "move('page_up')", show=False, id="history_page_up"),
        Binding("ctrl+home", "move('first')", show=False, id="history_first"),
        Binding("ctrl+end", "move('last')", show=False, id="history_last"),
    ]

    def __init__(self, store: ConversationStore, titles: Mapping[str, str]) -> None:
        """`titles` are the engines' by id, for what is exported."""
        super().__init__()
        self._store = store
        self._titles = titles
        self._looking: Worker[None] | None = None
        self._text = ""
        self._more = False
        self._deleted: dict[int, str] = {}

    def compose(self) -> ComposeResult:
        """What to look for, what is found, and what was done."""
        with Vertical(id="conversations"):
            yield SearchLine(placeholder=tr("Search titles, questions, answers…"), compact=True)
            yield Static(id="conversations-told", markup=False)
            yield ConversationList()
        yield Footer(compact=True)

    def on_mount(self) -> None:
        """Show the latest."""
        self._look()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Search as one types."""
        self._text = event.value
        self._look()

    def on_input_submitted(self) -> None:
        """Enter in what to look for."""
        self.action_open()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Clicked."""
        event.stop()
        self.action_open()

    def on_conversation_list_near_end(self) -> None:
        """Fetch the next slice, once."""
        if self._more:
            self._more = False
            self._extend()

    @work
    async def action_open(self) -> None:
        """Go on with the highlighted one, of what was typed last."""
        if self._looking:
            with suppress(WorkerCancelled):
                await self._looking.wait()
        entry = self._list.chosen
        if entry:
            self.dismiss(entry.id)

    @work
    async def action_rename(self) -> None:
        """Ask for another title."""
        entry = self._list.chosen
        if entry is None:
            return
        title = await self.app.push_screen_wait(
            LineScreen(tr("Rename the conversation to"), one_line(entry.title))
        )
        if title:
            with self._telling():
                await asyncio.to_thread(self._store.rename, entry.id, title)
                await self._refresh("Renamed.")

    @work
    async def action_delete(self) -> None:
        """Take the highlighted one away."""
        entry = self._list.chosen
        if entry is None:
            return
        with self._telling():
            await asyncio.to_thread(self._store.delete, entry.id)
            self._deleted[entry.id] = one_line(entry.title, _TITLE)
            self.refresh_bindings()
            title = self._deleted[entry.id]
            await self._refresh(
                tr("Deleted “{title}”. Ctrl+Z brings it back, until you quit.").format(title=title)
            )

    @work
    async def action_undelete(self) -> None:
        """Bring back what was deleted last."""
        with self._telling():
            number = await asyncio.to_thread(self._store.undelete)
            if number is None:
                await self._refresh(tr("There is nothing more to bring back."))
                return
            title = self._deleted.pop(number, "")
            self.refresh_bindings()
            await self._refresh(
                tr("“{title}” is back.").format(title=title) if title else tr("It is back.")
            )

    @work
    async def action_export(self) -> None:
        """Ask what, and write it to a new file."""
        from engine import history

        entry = self._list.chosen
        if entry is None:
            return
        kind = await self.app.push_screen_wait(ChoiceScreen("Export", _EXPORTS))
        folder = paths.exports_dir()

        def write() -> Path:
            if kind == "all":
                return history.write_all(self._store, folder)
            return history.write_conversation(
                self._store, entry.id, self._titles, folder, kind or ""
            )

        if kind:
            self._tell("Writing…")
            with self._telling():
                self._tell(tr("Written to {value}").format(value=await asyncio.to_thread(write)))

    @work
    async def action_import(self) -> None:
        """Ask for a file that was exported as JSON, and add what is in it."""
        from engine import history

        name = await self.app.push_screen_wait(
            LineScreen(
                tr("Import conversations from"), example=tr("a .json file that was exported")
            )
        )
        if name is None:
            return
        self._tell("Importing…")
        with self._telling():
            added = await asyncio.to_thread(history.read, self._store, name)
            await self._refresh(history.told(added))

    def action_move(self, how: str) -> None:
        """Move the highlight without leaving what is typed."""
        getattr(self._list, f"action_{how}")()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:  # noqa: ARG002 - Textual's signature
        """Undo is there once something was deleted."""
        return action != "undelete" or bool(self._store.deleted)

    def _look(self) -> None:
        self._looking = self.run_worker(self._refresh(), group="look", exclusive=True)

    async def _refresh(self, told: str = "") -> None:
        """Fetch the list anew; `told` is said about it, or else how much of it there is."""
        text, old = self._text, self._list
        place = old.highlighted or 0 if told else 0
        wanted = max(self._slice, len(old.entries) if told else 0)
        with self._telling():
            entries, total = await asyncio.to_thread(
                lambda: (self._fetch(text, wanted), self._store.count())
            )
            self._more = len(entries) >= wanted
            self._list.show(entries, place=place)
            self._tell(told or self._about(text, len(entries), total))

    def _fetch(self, text: str, wanted: int) -> list[Listed]:
        return self._store.search(text, wanted) if text.strip() else self._store.listed(wanted)

    @work(group="look")
    async def _extend(self) -> None:
        entries, text = self._list.entries, self._text
        with self._telling():
            if text.strip():
                found = await asyncio.to_thread(self._fetch, text, len(entries) + self._slice)
                more = found[len(entries) :]
            else:
                more = await asyncio.to_thread(self._store.listed, self._slice, entries[-1])
            if self._list.entries is entries and text == self._text:
                self._more = bool(more)
                self._list.add(more)

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """What the disk does not do is told in a sentence."""
        try:
            yield
        except BalcaoError as error:
            self._tell(str(error))

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
            return tr("Nothing has “{text}”.").format(text=one_line(text, _TITLE))
        return (
            tr("the latest {shown} that have it").format(shown=shown)
            if self._more
            else tr("{shown} of {total:,} have it").format(shown=shown, total=total)
        )

    def _tell(self, told: str) -> None:
        self.query_one("#conversations-told", Static).update(one_line(told))

    @property
    def _slice(self) -> int:
        return slice_for(self.app.size.height)

    @property
    def _list(self) -> ConversationList:
        return self.query_one(ConversationList)
