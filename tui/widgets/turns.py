"""A turn of the conversation: its question, and its answer while it streams.

Text of a record is drawn as plain text, never as Markdown: an asterisk in a description is an
asterisk. A model's text is drawn as Markdown.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.events import Click
from textual.message import Message
from textual.widget import AwaitMount, Widget
from textual.widgets import Static

from engine.chat.wording import not_taught_sentence, thinking_words, verdict, wrong_product
from engine.core import types
from engine.core.i18n import tr
from engine.core.text import one_line, printable
from tui.attention import calling_back
from tui.textual_patches.widgets import SolidBackground
from tui.widgets.choices import ChoicesView
from tui.widgets.engine_bar import EngineBar
from tui.widgets.findable import Findable
from tui.widgets.markdown_view import MarkdownView, mark_styles

if TYPE_CHECKING:
    from engine.chat.session import Session


Titles = Mapping[str, str]
NO_TITLES: Titles = {}
SELECTED = "selected"
"""CSS class of the parts of the selected turn (turns.tcss)."""
MARKING = "marking"
"""CSS class of an ancestor of answers that are marked."""
FINISHED = "finished"
"""CSS class of complete answers (pages.tcss)."""
_MARKED = tr("Underlined: not in the record. F6 hides the marks.")
_BAR_CELLS = 10
_MAX_TITLE = 200
SIGN_STYLES = {"✓": "$text-success", "≈": "$text-warning", "✗": "$text-error", "": ""}
_MODES = {
    types.Mode.QUOTE: tr("quote"),
    types.Mode.GROUNDED: "",
    types.Mode.MEMORY: tr("from memory"),
}
_LAYOUT_TIME = 0.5
"""Seconds in which a scroll bar may appear and change all heights once more."""
_MAX_LIVE = 4_000
"""Characters of opened thinking that are drawn while more arrives."""
_MAX_QUESTION = 2_000
"""Characters of a question that are drawn: a paste may have a million."""


@dataclass
class RecordRequested(Message):
    """Ask the app to open these records, starting with the first."""

    hits: tuple[types.Hit, ...]


class QuestionView(Findable, Static):
    """The user's question."""

    def __init__(self, question: str) -> None:
        shown = printable(question[:_MAX_QUESTION])
        if len(question) > _MAX_QUESTION:
            shown += tr(" … ({count:,} letters)", count=len(question))
        super().__init__(f"❯ {shown}", markup=False, classes="question")


class PlainTextView(Findable, Static):
    """Text of a record, without markup."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"marks--quoted", "marks--added"}

    def __init__(self, text: str = "") -> None:
        self._text = printable(text)
        self._record: str | None = None
        """What the words are marked by."""
        super().__init__(_in_paragraphs(self._text), markup=False, classes="words")

    def append(self, text: str) -> None:
        self._text += printable(text)
        self.update(_in_paragraphs(self._text))

    def mark(self, record: str | None) -> None:
        """Mark the words that come from `record`; None removes the marks."""
        self._record = record
        if record is None:
            self.update(_in_paragraphs(self._text))
            return
        from tui.markdown.render import mark

        text = Text(_in_paragraphs(self._text))
        mark([text], record, mark_styles(self))
        self.update(text)

    def on_mount(self) -> None:
        self.app.theme_changed_signal.subscribe(self, self._mark_again)

    def _mark_again(self, _theme: object) -> None:
        if self._record is not None:  # the marks have the colours of the theme before
            self.call_after_refresh(self.mark, self._record)


_GLUED = re.compile(r"(?<=[^\W\d_]{3}[.!?])(?=[A-ZÀ-Þ][^\W\d_]* )")
"""Where a record lost the break between two paragraphs."""


def _in_paragraphs(text: str) -> str:
    return _GLUED.sub("\n\n", text)


class SourceCard(Findable, Static, can_focus=True):
    """The title of the product that an answer is about, which opens its record."""

    BINDINGS = [("enter", "open", tr("Open the record"))]  # noqa: RUF012 - Textual's own form

    def __init__(self, hits: tuple[types.Hit, ...]) -> None:
        self._hits = hits
        more = tr(" and {count} more", count=len(hits) - 1) if len(hits) > 1 else ""
        title = one_line(hits[0].product.title, _MAX_TITLE) or tr("(no title)")
        super().__init__(f"{title}{more}", markup=False, classes="card")

    def action_open(self) -> None:
        self.post_message(RecordRequested(self._hits))

    def on_click(self) -> None:
        self.action_open()


class FoldedView(Static):
    """A line, below which a key or a click on it opens a text."""

    def __init__(self) -> None:
        super().__init__(markup=False, classes="folded")
        self._text = ""
        self._ended = self._is_open = self._is_toggled = False

    @property
    def title(self) -> str:
        raise NotImplementedError

    def append(self, text: str, *, ended: bool = False) -> None:
        self._text, self._ended = self._text + text, ended
        self._draw()

    def toggle(self) -> None:
        self._is_open, self._is_toggled = not self._is_open, self._ended
        self._draw()
        if self._is_toggled:
            self.set_timer(_LAYOUT_TIME, partial(setattr, self, "_is_toggled", False))

    def on_click(self, event: Click) -> None:
        if event.y == 0:
            self.toggle()

    def on_resize(self) -> None:
        """Show the whole answer; if that is taller than the screen, this text from its start."""
        if not self._is_toggled:
            return
        answer = self.parent if isinstance(self.parent, Widget) else self
        panes = [pane for pane in self.ancestors if isinstance(pane, VerticalScroll)]
        is_tall = answer.region.height > min(pane.size.height for pane in panes)
        (self if is_tall else answer).scroll_visible(
            animate=False, top=is_tall, force=True, immediate=True
        )

    def _draw(self) -> None:
        # Laying out all of it again for each word would take longer than the word.
        text = self._text if self._ended else self._text[-_MAX_LIVE:]
        lines = f"▾ {self.title}\n{printable(text).strip()}"
        self.update(lines if self._is_open else f"▸ {self.title}")


class ThinkingView(FoldedView):
    """A model's thinking."""

    _ms = 0.0

    @property
    def title(self) -> str:
        return thinking_words(self._ms, ended=self._ended)

    def think(self, text: str, ms: float, *, ended: bool = False) -> None:
        self._ms = ms
        self.append(text, ended=ended)


