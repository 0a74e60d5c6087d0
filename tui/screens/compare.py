"""F3: one question, every engine that is ready, side by side, and the record beside them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, VerticalScroll
from textual.events import Resize
from textual.screen import Screen
from textual.widgets import Static
from textual.worker import Worker

from engine.chat.wording import title_of
from engine.config import paths
from engine.core.errors import why
from engine.core.events import Found
from engine.core.i18n import tr
from engine.core.text import one_line, printable
from engine.core.types import Availability, Decision, Mode
from tui.textual_patches.widgets import FittingFooter
from tui.widgets.drawing import draw
from tui.widgets.turns import AnswerView, toggle_marks

if TYPE_CHECKING:
    from engine.chat.answer import Assistant
    from engine.core.types import Conversation

_SIDE_BY_SIDE = 38
"""Columns that an answer needs to stand beside another."""


class CompareScreen(Screen[None]):
    """The record and the answers; the comparison becomes the conversation's next turn."""

    CSS_PATH = "../pages.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "escape,f3", "leave", tr("Stop, then close"), key_display="esc", id="compare_close"
        ),
        Binding("e", "export", tr("Export as Markdown"), id="compare_export"),
        Binding("f6", "marks", tr("Mark the record's words"), id="compare_marks"),
        Binding("pageup", "scroll('page_up')", show=False, priority=True, id="compare_scroll_up"),
        Binding(
            "pagedown", "scroll('page_down')", show=False, priority=True, id="compare_scroll_down"
        ),
    ]

    def __init__(
        self,
        assistant: Assistant,
        conversation: Conversation,
        question: str,
        mode: Mode,
        titles: dict[str, str],
    ) -> None:
        super().__init__()
        self._assistant = assistant
        self._conversation = conversation
        self._question = question
        self._mode = mode
        self._titles = titles
        self._views: dict[str, AnswerView] = {}
        self._asking: Worker[None] | None = None

    def compose(self) -> ComposeResult:
        """The question, the record, room for the answers, and who cannot answer."""
        yield Static(f"❯ {printable(self._question)}", markup=False, classes="question")
        with VerticalScroll(id="compared"):
            with VerticalScroll(id="compare-record", classes="contestant"):
                yield Static(tr("The catalogue's record"), classes="heading")
                yield Static(tr("looking it up…"), id="compare-text", markup=False)
            yield Container(id="contestants")
        yield Static(id="compare-told", markup=False)
        yield FittingFooter()

    def on_mount(self) -> None:
        """Begin."""
        self._asking = self.run_worker(self._ask_all())

    def on_resize(self, event: Resize) -> None:
        """Side by side where there is room, else one below the other."""
        self._arrange(event.size.width)

    async def _ask_all(self) -> None:
        ready, others = await asyncio.to_thread(self._who_can_answer)
        self._views = {name: AnswerView(self._titles[name], source=False) for name in ready}
        await self.query_one("#contestants").mount_all(
            VerticalScroll(
                Static(self._titles[name], markup=False, classes="heading"),
                view,
                classes="contestant",
            )
            for name, view in self._views.items()
        )
        self._arrange(self.size.width)
        self._tell(" ".join(f"{self._titles[name]}: {why.reason}" for name, why in others))
        await self._draw([(name, self._mode) for name in ready])

    async def _draw(self, contestants: Sequence[tuple[str, Mode]]) -> None:
        from engine.chat.compare import compare

        views = list(self._views.values())
        events = compare(self._assistant, self._question, contestants, self._conversation)
        try:
            async with aclosing(events):
                async for place, event in events:
                    if isinstance(event, Found):
                        self._draw_record(event.decision)
                    await draw(event, views[place])
        finally:
            await self._draw_cancelled()

    async def _draw_cancelled(self) -> None:
        turn = self._conversation.turns[-1] if self._conversation.turns else None
        answers = {answer.engine: answer for answer in turn.answers} if turn else {}
        for name, view in self._views.items():
            if name in answers and not view.is_finished:
                await view.finish(answers[name])

    def _who_can_answer(self) -> tuple[list[str], list[tuple[str, Availability]]]:
        registry = self._assistant.registry
        found = [(name, registry.get(name).availability()) for name in registry.ids]
        ready = [name for name, availability in found if availability.ready]
        return ready, [(name, why) for name, why in found if not why.ready]

    def _draw_record(self, decision: Decision) -> None:
        product = decision.product
        title = tr("The catalogue's record")
        text = tr("There is none for this question.")
        if product:
            title = title_of(product)
            text = printable(product.description) or tr("(no description)")
        self.query_one("#compare-record .heading", Static).update(one_line(title))
        self.query_one("#compare-text", Static).update(text)

    def _arrange(self, width: int) -> None:
        columns = len(self._views) + 1
        self.query_one("#compared").set_class(width >= columns * _SIDE_BY_SIDE, "beside")

    def _tell(self, state: str) -> None:
        self.query_one("#compare-told", Static).update(one_line(state))

    @property
    def _busy(self) -> bool:
        return self._asking is not None and not self._asking.is_finished

    def action_leave(self) -> None:
        """The first time stop those that still speak, then close."""
        if self._busy and self._asking:
            self._asking.cancel()
        else:
            self.dismiss()

    def action_marks(self) -> None:
        """Mark which words of the answers are the record's, or no longer."""
        self._tell(toggle_marks(self.query_one("#contestants")))

    def action_scroll(self, how: str) -> None:
        """Move all of it."""
        getattr(self.query_one("#compared"), f"scroll_{how}")(animate=False)

    async def action_export(self) -> None:
        """Write the comparison as Markdown, and say where."""
        if self._busy or not self._conversation.turns:
            self._tell(tr("There is something to export once every engine has answered."))
            return
        from engine.chat.export import turn_as_markdown

        stamp = datetime.now().astimezone().strftime("%Y-%m-%d-%H%M%S")
        file = paths.exports_dir() / f"compare-{stamp}.md"
        page = turn_as_markdown(self._conversation.turns[-1], self._titles)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            await asyncio.to_thread(file.write_text, page, encoding="utf-8")
        except OSError as error:
            self._tell(
                tr(
                    "The comparison cannot be written to {file}: {error}.",
                    file=file,
                    error=why(error),
                )
            )
        else:
            self._tell(tr("Written to {file}", file=file))
