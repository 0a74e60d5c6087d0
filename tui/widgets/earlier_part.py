"""The questions before, as Up and Down walk through them; pure, without widgets."""

from __future__ import annotations


class Earlier:
    """The conversation's own questions, the nearest first, then those of all others, each once."""

    def __init__(self) -> None:
        self._others: list[str] = []
        self._own: list[str] = []
        self._line: list[str] = []
        self._place = 0
        self._draft = ""

    def remember(self, questions: list[str]) -> None:
        """Take the questions of a conversation as what is walked through first."""
        self._others += self._own
        self._own = list(questions)
        self._line_up()

    def remember_others(self, questions: list[str]) -> None:
        """Take the questions of other conversations, the latest last: they follow."""
        self._others = [*questions, *self._others]
        self._line_up()

    def add(self, question: str) -> None:
        """Take one that was asked just now; the next walk begins at it."""
        if question and self._own[-1:] != [question]:
            self._own.append(question)
            self._line_up()
        self._place = len(self._line)
        self._draft = ""

    def older(self, written: str) -> str | None:
        """The one before, None where there is none; `written` is kept as the draft."""
        if not self._place:
            return None
        if self._place == len(self._line):
            self._draft = written
        self._place -= 1
        return self._line[self._place]

    def newer(self) -> str | None:
        """The one after, the draft after the last; None where one is there already."""
        if self._place == len(self._line):
            return None
        self._place += 1
        return self._line[self._place] if self._place < len(self._line) else self._draft

    def _line_up(self) -> None:
        others = dict.fromkeys(reversed(self._others))
        for question in self._own:
            others.pop(question, None)
        self._line = [*reversed(others), *self._own]
        self._place = len(self._line)
