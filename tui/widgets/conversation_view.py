"""The conversation pane: follows its end until the reader scrolls up, and then stays."""

from __future__ import annotations

from textual.containers import VerticalScroll
from textual.widgets import Static

from engine.conversation import Conversation
from engine.types import Answer
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
            await self.mount(QuestionView(turn.question))
            for answer in (turn.answer, *turn.others):
                if answer is not None:
                    await self._show_answer(answer, titles.get(answer.engine, answer.engine))
        self.anchor()

    async def _show_answer(self, answer: Answer, title: str) -> None:
        view = AnswerView(title)
        await self.mount(view)
        view.verbatim = answer.verbatim
        if answer.text:
            await view.add(answer.text)
        await view.finish(answer)

    @property
    def last_answer(self) -> AnswerView | None:
        """The newest answer that rests on a record."""
        answers = [view for view in self.query(AnswerView) if view.hits]
        return answers[-1] if answers else None
