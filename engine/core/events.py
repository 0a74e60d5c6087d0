"""What happens while a question is answered, as the faces are told of it."""

from __future__ import annotations

from msgspec import Struct

from engine.core.types import Answer, Decision, Problem, Progress


class Found(Struct, frozen=True):
    """The catalogue has been searched; `verbatim` as in Answer, of the words to come."""

    decision: Decision
    verbatim: bool


class Loading(Struct, frozen=True):
    """The engine is being made ready."""

    progress: Progress


class Piece(Struct, frozen=True):
    """More words of the answer."""

    text: str


class NotSaved(Struct, frozen=True):
    """The conversation goes on, but this part of it is not on disk."""

    problem: Problem


class Answered(Struct, frozen=True):
    """The answer is whole, or broke off with a problem. Always the last event."""

    answer: Answer


Event = Found | Loading | Piece | NotSaved | Answered
