"""The turns of a conversation as the pane keeps them: most are not drawn, and are a height."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from engine.core.conversation_part import Turn
    from tui.widgets.turns import Titles, TurnView

_WIDEST = 108
"""Columns of an answer's words at most (turns.tcss)."""


class Entry(Struct, eq=False):
    """A turn, drawn or not. `turn` is None for a question whose turn the engine has yet to make."""

    question: str
    turn: Turn | None
    view: TurnView | None = None
    height: int = 1
    """Lines: as they were when it was last drawn, or a guess."""
    selected: bool = False

    def make(self, titles: Titles) -> TurnView:
        """Its view."""
        from tui.widgets.turns import TurnView

        self.view = TurnView(self.question, self.turn, titles)
        self.view.select(self.selected)
        return self.view

    def select(self, selected: bool) -> None:
        """Have it marked, drawn or not."""
        self.selected = selected
        if self.view:
            self.view.select(selected)

    def guess(self, width: int) -> None:
        """Say how many lines it will take, roughly."""
        if self.view is not None:
            return
        inside = max(1, min(_WIDEST, width - 3))
        self.height = 1 + _lines(self.question, inside)
        answer = self.turn.answer if self.turn else None
        if answer:
            extra = bool(answer.sources) + bool(answer.notice) + 2 * bool(answer.problem)
            self.height += 1 + extra + (_lines(answer.text, inside) if answer.text else 0)


def _lines(text: str, width: int) -> int:
    return sum(1 + max(0, len(line) - 1) // width for line in text.split("\n"))