class UntaughtView(FoldedView):
    """What a model says about something that its adapter was not taught."""

    _key = ""

    @property
    def title(self) -> str:
        hint = tr("{key}: what it says", key=self._key) if self._key else ""
        return " · ".join(filter(None, (not_taught_sentence(), hint)))

    def on_mount(self) -> None:
        found = (active.binding for active in self.screen.active_bindings.values())
        binding = next((one for one in found if "thinking" in one.action), None)
        self._key = self.app.get_key_display(binding) if binding else ""
        self._draw()


class AnswerView(SolidBackground, Vertical):
    """An answer as a card: the product's title, the text, and a line with verdict and engine."""

    def __init__(
        self, engine_title: str, answer: types.Answer | None = None, *, source: bool = True
    ) -> None:
        """Without `answer` it streams: call `show_status`, `append`, then `finish`.

        `source` is whether to show the product's title.
        """
        super().__init__(classes="answer")
        self._engine_title = one_line(engine_title)
        self._with_source = source
        self.answer = answer
        self.set_class(answer is not None, FINISHED)
        self.verbatim = answer.verbatim if answer else False
        self.is_list = answer.is_list if answer else False
        self.is_untaught = answer is not None and answer.taught is types.Taught.NOT_TAUGHT
        self.product = answer.product if answer else None
        """What the answer is about, known before its first word."""
        self._body: PlainTextView | MarkdownView | UntaughtView | None = None

    @property
    def is_finished(self) -> bool:
        return self.answer is not None

    @property
    def problem(self) -> str:
        """Why the answer failed or stopped, with the remedy."""
        problem = self.answer.problem if self.answer else None
        return printable(f"{problem.message} {problem.remedy}".strip()) if problem else ""

    def compose(self) -> ComposeResult:
        if self.answer:
            yield from self._heading(self.answer.sources, is_list=self.answer.is_list)
        if self.answer and self.answer.thinking:
            view = ThinkingView()
            view.think(self.answer.thinking, self.answer.thinking_ms, ended=True)
            yield view
        if self.answer and self.answer.is_list:
            yield ChoicesView(self.answer)
        elif self.answer and self.answer.text:
            yield self._make_body(self.answer.text)
        if self.answer:
            yield from self._below_text(self.answer)
        yield Static(self._about, markup=False, classes="about")

    def on_mount(self) -> None:
        self._mark_if_requested()

    def show_status(self, status: str) -> None:
        self.query_one(".about", Static).update(f"{self._engine_title} · {one_line(status)}")

    async def think(self, text: str, ms: float, *, ended: bool) -> None:
        found = self.query(ThinkingView)
        view = found.first() if found else ThinkingView()
        view.think(text, ms, ended=ended)
        if not found:
            await self.mount(view, before=self.query(".words, .about").first())

    async def show_title(self, hits: tuple[types.Hit, ...]) -> None:
        """Show the product's title before the first word, so that nothing moves later."""
        await self.mount_all(self._heading(hits, is_list=self.is_list), before=0)

    async def append(self, text: str) -> None:
        if self.is_list:
            return  # its text comes in one piece, and is drawn when the answer is known
        mounted = None if self._body else self._mount_above_about([self._make_body("")])
        if mounted:
            self._mark_if_requested()
        # Before the await: Escape cancels that, and the text must not be lost.
        if self._body:
            self._body.append(text)
        if mounted:
            await mounted

    async def finish(self, answer: types.Answer) -> None:
        """Draw the source, the problem if there was one, and the line about the answer."""
        self.answer, self.product = answer, answer.product
        self.add_class(FINISHED)
        if not self.query(".about"):  # the view loses its parts while the chat ends
            return
        if answer.thinking:
            missing = "" if self.query(ThinkingView) else answer.thinking  # came after the text
            await self.think(missing, answer.thinking_ms, ended=True)
        if isinstance(self._body, MarkdownView):
            await self._body.finish()
        elif isinstance(self._body, UntaughtView):
            self._body.append("", ended=True)
        if answer.is_list and not self._body:
            await self._mount_above_about([ChoicesView(answer)])
        await self._mount_above_about(list(self._below_text(answer)))
        if not self.query(SourceCard):
            await self.show_title(answer.sources)
        self.query_one(".about", Static).update(self._about)
        self._mark_if_requested()

    def mark(self, marked: bool) -> None:
        """Mark the record's words and the others, those of a model also while they arrive."""
        body, answer = self._body, self.answer
        if not body or isinstance(body, UntaughtView) or not self.product:
            return
        if isinstance(body, MarkdownView) if answer is None else answer.fidelity is not None:
            body.mark(self.product.description if marked else None)

    def _mark_if_requested(self) -> None:
        if any(ancestor.has_class(MARKING) for ancestor in self.ancestors_with_self):
            self.mark(marked=True)

    @property
    def _about(self) -> Content:
        """One line: verdict, engine, mode. Times are in `/details`."""
        if self.answer is None:
            return Content()
        sign, words = verdict(self.answer)
        mode = _MODES[self.answer.mode]
        parts = (one_line(words), self._engine_title, mode)
        line = " · ".join(part for part in parts if part)
        return Content.assemble((f"{sign} " if sign else "", SIGN_STYLES[sign]), line)

    def _make_body(self, text: str) -> PlainTextView | MarkdownView | UntaughtView:
        if self.is_untaught:
            self._body = view = UntaughtView()
            view.append(text, ended=self.is_finished)
            return view
        self._body = PlainTextView(text) if self.verbatim else MarkdownView(text, classes="words")
        return self._body

    def _below_text(self, answer: types.Answer) -> Iterator[Widget]:
        if self.problem:
            yield Static(self.problem, markup=False, classes="problem")
        for notice in filter(None, (wrong_product(answer), answer.notice)):
            yield Static(printable(notice), markup=False, classes="notice")

    def _heading(self, hits: tuple[types.Hit, ...], *, is_list: bool) -> Iterator[Widget]:
        if hits and self._with_source and not is_list:
            yield SourceCard(hits)

    def _mount_above_about(self, widgets: Sequence[Widget]) -> AwaitMount:
        return self.mount_all(widgets, before=self.query_one(".about"))


