"""The conversation pane: follows its end until the reader scrolls up, and then stays."""

from __future__ import annotations

from textual.containers import VerticalScroll
from textual.widgets import Static

from engine.conversation import Conversation, Turn
from tui.widgets.turns import AnswerView, QuestionView

WELCOME = """\
Balcão: ask at the counter.

Type a product's title, or a question in English or Portuguese. The answer is the \
catalogue's description, word for word, with its source; or an honest no. F2 puts the \
next question to another engine, F1 tells the rest."""
SAMPLE = """

This is the sample catalogue, of invented products. You could ask:
    Saffron and Smoke
    do you have the striped apron?
    Qual é a descrição de “Nether Wimpling Worm Farm for Terrariums”?"""


SELECTED = "selected"
"""The class of what the commands about a turn act on; app.tcss draws a bar beside it."""


class ConversationView(VerticalScroll, can_focus=False):
    """Questions and answers, oldest first."""

    def on_mount(self) -> None:
        """Follow the end."""
        self.anchor()

    async def begin(self, question: str, engine_title: str) -> AnswerView:
        """Draw a question; returns the view that its answer is to be drawn in."""
        await self.query(".welcome").remove()
        answer = AnswerView(engine_title)
        await self.mount(QuestionView(question), answer)
        self.anchor()
        return answer

    async def welcome(self, *, sample: bool) -> None:
        """Draw an empty conversation; of the sample catalogue one can say what to ask."""
        await self.remove_children()
        text = WELCOME + SAMPLE if sample else WELCOME
        await self.mount(Static(text, markup=False, classes="welcome"))

    async def show(self, conversation: Conversation, titles: dict[str, str]) -> None:
        """Draw a whole conversation; `titles` are the engines' by id."""
        await self.remove_children()
        for turn in conversation.turns:
            view = AnswerView(_title(turn, titles))
            await self.mount(QuestionView(turn.question), view)
            await _fill(view, turn)
        self.anchor()

    async def again(self, place: int, engine_title: str) -> AnswerView:
        """Another answer instead of the one to that turn; returns the view to draw it in."""
        old, view = self._answer_views[place], AnswerView(engine_title)
        view.set_class(old.has_class(SELECTED), SELECTED)
        await self.mount(view, before=old)
        await old.remove()
        return view

    async def redraw(self, place: int, turn: Turn, titles: dict[str, str]) -> None:
        """Draw the answer from which that turn goes on."""
        await _fill(await self.again(place, _title(turn, titles)), turn)

    def select(self, place: int | None) -> None:
        """Mark the turn at that place, and only it; bring it into view."""
        self.query(f".{SELECTED}").remove_class(SELECTED)
        if place is None:
            self.anchor()
            return
        question, answer = list(self.query(QuestionView))[place], self._answer_views[place]
        question.add_class(SELECTED)
        answer.add_class(SELECTED)
        self.release_anchor()
        self.scroll_to_widget(question, top=True, animate=False)

    @property
    def _answer_views(self) -> list[AnswerView]:
        """One a turn."""
        return list(self.query(AnswerView))


def _title(turn: Turn, titles: dict[str, str]) -> str:
    """Who gave the answer, and which of several it is."""
    if turn.answer is None:
        return ""
    title = titles.get(turn.answer.engine, turn.answer.engine)
    return numbered(title, turn.place + 1, len(turn.answers))


async def _fill(view: AnswerView, turn: Turn) -> None:
    answer = turn.answer
    if answer is None:
        return
    view.verbatim = answer.verbatim
    if answer.text:
        await view.add(answer.text)
    await view.finish(answer)


def numbered(title: str, number: int, of: int) -> str:
    """An engine's title with the answer's number, where the turn has several."""
    return f"{title} · answer {number} of {of}" if of > 1 else title
