"""F3: the answers of all ready engines to one question, below a scoreboard."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import aclosing
from datetime import datetime
from typing import ClassVar

from rich.cells import cell_len, set_cell_size
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, VerticalScroll
from textual.content import Content
from textual.events import Resize
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Static
from textual.worker import Worker

from engine.chat.session import Session
from engine.chat.wording import drawn_share, title_of, verdict
from engine.config import paths
from engine.core.errors import why
from engine.core.files import write_atomic
from engine.core.i18n import tr, tr_n
from engine.core.text import one_line, printable
from engine.core.types import Answer, Availability, Decision, Found, Mode, Product, StopReason, Turn
from engine.fidelity.quotes import slips
from tui.attention import calling_back
from tui.textual_patches.widgets import FittingFooter, ReportingPage
from tui.widgets.markdown_view import MarkdownView
from tui.widgets.turns import (
    MARKING,
    SIGN_STYLES,
    AnswerView,
    draw,
    share_bar,
    toggle_folded,
    toggle_marks,
)

_MIN_COLUMN, _MIN_WIDTH = 22, 100
"""Columns that a side-by-side answer needs, and those of all."""
_MAX_SLIPS = 9
"""Slips that are counted; an answer with more is another text."""


class CompareScreen(ReportingPage, Screen[None]):
    """The answers, which become the next turn, or other answers of a turn that was there."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "escape,f3", "leave", tr("Stop, then close"), key_display="esc", id="compare_close"
        ),
        Binding("n", "next_slip", tr("Next slip"), id="compare_next_slip"),
        Binding("f6,m", "marks", tr("Marks"), id="compare_marks"),
        Binding("ctrl+l", "thinking", tr("Thinking"), id="compare_thinking"),
        Binding("f12,ctrl+s,e", "export", tr("Export"), key_display="e", id="compare_export"),
        Binding("pageup", "scroll('page_up')", show=False, priority=True, id="compare_scroll_up"),
        Binding(
            "pagedown", "scroll('page_down')", show=False, priority=True, id="compare_scroll_down"
        ),
    ]

    leave_action = "leave"

    def __init__(self, session: Session, question: str, turn: Turn | None = None) -> None:
        """Compare on a question, or on that of a turn, whose answers are not asked for again."""
        super().__init__()
        self._session = session
        self._titles = session.titles
        self._question = turn.question if turn else question
        self._old = turn
        self._views: dict[str, AnswerView] = {}
        self._asking: Worker[None] | None = None
        self._turn: Turn | None = None
        """Set once all engines have answered or were stopped."""
        self._slip = -1
        """Which slip was shown last."""

    def compose(self) -> ComposeResult:
        yield Static(_heading(self._question, self._session.mode), markup=False, classes="question")
        yield Static(id="scoreboard", markup=False)
        with VerticalScroll(id="compare-body"):
            with VerticalScroll(id="compare-record", classes="compare-column"):
                yield Static(tr("The catalogue's record"), classes="heading")
                yield Static(tr("looking it up…"), id="compare-text", markup=False)
            yield Container(id="compare-answers", classes=MARKING)
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
        self.report(toggle_marks(self.query_one("#compare-answers")))

    def action_thinking(self) -> None:
        toggle_folded(self.query_one("#compare-answers"))

    def action_scroll(self, how: str) -> None:
        getattr(self.query_one("#compare-body"), f"scroll_{how}")(animate=False)

    def action_next_slip(self) -> None:
        """Scroll to the next line with words that are not the record's."""
        found = [
            (engine_id, view, line)
            for engine_id, answer in self._views.items()
            for view in answer.query(MarkdownView)
            for line in view.slip_lines()
        ]
        if not found:
            self.report(tr("There are no marked slips."))
            return
        self._slip = (self._slip + 1) % len(found)
        engine_id, view, line = found[self._slip]
        pane = self._pane_of(view)
        above = view.region.y + line - pane.region.y
        pane.scroll_relative(y=above - pane.size.height // 2, animate=False)
        place, count = self._slip + 1, len(found)
        title = self._titles[engine_id]
        self.report(
            tr(
                "Line with a slip {place} of {count} · {title}",
                place=place,
                count=count,
                title=title,
            )
        )

    def _pane_of(self, view: Widget) -> VerticalScroll:
        """Return what scrolls a view: its column, or the page if they are stacked."""
        body = self.query_one("#compare-body", VerticalScroll)
        if not body.has_class("side-by-side"):
            return body
        return next(one for one in view.ancestors if isinstance(one, VerticalScroll))

    async def _ask_all(self) -> None:
        availability = await (await self._session.ready()).availability()
        ready = [engine_id for engine_id, found in availability.items() if found.ready]
        known = self._known_answers()
        self._views = {
            each: AnswerView(self._titles[each], known.get(each), source=False) for each in ready
        }
        await self.query_one("#compare-answers").mount_all(
            VerticalScroll(
                Static(self._titles[engine_id], markup=False, classes="heading"),
                view,
                classes="compare-column",
            )
            for engine_id, view in self._views.items()
        )
        registry = (await self._session.ready()).registry
        quoted = any(registry.get(each).verbatim for each in ready)
        self.query_one("#compare-record").display = not quoted
        self._arrange(self.size.width)
        self._show_scores()
        for answer in known.values():
            self._show_product(answer.product)
        self.report(_not_ready(availability, self._titles))
        await self._draw([each for each in ready if each not in known])

    def _known_answers(self) -> Mapping[str, Answer]:
        """Return the complete answers that the turn has from engines, in the mode chosen."""
        answers = self._old.answers if self._old else []
        return {
            answer.engine: answer
            for answer in answers
            if answer.stop_reason is StopReason.COMPLETE and self._is_of_mode(answer)
        }

    def _is_of_mode(self, answer: Answer) -> bool:
        mode = self._session.mode
        # Only a follow-up question is answered with quotes in that mode.
        alike = {mode, Mode.GROUNDED} if mode is Mode.QUOTE else {mode}
        return answer.mode in alike or (answer.verbatim and answer.mode is not Mode.QUOTE)

    async def _draw(self, asked: list[str]) -> None:
        turns = self._session.conversation.turns
        before = len(turns)
        events = self._session.compare(self._question, asked, self._old)
        try:
            with calling_back(self.app, tr("All engines have answered."), self._session.settings):
                async with aclosing(events):
                    async for index, event in events:
                        if isinstance(event, Found):
                            self._draw_record(event.decision)
                        await draw(event, self._views[asked[index]])
                        self._show_scores()
        finally:
            self._turn = self._old or (turns[-1] if len(turns) > before else None)
            for answer in self._turn.answers if self._turn else ():
                view = self._views.get(answer.engine)
                if view and not view.is_finished:
                    await view.finish(answer)
            self._show_scores()

    def _show_scores(self) -> None:
        if self.is_attached:
            lines = _score_lines(self._views, self._titles)
            self.query_one("#scoreboard", Static).update(Content("\n").join(lines))

    def _show_product(self, product: Product | None) -> None:
        """Show what a question like “1” or “who wrote it?” is about."""
        if product and product.title.casefold() != self._question.strip().casefold():
            self.query_one(".question", Static).update(
                _heading(self._question, self._session.mode, product.title)
            )

    def _draw_record(self, decision: Decision) -> None:
        self._show_product(decision.product)
        title, text = tr("The catalogue's record"), tr("No record for this question.")
        if product := decision.product:
            title = title_of(product)
            text = printable(product.description) or tr("(no description)")
        self.query_one("#compare-record .heading", Static).update(one_line(title))
        self.query_one("#compare-text", Static).update(text)

    def _arrange(self, width: int) -> None:
        columns = len(self._views) + self.query_one("#compare-record").display
        fits = width >= max(columns * _MIN_COLUMN, _MIN_WIDTH)
        self.query_one("#compare-body").set_class(fits, "side-by-side")

    def report(self, sentence: str) -> None:
        self.query_one("#compare-status", Static).update(one_line(sentence))

    async def action_export(self) -> None:
        if self._turn is None:
            self.report(tr("Export once every engine has answered."))
            return
        from engine.chat.export import turn_as_markdown

        stamp = datetime.now().astimezone().strftime("%Y-%m-%d-%H%M%S")
        file = paths.exports_dir() / f"compare-{stamp}.md"
        page = turn_as_markdown(self._turn, self._titles)
        try:
            await asyncio.to_thread(write_atomic, file, page.encode(), private=True)
        except OSError as error:
            reason = why(error)
            self.report(
                tr("Cannot write the comparison to {file}: {error}.", file=file, error=reason)
            )
        else:
            self.report(tr("Written to {file}", file=file))


def _heading(question: str, mode: Mode, title: str = "") -> Content:
    memory = tr("from memory") if mode is Mode.MEMORY else ""
    about = " · ".join(filter(None, (one_line(title), memory)))
    return Content.assemble(f"❯ {printable(question)}", (f"   {about}" if about else "", "dim"))


def _not_ready(availability: Mapping[str, Availability], titles: Mapping[str, str]) -> str:
    missing = [titles[each] for each, found in availability.items() if not found.ready]
    return tr("Not set up: {engines} (F9 shows how)", engines=", ".join(missing)) if missing else ""


def _score_lines(views: Mapping[str, AnswerView], titles: Mapping[str, str]) -> Iterator[Content]:
    width = max((cell_len(titles[each]) for each in views), default=0)
    for engine_id, view in views.items():
        title = (set_cell_size(titles[engine_id], width), "bold")
        yield Content.assemble(title, "  ", *_score(view.answer))


def _score(answer: Answer | None) -> Iterator[tuple[str, str] | str]:
    """Draw how much of an answer is the record's, and the number of slips if there are few."""
    if answer is None:
        yield ("…", "dim")
        return
    sign, words = verdict(answer)
    style = SIGN_STYLES[sign]
    if answer.product and answer.fidelity is not None:
        yield (f"{share_bar(drawn_share(answer)):10}  ", style)
        count = len(slips(answer.text, answer.product.description))
        if sign == "≈" and 0 < count <= _MAX_SLIPS:
            words = tr_n("{count} slip", "{count} slips", count, count=count) + f" · {words}"
    yield (f"{sign} " if sign else "", style)
    yield one_line(words)
