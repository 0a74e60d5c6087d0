"""A question, and an answer as it comes: the two kinds of thing that a conversation is made of.

What a record says is drawn as plain text, never as Markdown: an asterisk in a description is an
asterisk. What a model says is drawn as Markdown, while it comes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.message import Message
from textual.widget import AwaitMount, Widget
from textual.widgets import Static

from engine.chat.wording import describe, title_of
from engine.core.i18n import tr
from engine.core.text import one_line, printable
from engine.core.types import Answer, Hit, Turn
from tui.textual_patches.widgets import SolidBackground
from tui.widgets.markdown_view import MarkdownView, mark_styles

_CELLS = 10


class PlainTextView(Static):
    """Plain text: no sign in it means anything."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"marks--quoted", "marks--added"}

    def __init__(self, text: str = "") -> None:
        self._text = printable(text)
        super().__init__(self._text, markup=False, classes="words")

    def append(self, text: str) -> None:
        """More words."""
        self._text += printable(text)
        self.update(self._text)

    def mark(self, record: str | None) -> None:
        """Mark which words stand in `record`; None: no longer."""
        if record is None:
            self.update(self._text)
            return
        from tui.markdown.render import mark

        text = Text(self._text)
        mark([text], record, mark_styles(self))
        self.update(text)


def share_bar(share: float | None) -> str:
    """How much of something (0..1) as ten cells: full only if it is all, empty only if nothing."""
    if share is None:
        return ""
    full = max(int(share * _CELLS), int(share > 0))
    return "▰" * full + "▱" * (_CELLS - full)


Titles = Mapping[str, str]
NO_TITLES: Titles = {}
SELECTED = "selected"
"""The class of what the commands about a turn act on; turns.tcss draws a bar beside it."""
MARKING = "marking"
"""The class of what holds answers that are to be marked."""
_MARKED = tr(
    "Marked: what is underlined is not the record's, the rest is. F6 takes the marks away."
)
_CARD_WIDTH = 200
_MOST_ASKED = 2_000
"""Letters of a question that are drawn: a pasted one may have a million."""


class QuestionView(Static):
    """What the person asked."""

    def __init__(self, question: str) -> None:
        shown = printable(question[:_MOST_ASKED])
        if len(question) > _MOST_ASKED:
            shown += tr(" … ({count:,} letters)", count=len(question))
        super().__init__(f"❯ {shown}", markup=False, classes="question")


class RecordRequested(Message):
    """Ask the app to open these records, starting with the first."""

    def __init__(self, hits: tuple[Hit, ...]) -> None:
        super().__init__()
        self.hits = hits


class SourceCard(Static, can_focus=True):
    """The record that an answer rests on, on one line; opens it."""

    BINDINGS = [("enter", "open", tr("Open the record"))]  # noqa: RUF012 - Textual's own form

    def __init__(self, hits: tuple[Hit, ...]) -> None:
        self._hits = hits
        more = tr(" and {count} more", count=len(hits) - 1) if len(hits) > 1 else ""
        title = title_of(hits[0].product, _CARD_WIDTH)
        super().__init__(f"▸ {title}{more}", markup=False, classes="card")

    def action_open(self) -> None:
        """Open the record."""
        self.post_message(RecordRequested(self._hits))

    def on_click(self) -> None:
        """Open the record."""
        self.action_open()


