"""The conversations so far: found as one types, gone on with, renamed, deleted, exported."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.events import Resize
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option
from textual.worker import Worker, WorkerCancelled

from engine.config import paths
from engine.core.errors import BalcaoError
from engine.core.i18n import tr, tr_n
from engine.core.text import one_line
from engine.store.search import ConversationSummary, Highlighted
from tui.screens.dialogs import ChoiceDialog, InputDialog
from tui.textual_patches.widgets import FittingFooter, LineInput

if TYPE_CHECKING:
    from engine.store.conversations import ConversationStore


_NEAR = 10
"""Conversations before the end of what has been fetched, from which on more is."""
_WITH_TIME = 64
"""Columns from which on the hour is told with the day."""


def page_size(height: int) -> int:
    """How many to fetch at a time for a terminal of that many lines: those seen, and some more."""
    return height + _NEAR


class ConversationList(OptionList, can_focus=False):
    """Draws conversations, the hits of a search marked; asks for more before its end is reached."""

    class NearEnd(Message):
        """More of the list is about to be seen."""

    def __init__(self) -> None:
        super().__init__(id="conversation-list", compact=True)
        self.entries: list[ConversationSummary] = []
        self._with_time = False

    def show(self, entries: Sequence[ConversationSummary], *, place: int = 0) -> None:
        """Draw these in place of those before, the one at `place` highlighted."""
        self.clear_options()
        self.entries = []
        self.add(entries)
        if self.entries:
            self.highlighted = max(0, min(place, len(self.entries) - 1))

    def add(self, entries: Sequence[ConversationSummary]) -> None:
        """Draw more at the end."""
        self.entries += entries
        self._with_time = self.size.width >= _WITH_TIME
        self.add_options(Option(_drawn(entry, with_time=self._with_time)) for entry in entries)

    @property
    def chosen(self) -> ConversationSummary | None:
        """The one that is highlighted."""
        place = self.highlighted
        return None if place is None or place >= len(self.entries) else self.entries[place]

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        """Ask for more in time."""
        if event.option_index >= len(self.entries) - _NEAR:
            self.post_message(self.NearEnd())

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """The same for the mouse wheel and the scroll bar."""
        super().watch_scroll_y(old_value, new_value)
        if new_value > old_value and new_value + 2 * self.size.height >= self.virtual_size.height:
            self.post_message(self.NearEnd())

    def on_resize(self, event: Resize) -> None:
        """Draw anew where there is room for the hour now, or none any more."""
        if (event.size.width >= _WITH_TIME) != self._with_time:
            self.show(self.entries[:], place=self.highlighted or 0)


def _drawn(entry: ConversationSummary, *, with_time: bool) -> Content:
    when = datetime.fromtimestamp(entry.updated).astimezone()
    day = when.strftime("%Y-%m-%d %H:%M" if with_time else "%Y-%m-%d")
    title = _marked(entry.title_match) if entry.title_match else Content(one_line(entry.title))
    fork = (tr("fork · "), "dim") if entry.forked else ""
    line = Content.assemble((f"{day} {entry.turns:>4}  ", "dim"), fork, title)
    # The first question is the title, as long as nobody has given another.
    if not entry.snippet or (
        entry.title_match and _text(entry.snippet) == _text(entry.title_match)
    ):
        return line
    return Content.assemble(line, "\n    ", _marked(entry.snippet))


def _text(marked: Highlighted) -> str:
    return one_line("".join(text for text, _ in marked))


def _marked(marked: Highlighted) -> Content:
    """Bold and underlined, so that the mark is seen without colours too."""
    # A blank at the edge of a piece stays, since one_line would take it away.
    return Content.assemble(
        *((one_line(f"|{text}|")[1:-1], "bold underline" if hit else "") for text, hit in marked)
    )


_WORDS = 40
"""Letters of what was typed that are told again."""


class SearchLine(LineInput):
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

    def _fetch(self, text: str, wanted: int) -> list[ConversationSummary]:
        return self._store.search(text, wanted) if text.strip() else self._store.latest(wanted)

    @work(group="look")
    async def _extend(self) -> None:
        entries, text = self.found.entries, self._text
        with self.telling():
            if text.strip():
                latest = await asyncio.to_thread(self._fetch, text, len(entries) + self._slice)
                more = latest[len(entries) :]
            else:
                more = await asyncio.to_thread(self._store.latest, self._slice, entries[-1])
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
                total=total,
            )
        if not shown:
            return tr("Nothing has “{text}”.", text=one_line(text, _WORDS))
        return (
            tr("the latest {shown} that have it", shown=shown)
            if self._more
            else tr("{shown} of {total:,} have it", shown=shown, total=total)
        )

    @property
    def _slice(self) -> int:
        return page_size(self.app.size.height)


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
            InputDialog(tr("Rename the conversation to"), one_line(entry.title))
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
                tr("Deleted “{title}”. Ctrl+Z brings it back, until you quit.", title=title)
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
                tr("“{title}” is back.", title=title) if title else tr("It is back.")
            )

    @work
    async def action_export(self) -> None:
        """Ask what, and write it to a new file."""
        from engine.chat import export as history

        entry = self._search.found.chosen
        if entry is None:
            return
        kind = await self.app.push_screen_wait(ChoiceDialog(tr("Export"), _EXPORTS))
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
                self._search.tell(tr("Written to {value}", value=await asyncio.to_thread(write)))

    @work
    async def action_import(self) -> None:
        """Ask for a file that was exported as JSON, and add what is in it."""
        from engine.chat import export as history

        name = await self.app.push_screen_wait(
            InputDialog(
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
