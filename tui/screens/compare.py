"""F3: the answers of all ready engines to one question, side by side with the record."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from datetime import datetime
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, VerticalScroll
from textual.events import Resize
from textual.screen import Screen
from textual.widgets import Static
from textual.worker import Worker

from engine.chat.session import Session
from engine.chat.wording import title_of
from engine.config import paths
from engine.core.errors import why
from engine.core.files import write_atomic
from engine.core.i18n import tr
from engine.core.text import one_line, printable
from engine.core.types import Decision, Found, Turn
from tui.textual_patches.widgets import FittingFooter, Page
from tui.widgets.turns import AnswerView, draw, toggle_folded, toggle_marks

_MIN_COLUMN = 38
"""Columns that a side-by-side answer needs."""


class CompareScreen(Page, Screen[None]):
    """A record and its answers, which become the next turn of the conversation."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "escape,f3", "leave", tr("Stop, then close"), key_display="esc", id="compare_close"
        ),
        Binding("e", "export", tr("Export as Markdown"), id="compare_export"),
        Binding("f6", "marks", tr("Mark the record's words"), id="compare_marks"),
        Binding("ctrl+l", "thinking", tr("Thinking"), id="compare_thinking"),
        Binding("pageup", "scroll('page_up')", show=False, priority=True, id="compare_scroll_up"),
        Binding(
            "pagedown", "scroll('page_down')", show=False, priority=True, id="compare_scroll_down"
        ),
    ]

    def __init__(self, session: Session, question: str) -> None:
        super().__init__()
        self._session = session
        self._titles = session.titles
        self._question = question
        self._views: dict[str, AnswerView] = {}
        self._asking: Worker[None] | None = None
        self._turn: Turn | None = None
        """Set once all engines have answered or were stopped."""

    def compose(self) -> ComposeResult:
        yield Static(f"❯ {printable(self._question)}", markup=False, classes="question")
        with VerticalScroll(id="compare-body"):
            with VerticalScroll(id="compare-record", classes="compare-column"):
                yield Static(tr("The catalogue's record"), classes="heading")
                yield Static(tr("looking it up…"), id="compare-text", markup=False)
            yield Container(id="compare-answers")
        yield Static(id="compare-status", markup=False)
        yield FittingFooter()

    def on_mount(self) -> None:
        self._asking = self.run_worker(self._ask_all)

    def on_resize(self, event: Resize) -> None:
        self._arrange(event.size.width)

    def action_leave(self) -> None:
        """Stop the answers, or close when none is streaming."""
        if self._asking and not self._asking.is_finished:
            self._asking.cancel()
        else:
            self.dismiss()

    def action_marks(self) -> None:
        self._show_status(toggle_marks(self.query_one("#compare-answers")))

    def action_thinking(self) -> None:
        toggle_folded(self.query_one("#compare-answers"))

    def action_scroll(self, how: str) -> None:
        getattr(self.query_one("#compare-body"), f"scroll_{how}")(animate=False)

    async def _ask_all(self) -> None:
        availability = await (await self._session.ready()).availability()
        ready = [engine_id for engine_id, found in availability.items() if found.ready]
        self._views = {each: AnswerView(self._titles[each], source=False) for each in ready}
        await self.query_one("#compare-answers").mount_all(
            VerticalScroll(
                Static(self._titles[engine_id], markup=False, classes="heading"),
                view,
                classes="compare-column",
            )
            for engine_id, view in self._views.items()
        )
        self._arrange(self.size.width)
        self._show_status(
            " ".join(
                f"{self._titles[engine_id]}: {found.reason}"
                for engine_id, found in availability.items()
                if not found.ready
            )
        )
        await self._draw()

    async def _draw(self) -> None:
        views = list(self._views.values())
        turns = self._session.conversation.turns
        before = len(turns)
        events = self._session.compare(self._question, list(self._views))
        try:
            async with aclosing(events):
                async for index, event in events:
                    if isinstance(event, Found):
                        self._draw_record(event.decision)
                    await draw(event, views[index])
        finally:
            if len(turns) > before:
                self._turn = turns[-1]
                for answer in self._turn.answers:
                    view = self._views[answer.engine]
                    if not view.is_finished:
                        await view.finish(answer)

    def _draw_record(self, decision: Decision) -> None:
        title, text = tr("The catalogue's record"), tr("There is none for this question.")
        if product := decision.product:
            title = title_of(product)
            text = printable(product.description) or tr("(no description)")
        self.query_one("#compare-record .heading", Static).update(one_line(title))
        self.query_one("#compare-text", Static).update(text)

    def _arrange(self, width: int) -> None:
        columns = len(self._views) + 1
        self.query_one("#compare-body").set_class(width >= columns * _MIN_COLUMN, "side-by-side")

    def _show_status(self, status: str) -> None:
        self.query_one("#compare-status", Static).update(one_line(status))

    async def action_export(self) -> None:
        if self._turn is None:
            self._show_status(tr("There is something to export once every engine has answered."))
            return
        from engine.chat.export import turn_as_markdown

        stamp = datetime.now().astimezone().strftime("%Y-%m-%d-%H%M%S")
        file = paths.exports_dir() / f"compare-{stamp}.md"
        page = turn_as_markdown(self._turn, self._titles)
        try:
            await asyncio.to_thread(write_atomic, file, page.encode(), private=True)
        except OSError as error:
            reason = why(error)
            self._show_status(
                tr("The comparison cannot be written to {file}: {error}.", file=file, error=reason)
            )
        else:
            self._show_status(tr("Written to {file}", file=file))
