"""A conversation as the assistant and the faces hold it in memory; `store` keeps it on disk."""

from __future__ import annotations

from msgspec import Struct

from engine.core.types import Answer, Hit, Message, Product, Role, Status


class Turn(Struct):
    """A question and its answer; `answer` is None while it is being given.

    `others` are further answers to the same question, by other engines or by another try; the
    conversation goes on from `answer`. `place` is where that one stands among all of them, in the
    order in which they were given; `id` is the store's, once it has taken the question; `unsaved`
    says that an answer to it could not be kept, until the store takes it with a later question.
    """

    question: str
    answer: Answer | None = None
    others: list[Answer] = []
    place: int = 0
    id: int | None = None
    unsaved: bool = False

    @property
    def answers(self) -> list[Answer]:
        """All answers, in the order in which they were given."""
        if self.answer is None:
            return list(self.others)
        return [*self.others[: self.place], self.answer, *self.others[self.place :]]

    def add(self, answer: Answer) -> None:
        """One more answer, from which the conversation goes on."""
        answers = self.answers
        self.answer, self.others, self.place = answer, answers, len(answers)

    def choose(self, place: int) -> None:
        """Go on from the answer at that place of `answers`."""
        answers = self.answers
        self.answer, self.place = answers.pop(place), place
        self.others = answers


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