class TurnView(SolidBackground, Vertical):
    """A question and its chosen answer."""

    def __init__(
        self, question: str, turn: types.Turn | None = None, titles: Titles = NO_TITLES
    ) -> None:
        """Without `turn`, call `begin_answer`. `titles` are the engines' by id."""
        super().__init__(classes="turn")
        self._question = question
        self._turn = turn
        self._titles = titles
        self._selected = False

    @property
    def is_finished(self) -> bool:
        return all(view.is_finished for view in self.query(AnswerView))

    def compose(self) -> ComposeResult:
        yield QuestionView(self._question).set_class(self._selected, SELECTED)
        if self._turn and self._turn.answer:
            yield _answer_view(self._turn, self._titles).set_class(self._selected, SELECTED)

    @property
    def choices(self) -> ChoicesView | None:
        found = self.query(ChoicesView)
        return found.first() if found else None

    async def begin_answer(self, engine_title: str) -> AnswerView:
        return await self._replace(AnswerView(engine_title))

    async def show(self, turn: types.Turn, titles: Titles) -> None:
        await self._replace(_answer_view(turn, titles))

    def select(self, selected: bool) -> None:
        self._selected = selected
        for part in self.children:
            part.set_class(selected, SELECTED)

    async def _replace(self, view: AnswerView) -> AnswerView:
        view.set_class(self._selected, SELECTED)
        old = list(self.query(AnswerView))
        await self.mount(view)
        await self.remove_children(old)
        return view


