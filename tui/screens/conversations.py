"""The history page: search conversations, open, rename, delete, export and import them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import date, datetime
from functools import partial
from typing import ClassVar

from textual import on, work
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
from engine.core.dates import DAY_WIDTH, WIDTH, spoken_date
from engine.core.i18n import tr, tr_n
from engine.core.text import one_line
from engine.store.conversations import ConversationStore
from engine.store.search import ConversationSummary, Highlighted
from tui.commands.table import reporting
from tui.screens.dialogs import ChoiceDialog, InputDialog
from tui.textual_patches.widgets import FittingFooter, LineInput, Page

_MARGIN = 10
"""Conversations fetched beyond the visible ones."""
_MIN_WIDTH_FOR_TIME = 64
"""Columns from which on the time is shown with the date."""
_MAX_SHOWN = 40
"""Characters of a search text or a title that a message repeats."""
_EXPORTS = {
    "md": tr("this conversation, as Markdown"),
    "json": tr("this conversation, as JSON (can be re-imported)"),
    "all": tr("all conversations, as JSON (can be re-imported)"),
}


def page_size(height: int) -> int:
    """Return how many conversations to fetch at a time for a terminal of that many lines."""
    return height + _MARGIN


class ConversationList(OptionList, can_focus=False):
    """Conversations with highlighted matches; it asks for more before its end is visible."""

    class NearEnd(Message):
        """The end of the list is almost visible."""

    def __init__(self) -> None:
        super().__init__(id="conversation-list", compact=True)
        self.entries: list[ConversationSummary] = []
        self._with_time = False

    def show(self, entries: Sequence[ConversationSummary], *, highlighted: int = 0) -> None:
        self.clear_options()
        self.entries = []
        self.extend(entries)
        if self.entries:
            self.highlighted = max(0, min(highlighted, len(self.entries) - 1))

    def extend(self, entries: Sequence[ConversationSummary]) -> None:
        self.entries += entries
        self._with_time = self.size.width >= _MIN_WIDTH_FOR_TIME
        self.add_options(Option(_entry(entry, with_time=self._with_time)) for entry in entries)

    @property
    def selected(self) -> ConversationSummary | None:
        index = self.highlighted
        return None if index is None or index >= len(self.entries) else self.entries[index]

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        if event.option_index >= len(self.entries) - _MARGIN:
            self.post_message(self.NearEnd())

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        if new_value > old_value and new_value + 2 * self.size.height >= self.virtual_size.height:
            self.post_message(self.NearEnd())

    def on_resize(self, event: Resize) -> None:
        if (event.size.width >= _MIN_WIDTH_FOR_TIME) != self._with_time:
            self.show(self.entries[:], highlighted=self.highlighted or 0)


def today() -> date:
    """Return the date here; tests set it."""
    return datetime.now().astimezone().date()


def _entry(entry: ConversationSummary, *, with_time: bool) -> Content:
    day = spoken_date(entry.when, today(), with_time=with_time)
    day = day.ljust(WIDTH if with_time else DAY_WIDTH)
    title = _highlight(entry.title_match) if entry.title_match else Content(one_line(entry.title))
    fork = (tr("fork · "), "dim") if entry.forked else ""
    line = Content.assemble((f"{day} {entry.turns:>4}  ", "dim"), fork, title)
    # By default the title is the first question, which needs no line below it.
    is_title = entry.title_match and _text(entry.snippet) == _text(entry.title_match)
    if not entry.snippet or is_title:
        return line
    return Content.assemble(line, "\n    ", _highlight(entry.snippet))


def _text(match: Highlighted) -> str:
    return one_line("".join(text for text, _ in match))


def _highlight(match: Highlighted) -> Content:
    """Highlight with bold and underline, for terminals without colours."""
    # The bars protect blanks at the edges from one_line.
    return Content.assemble(
        *((one_line(f"|{text}|")[1:-1], "bold underline" if hit else "") for text, hit in match)
    )


class SearchInput(LineInput, inherit_bindings=False):
    """The search text; its footer entry for Enter opens the highlighted conversation."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "submit", tr("Open"), id="history_submit")
    ]
    # Ctrl+X deletes a conversation.
    key_actions: ClassVar = {
        key: action for key, action in LineInput.key_actions.items() if action != "cut"
    }


class ConversationSearch(Vertical):
    """A search input, a status line and the conversations found."""

    def __init__(self, store: ConversationStore) -> None:
        super().__init__(id="conversations")
        self.results = ConversationList()
        self._store = store
        self._searching: Worker[None] | None = None
        self._text = ""
        self._has_more = False

    def compose(self) -> ComposeResult:
        yield SearchInput(placeholder=tr("Search titles, questions, answers…"), compact=True)
        yield Static(id="conversations-status", markup=False)
        yield self.results

    def on_mount(self) -> None:
        self._search()

    def on_input_changed(self, event: Input.Changed) -> None:
        self._text = event.value
        self._search()

    def on_conversation_list_near_end(self) -> None:
        if self._has_more:
            self._has_more = False
            self._fetch_more()

    async def wait(self) -> None:
        """Wait until the list matches the search text."""
        if self._searching:
            with suppress(WorkerCancelled):
                await self._searching.wait()

    async def reload(self, status: str = "") -> None:
        """Fetch the list again; show `status`, or else the number of matches."""
        text, old = self._text, self.results
        highlighted = old.highlighted or 0 if status else 0
        wanted = max(page_size(self.app.size.height), len(old.entries) if status else 0)
        with reporting(self.show_status):
            entries, total = await asyncio.to_thread(
                lambda: (self._fetch(text, wanted), len(self._store.ids()))
            )
            self._has_more = len(entries) >= wanted
            self.results.show(entries, highlighted=highlighted)
            self.show_status(status or self._count(text, len(entries), total))

    def show_status(self, status: str) -> None:
        self.query_one("#conversations-status", Static).update(one_line(status))

    def _search(self) -> None:
        self._searching = self.run_worker(self.reload, group="search", exclusive=True)

    def _fetch(
        self, text: str, wanted: int, after: Sequence[ConversationSummary] = ()
    ) -> list[ConversationSummary]:
        if text.strip():
            return self._store.search(text, len(after) + wanted)[len(after) :]
        return self._store.latest(wanted, after[-1] if after else None)

    @work(group="search")
    async def _fetch_more(self) -> None:
        entries, text = self.results.entries, self._text
        with reporting(self.show_status):
            wanted = page_size(self.app.size.height)
            more = await asyncio.to_thread(self._fetch, text, wanted, tuple(entries))
            if self.results.entries is entries and text == self._text:
                self._has_more = bool(more)
                self.results.extend(more)

    def _count(self, text: str, shown: int, total: int) -> str:
        if not total:
            return tr("No conversations yet. Ask something first.")
        if not text.strip():
            return tr_n(
                "{total:,} conversation, newest first",
                "{total:,} conversations, newest first",
                total,
                total=total,
            )
        if not shown:
            return tr("No match for “{text}”", text=one_line(text, _MAX_SHOWN))
        if self._has_more:
            return tr("the newest {shown} that match", shown=shown)
        return tr("{shown} of {total:,} match", shown=shown, total=total)


