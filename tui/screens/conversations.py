"""The conversations so far: found as one types, gone on with, renamed, deleted, exported."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen
from textual.widgets import OptionList

from engine.config import paths
from engine.core.i18n import tr
from engine.core.text import one_line
from tui.screens.conversation_search_part import ConversationSearch
from tui.screens.dialogs import ChoiceScreen, LineScreen
from tui.textual_patches.widgets import FittingFooter

if TYPE_CHECKING:
    from engine.store.conversations import ConversationStore

_TITLE = 40
_EXPORTS = {
    "md": tr("this conversation, as Markdown to read"),
    "json": tr("this conversation, as JSON to import again"),
    "all": tr("every conversation, as JSON to import again"),
}


class ConversationsScreen(ModalScreen[int | None]):
    """Ends with the id of the conversation to go on with, or None."""

    CSS_PATH = "../pages.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f2", "rename", tr("Rename"), id="history_rename"),
        Binding("f8", "delete", tr("Delete"), id="history_delete"),
        Binding("ctrl+z", "undelete", tr("Undo"), id="history_undelete"),
        Binding("escape,ctrl+o", "dismiss", tr("Close"), key_display="esc", id="history_close"),
        Binding("f5", "export", tr("Export"), id="history_export"),
        Binding("f7", "import", tr("Import"), id="history_import"),
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
        self._search = ConversationSearch(store)
        self._deleted: dict[int, str] = {}

    def compose(self) -> ComposeResult:
        """What is found, and the keys."""
        yield self._search
        yield FittingFooter()

    def on_input_submitted(self) -> None:
        """Enter in what to look for."""
        self.action_open()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Clicked."""
        event.stop()
        self.action_open()

    @work
    async def action_open(self) -> None:
        """Go on with the highlighted one, of what was typed last."""
        await self._search.settled()
        entry = self._search.found.chosen
        if entry:
            self.dismiss(entry.id)

    @work
    async def action_rename(self) -> None:
        """Ask for another title."""
        entry = self._search.found.chosen
        if entry is None:
            return
        title = await self.app.push_screen_wait(
            LineScreen(tr("Rename the conversation to"), one_line(entry.title))
        )
        if title:
            with self._search.telling():
                await asyncio.to_thread(self._store.rename, entry.id, title)
                await self._search.refresh_list(tr("Renamed."))

    @work
    async def action_delete(self) -> None:
        """Take the highlighted one away."""
        entry = self._search.found.chosen
        if entry is None:
            return
        with self._search.telling():
            await asyncio.to_thread(self._store.delete, entry.id)
            self._deleted[entry.id] = one_line(entry.title, _TITLE)
            self.refresh_bindings()
            title = self._deleted[entry.id]
            await self._search.refresh_list(
                tr("Deleted “{title}”. Ctrl+Z brings it back, until you quit.").format(title=title)
            )

    @work
    async def action_undelete(self) -> None:
        """Bring back what was deleted last."""
        with self._search.telling():
            number = await asyncio.to_thread(self._store.undelete)
            if number is None:
                await self._search.refresh_list(tr("There is nothing more to bring back."))
                return
            title = self._deleted.pop(number, "")
            self.refresh_bindings()
            await self._search.refresh_list(
                tr("“{title}” is back.").format(title=title) if title else tr("It is back.")
            )

    @work
    async def action_export(self) -> None:
        """Ask what, and write it to a new file."""
        from engine.chat import history_part as history

        entry = self._search.found.chosen
        if entry is None:
            return
        kind = await self.app.push_screen_wait(ChoiceScreen(tr("Export"), _EXPORTS))
        folder = paths.exports_dir()

        def write() -> Path:
            if kind == "all":
                return history.write_all(self._store, folder)
            return history.write_conversation(
                self._store, entry.id, self._titles, folder, kind or ""
            )

        if kind:
            self._search.tell(tr("Writing…"))
            with self._search.telling():
                self._search.tell(
                    tr("Written to {value}").format(value=await asyncio.to_thread(write))
                )

    @work
    async def action_import(self) -> None:
        """Ask for a file that was exported as JSON, and add what is in it."""
        from engine.chat import history_part as history

        name = await self.app.push_screen_wait(
            LineScreen(
                tr("Import conversations from"), example=tr("a .json file that was exported")
            )
        )
        if name is None:
            return
        self._search.tell(tr("Importing…"))
        with self._search.telling():
            added = await asyncio.to_thread(history.read, self._store, name)
            await self._search.refresh_list(history.told(added))

    def action_move(self, how: str) -> None:
        """Move the highlight without leaving what is typed."""
        getattr(self._search.found, f"action_{how}")()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:  # noqa: ARG002 - Textual's signature
        """Undo is there once something was deleted."""
        return action != "undelete" or bool(self._store.deleted)
