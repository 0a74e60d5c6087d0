"""A question, and an answer as it comes: the two kinds of thing that a conversation is made of.

What a record says is drawn as plain text, never as Markdown: an asterisk in a description is an
asterisk. What a model says is drawn as Markdown, while it comes.
"""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widget import Widget
from textual.widgets import Static

from engine.text import one_line, printable
from engine.types import Answer, Hit
from engine.wording import describe, title_of
from tui.messages import RecordWanted
from tui.widgets.markdown_view import MarkdownView

_CARD_WIDTH = 200


class QuestionView(Static):
    """What the person asked."""

    def __init__(self, question: str) -> None:
        super().__init__(f"❯ {printable(question)}", markup=False, classes="question")


class SourceCard(Static, can_focus=True):
    """The record that an answer rests on, on one line; opens it."""

    BINDINGS = [("enter", "open", "Open the record")]  # noqa: RUF012 - Textual's own form

    def __init__(self, hits: tuple[Hit, ...]) -> None:
        self._hits = hits
        more = f" and {len(hits) - 1} more" if len(hits) > 1 else ""
        title = title_of(hits[0].product, _CARD_WIDTH)
        super().__init__(f"▸ {title}{more}", markup=False, classes="card")

    def action_open(self) -> None:
        """Open the record."""
        self.post_message(RecordWanted(self._hits))

    def on_click(self) -> None:
        """Open the record."""
        self.action_open()


class AnswerView(Vertical):
    """An answer, from the first sign of it to the line that tells where it came from."""

    def __init__(self, engine_title: str, *, source: bool = True) -> None:
        """`source`: whether the card of the record is part of it."""
        super().__init__(classes="answer")
        self._engine_title = one_line(engine_title)
        self._with_source = source
        self.finished = False
        self.verbatim = False
        self._text = ""
        self._body: Static | MarkdownView | None = None
        self.hits: tuple[Hit, ...] = ()
        self.problem = ""

    def compose(self) -> ComposeResult:
        """The line that tells what is going on, and later how it went."""
        yield Static("", markup=False, classes="about")

    def tell(self, state: str) -> None:
        """Say what is going on."""
        self.query_one(".about", Static).update(f"{self._engine_title} · {one_line(state)}")

    async def add(self, text: str) -> None:
        """Draw more words."""
        self._text += printable(text)
        if self.verbatim:
            await self._plain(self._text)
        else:
            await self._markdown(text)

    async def finish(self, answer: Answer) -> None:
        """Draw how it ended: the source, the problem if there was one, the line about it."""
        self.finished = True
        if isinstance(self._body, MarkdownView):
            await self._body.finish()
        self.hits = answer.sources
        if answer.problem:
            self.problem = printable(f"{answer.problem.message} {answer.problem.remedy}".strip())
            await self._above_about(Static(self.problem, markup=False, classes="problem"))
        if answer.notice:
            await self._above_about(
                Static(printable(answer.notice), markup=False, classes="notice")
            )
        if answer.sources and self._with_source:
            await self._above_about(SourceCard(answer.sources))
        self.tell(describe(answer, source=False))

    async def _plain(self, text: str) -> None:
        if isinstance(self._body, Static):
            self._body.update(text)
            return
        self._body = Static(text, markup=False, classes="words")
        await self._above_about(self._body)

    async def _markdown(self, piece: str) -> None:
        if not isinstance(self._body, MarkdownView):
            self._body = MarkdownView(classes="words")
            await self._above_about(self._body)
        self._body.append(piece)

    async def _above_about(self, widget: Widget) -> None:
        await self.mount(widget, before=self.query_one(".about"))
