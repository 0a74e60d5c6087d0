"""A conversation as the assistant and the faces hold it in memory; `store` keeps it on disk."""

from __future__ import annotations

from msgspec import Struct

from engine.types import Answer, Hit, Message, Product, Role, Status


class Turn(Struct):
    """A question and its answer; `answer` is None while it is being given.

    `others` are the answers of further engines that were asked the same, for comparison.
    """

    question: str
    answer: Answer | None = None
    others: list[Answer] = []


class Conversation(Struct):
    """Turns, oldest first. `id` is None until the store has taken the first question."""

    id: int | None = None
    turns: list[Turn] = []

    @property
    def product(self) -> Product | None:
        """The product that was last spoken of."""
        answers = (turn.answer for turn in reversed(self.turns) if turn.answer)
        return next((answer.product for answer in answers if answer.product), None)

    @property
    def choices(self) -> tuple[Hit, ...]:
        """What the last answer listed to pick from by number."""
        answers = [turn.answer for turn in self.turns if turn.answer]
        if not answers:
            return ()
        last = answers[-1]
        return last.sources if last.status is Status.SEVERAL else last.nearest

    def messages(self) -> tuple[Message, ...]:
        """The turns with words in them, as a prompt's history."""
        history: list[Message] = []
        for turn in self.turns:
            if turn.answer and turn.answer.text:
                history.append(Message(Role.USER, turn.question))
                history.append(Message(Role.ASSISTANT, turn.answer.text))
        return tuple(history)