def _answer_view(turn: types.Turn, titles: Titles) -> AnswerView:
    if turn.answer is None:
        return AnswerView("")
    title = titles.get(turn.answer.engine, turn.answer.engine)
    return AnswerView(answer_title(title, turn.place + 1, len(turn.answers)), turn.answer)


def answer_title(title: str, number: int, of: int) -> str:
    """Return an engine's title, with the answer's number if the turn has several."""
    return (
        tr("{title} · answer {number} of {of}", title=title, number=number, of=of)
        if of > 1
        else title
    )


def share_bar(share: float | None) -> str:
    """Draw a share (0 to 1) as ten cells; full only for 1, empty only for 0."""
    if share is None:
        return ""
    full = max(int(share * _BAR_CELLS), int(share > 0))
    return "▰" * full + "▱" * (_BAR_CELLS - full)


def toggle_folded(holder: Widget) -> bool:
    """Open or close the folded texts inside a widget; return whether there are any."""
    views = holder.query(FoldedView)
    for view in views:
        view.toggle()
    return bool(views)


def toggle_marks(holder: Widget) -> str:
    """Mark the answers inside a widget, or remove the marks; return what to report."""
    marked = not holder.has_class(MARKING)
    holder.set_class(marked, MARKING)
    answers = holder.query(AnswerView)
    for view in answers:
        view.mark(marked)
    if not answers:
        return tr("Marks are on for the next answers.") if marked else tr("Marks are off.")
    return _MARKED if marked else tr("Marks are off.")


_WAITING = "…"
_LOADED = 1.0


async def draw(event: types.Event, view: AnswerView) -> None:
    """Draw one event into the view of its answer."""
    match event:
        case types.Found(decision, verbatim, taught):
            view.verbatim = verbatim
            view.is_untaught = taught is types.Taught.NOT_TAUGHT
            view.product = decision.product
            others = decision.hits if decision.status is types.Status.SEVERAL else decision.nearest
            view.is_list = verbatim and decision.product is None and bool(others)
            is_unknown = decision.status is types.Status.NONE
            view.show_status(tr("no product matches") if is_unknown else _WAITING)
            await view.show_title(decision.hits)
        case types.Weighed(taught):
            view.is_untaught = taught is types.Taught.NOT_TAUGHT
        case types.Loading(progress):
            loading = tr("loading: {label}", label=progress.label)
            view.show_status(_WAITING if progress.fraction == _LOADED else loading)
        case types.Thought(text, ms, ended):
            await view.think(text, ms, ended=ended)
        case types.Piece(text):
            await view.append(text)
        case types.Answered(answer):
            await view.finish(answer)


async def draw_answer(
    events: AsyncGenerator[types.Event], session: Session, view: AnswerView, bar: EngineBar
) -> bool:
    """Draw the events into `view` and `bar`; return whether the answer was saved.

    Cancelling the task cancels the answer: its text so far stays, on the screen and on disk.
    """
    saved = True
    try:
        with calling_back(view.app, tr("The answer is complete."), session.settings):
            async with aclosing(events):
                async for event in events:
                    await draw(event, view)
                    _report(event, bar)
                    saved = saved and not isinstance(event, types.NotSaved)
    except asyncio.CancelledError:
        # The bar still shows how far loading was, or that it has to wait.
        bar.show_availability()
        raise
    finally:
        if session.answer and not view.is_finished:
            await view.finish(session.answer)
    return saved


def _report(event: types.Event, bar: EngineBar) -> None:
    """Show loading and saving problems in the bar."""
    match event:
        case types.Loading(progress) if progress.fraction == _LOADED:
            bar.report(progress.label)
        case types.Loading(progress):
            bar.show_progress(progress)
        case types.NotSaved(problem):
            sentence = tr("Not saved: {why} {remedy}", why=problem.message, remedy=problem.remedy)
            bar.report(sentence, error=True)