class AnswerView(SolidBackground, Vertical):
    """An answer, from the first sign of it to the line that tells where it came from."""

    def __init__(
        self, engine_title: str, answer: Answer | None = None, *, source: bool = True
    ) -> None:
        """`answer` is one that is already whole; `source`: whether the card of the record is here.

        Without `answer` it is drawn as it comes: `tell`, `add`, and `finish`.
        """
        super().__init__(classes="answer")
        self._engine_title = one_line(engine_title)
        self._with_source = source
        self.answer = answer
        self.verbatim = answer.verbatim if answer else False
        self._body: PlainTextView | MarkdownView | None = None

    @property
    def is_finished(self) -> bool:
        """Whether the answer is whole."""
        return self.answer is not None

    @property
    def hits(self) -> tuple[Hit, ...]:
        """The records that the answer rests on, once it is whole."""
        return self.answer.sources if self.answer else ()

    @property
    def problem(self) -> str:
        """Why the answer broke off or never came, and what to do."""
        problem = self.answer.problem if self.answer else None
        return printable(f"{problem.message} {problem.remedy}".strip()) if problem else ""

    def compose(self) -> ComposeResult:
        """The words, and the line that tells what is going on, or how it went."""
        if self.answer and self.answer.text:
            yield self._begin_body(self.answer.text)
        if self.answer:
            yield from self._below_words(self.answer)
        yield Static(self._about, markup=False, classes="about")

    def show_status(self, state: str) -> None:
        """Say what is going on."""
        self.query_one(".about", Static).update(f"{self._engine_title} · {one_line(state)}")

    async def append(self, text: str) -> None:
        """Draw more words."""
        mounted = None if self._body else self._above_about([self._begin_body("")])
        # Before it is waited for: an answer that is stopped then has lost none of its words.
        if isinstance(self._body, MarkdownView) or self._body:
            self._body.append(text)
        if mounted:
            await mounted

    async def finish(self, answer: Answer) -> None:
        """Draw how it ended: the source, the problem if there was one, the line about it."""
        self.answer = answer
        if isinstance(self._body, MarkdownView):
            await self._body.finish()
        await self._above_about(list(self._below_words(answer)))
        self.query_one(".about", Static).update(self._about)
        self._mark_as_asked()

    def on_mount(self) -> None:
        """Mark an answer that comes into view while answers are marked."""
        self._mark_as_asked()

    def mark(self, marked: bool) -> None:
        """Mark which of its words are the record's, or no longer; nothing without a record."""
        if self._body and self.answer and self.answer.product and self.answer.fidelity is not None:
            self._body.mark(self.answer.product.description if marked else None)

    def _mark_as_asked(self) -> None:
        if any(parent.has_class(MARKING) for parent in self.ancestors_with_self):
            self.mark(marked=True)

    @property
    def _about(self) -> str:
        if self.answer is None:
            return ""
        drawn = share_bar(self.answer.fidelity if self.answer.product else None)
        return f"{self._engine_title} · {one_line(describe(self.answer, source=False, bar=drawn))}"

    def _begin_body(self, text: str) -> PlainTextView | MarkdownView:
        self._body = PlainTextView(text) if self.verbatim else MarkdownView(text, classes="words")
        return self._body

    def _below_words(self, answer: Answer) -> Iterator[Widget]:
        if self.problem:
            yield Static(self.problem, markup=False, classes="problem")
        if answer.notice:
            yield Static(printable(answer.notice), markup=False, classes="notice")
        if answer.sources and self._with_source:
            yield SourceCard(answer.sources)

    def _above_about(self, widgets: Sequence[Widget]) -> AwaitMount:
        return self.mount_all(widgets, before=self.query_one(".about"))


class TurnView(SolidBackground, Vertical):
    """A question, and the answer from which the conversation goes on."""

    def __init__(self, question: str, turn: Turn | None = None, titles: Titles = NO_TITLES) -> None:
        """Without `turn` the answer is yet to come: `begin`. `titles` are the engines' by id."""
        super().__init__(classes="turn")
        self._question = question
        self._turn = turn
        self._titles = titles
        self._selected = False

    def compose(self) -> ComposeResult:
        """The question, and the answer if there is one."""
        question = QuestionView(self._question)
        yield question.set_class(self._selected, SELECTED)
        if self._turn and self._turn.answer:
            yield self._answer_of(self._turn, self._titles).set_class(self._selected, SELECTED)

    async def begin(self, engine_title: str) -> AnswerView:
        """Make room for an answer that is to come, instead of the one so far."""
        return await self._replace(AnswerView(engine_title))

    async def show(self, turn: Turn, titles: Titles) -> None:
        """Draw the answer from which the turn goes on now."""
        await self._replace(self._answer_of(turn, titles))

    def select(self, selected: bool) -> None:
        """Mark it as what the commands about a turn act on, or no longer."""
        self._selected = selected
        for part in self.children:
            part.set_class(selected, SELECTED)

    @property
    def is_finished(self) -> bool:
        """Whether its answer is whole."""
        return all(view.is_finished for view in self.query(AnswerView))

    async def _replace(self, view: AnswerView) -> AnswerView:
        view.set_class(self._selected, SELECTED)
        old = list(self.query(AnswerView))
        await self.mount(view)
        await self.remove_children(old)
        return view

    def _answer_of(self, turn: Turn, titles: Titles) -> AnswerView:
        if turn.answer is None:
            return AnswerView("")
        title = titles.get(turn.answer.engine, turn.answer.engine)
        return AnswerView(answer_title(title, turn.place + 1, len(turn.answers)), turn.answer)


def answer_title(title: str, number: int, of: int) -> str:
    """An engine's title with the answer's number, where the turn has several."""
    return (
        tr("{title} · answer {number} of {of}", title=title, number=number, of=of)
        if of > 1
        else title
    )


def toggle_marks(holder: Widget) -> str:
    """Mark the answers inside `holder`, or no longer; returns what there is to be told."""
    marked = not holder.has_class(MARKING)
    holder.set_class(marked, MARKING)
    for view in holder.query(AnswerView):
        view.mark(marked)
    return _MARKED if marked else tr("The answers are no longer marked.")
