"""Ctrl+F: a bar with what to find in the conversation, and which of how many hits is shown."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.screen import Screen
from textual.widgets import Input, Static

from engine.chat.session import Session
from engine.core.i18n import tr
from tui.textual_patches.widgets import LineInput
from tui.widgets.conversation import ConversationView
from tui.widgets.findable import Finding, hits_in, light, pattern_of, views

_RECOUNT = 1.0
"""Seconds between two counts."""


class FindInput(LineInput, inherit_bindings=False):
    """The text to find."""


class FindBar(Horizontal):
    """A line above the composer: what to find, and which of how many hits is shown."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down", "step(1)", tr("Next"), id="find_next"),
        Binding("up", "step(-1)", tr("Previous"), id="find_previous"),
        Binding("escape", "close", tr("Close"), id="find_close"),
    ]
    COMPONENT_CLASSES: ClassVar[set[str]] = {"find--hit", "find--current"}

    def __init__(self, session: Session, pane: ConversationView, text: str = "") -> None:
        super().__init__(id="find")
        self._session, self._pane, self._text = session, pane, text
        self._finding: Finding | None = None
        self._hits: list[tuple[int, int]] = []
        self._place = -1

    def compose(self) -> ComposeResult:
        yield Static(tr("Find"), id="find-label")
        placeholder = tr("in this conversation…")
        yield FindInput(self._text, placeholder, select_on_focus=False, compact=True)
        yield Static(id="find-count", markup=False)

    def on_mount(self) -> None:
        self.query_one(FindInput).focus()
        self.set_interval(_RECOUNT, self._recount)

    def on_input_changed(self, event: Input.Changed) -> None:
        """Find from the end on: there the latest answers are."""
        event.stop()
        pattern = pattern_of(event.value)
        style = partial(self.get_component_rich_style, partial=True)
        found = Finding(pattern, style("find--hit"), style("find--current")) if pattern else None
        self._pane.finding = self._finding = found
        self._hits = hits_in(self._session.conversation, pattern) if pattern else []
        self._place = len(self._hits) - 1
        self._light()

    def _recount(self) -> None:
        """Count again, as an answer may have arrived; the place stays."""
        found = hits_in(self._session.conversation, self._finding.pattern) if self._finding else []
        if len(found) != len(self._hits):
            self._hits, self._place = found, max(0, min(self._place, len(found) - 1))
            self._show_count()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.action_step(1)

    def action_step(self, step: int) -> None:
        """Go to the next (1) or previous (-1) hit; after the last comes the first."""
        self._recount()
        if self._hits:
            self._place = (self._place + step) % len(self._hits)
        self._light()

    async def action_close(self) -> None:
        """Remove the bar and the lights; the place in the conversation stays."""
        self._pane.finding = None
        light(self._pane, None)
        self.screen.query_one("#composer").focus()
        await self.remove()

    @work(exclusive=True)
    async def _light(self) -> None:
        self._show_count()
        if self._finding and self._hits:
            await self._show(self._finding, *self._hits[self._place])

    def _show_count(self) -> None:
        count = len(self._hits)
        shown = tr("{place} of {count}", place=self._place + 1, count=count)
        label = shown if count else tr("nothing found") if self._finding else ""
        self.query_one("#find-count", Static).update(label)
        light(self._pane, self._finding)

    async def _show(self, finding: Finding, index: int, number: int) -> None:
        """Scroll to a hit of a turn, which is mounted first if it is far away."""
        turn = await self._pane.view_of(index)
        await self.screen.wait_for_refresh()
        for view in views(turn):
            lines = view.hit_lines(finding.pattern)
            if number < len(lines):
                before = finding.current
                finding.current = view, number
                for changed in {view, *(before[:1] if before else ())}:
                    changed.refresh()
                self._pane.show_line(view, lines[number])
                return
            number -= len(lines)
        await self._pane.go_to(index)


async def show_find_bar(
    screen: Screen[None], session: Session, pane: ConversationView, text: str
) -> None:
    """Open the bar; where it is open, find another text or go to the next hit."""
    for bar in screen.query(FindBar):
        bar.query_one(FindInput).focus()
        if text:
            bar.query_one(FindInput).value = text
        else:
            bar.action_step(1)
        return
    await screen.mount(FindBar(session, pane, text), before="#composer-panel")