class ConversationsScreen(Page, ModalScreen[int | None]):
    """Returns the id of the conversation to open, or None."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+g", "rename", tr("Rename"), id="history_rename"),
        Binding("ctrl+x", "delete", tr("Delete"), id="history_delete"),
        Binding("ctrl+z", "undelete", tr("Undo"), id="history_undelete"),
        Binding("escape,ctrl+o", "dismiss", tr("Close"), key_display="esc", id="history_close"),
        Binding("f12,ctrl+s", "export", tr("Export"), id="history_export"),
        Binding("f7", "import", tr("Import"), id="history_import"),
        Binding("down", "move('cursor_down')", show=False, id="history_down"),
        Binding("up", "move('cursor_up')", show=False, id="history_up"),
        Binding("pagedown", "move('page_down')", show=False, id="history_page_down"),
        Binding("pageup", "move('page_up')", show=False, id="history_page_up"),
        Binding("ctrl+home", "move('first')", show=False, id="history_first"),
        Binding("ctrl+end", "move('last')", show=False, id="history_last"),
    ]

    def __init__(self, store: ConversationStore, titles: Mapping[str, str]) -> None:
        """`titles` are the engines' by id, for exports."""
        super().__init__()
        self._store = store
        self._titles = titles
        self._search = ConversationSearch(store)
        self._deleted: dict[int, str] = {}

    def compose(self) -> ComposeResult:
        yield self._search
        yield FittingFooter()

    @on(Input.Submitted)
    @on(OptionList.OptionSelected)
    @work
    async def _open(self) -> None:
        await self._search.wait()
        entry = self._search.results.selected
        if entry:
            self.dismiss(entry.id)

    @work
    async def action_rename(self) -> None:
        entry = self._search.results.selected
        if entry is None:
            return
        dialog = InputDialog(tr("Rename the conversation to"), one_line(entry.title))
        title = await self.app.push_screen_wait(dialog)
        if title:
            with reporting(self._search.show_status):
                await asyncio.to_thread(self._store.rename, entry.id, title)
                await self._search.reload(tr("Renamed."))

    @work
    async def action_delete(self) -> None:
        entry = self._search.results.selected
        if entry is None:
            return
        with reporting(self._search.show_status):
            await asyncio.to_thread(self._store.delete, entry.id)
            title = self._deleted[entry.id] = one_line(entry.title, _MAX_SHOWN)
            self.refresh_bindings()
            told = tr("Deleted “{title}”. Ctrl+Z brings it back, until you quit.", title=title)
            await self._search.reload(told)

    @work
    async def action_undelete(self) -> None:
        with reporting(self._search.show_status):
            number = await asyncio.to_thread(self._store.undelete)
            if number is None:
                await self._search.reload(tr("Nothing more to undo."))
                return
            title = self._deleted.pop(number, "")
            self.refresh_bindings()
            told = tr("“{title}” is back.", title=title) if title else tr("It is back.")
            await self._search.reload(told)

    @work
    async def action_export(self) -> None:
        from engine.chat import export

        entry = self._search.results.selected
        if entry is None:
            return
        kind = await self.app.push_screen_wait(ChoiceDialog(tr("Export"), _EXPORTS))
        if kind is None:
            return
        folder = paths.exports_dir()
        write = partial(
            export.write_conversation, self._store, entry.id, self._titles, folder, kind
        )
        if kind == "all":
            write = partial(export.write_all, self._store, folder)
        self._search.show_status(tr("Writing…"))
        with reporting(self._search.show_status):
            file = await asyncio.to_thread(write)
            written = tr("Written to {value}", value=file)
            self._search.show_status(written + export.damage(self._store))

    @work
    async def action_import(self) -> None:
        from engine.chat import export

        heading, example = tr("Import conversations from"), tr("a .json file that was exported")
        name = await self.app.push_screen_wait(InputDialog(heading, example=example))
        if name is None:
            return
        self._search.show_status(tr("Importing…"))
        with reporting(self._search.show_status):
            added = await asyncio.to_thread(export.import_file, self._store, name)
            await self._search.reload(export.import_summary(added))

    def action_move(self, where: str) -> None:
        getattr(self._search.results, f"action_{where}")()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:  # noqa: ARG002 - Textual's signature
        return action != "undelete" or bool(self._store.deleted)
