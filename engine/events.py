"""What happens while a question is answered, as the faces are told of it."""

from __future__ import annotations

from dataclasses import dataclass

from engine.types import Answer, Decision, Problem, Progress


@dataclass(frozen=True, slots=True)
class Found:
    """The catalogue has been searched; `verbatim` as in Answer, of the words to come."""

    decision: Decision
    verbatim: bool


@dataclass(frozen=True, slots=True)
class Loading:
    """The engine is being made ready."""

    progress: Progress


@dataclass(frozen=True, slots=True)
class Piece:
    """More words of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class NotSaved:
    """The conversation goes on, but this part of it is not on disk."""

    problem: Problem


@dataclass(frozen=True, slots=True)
class Answered:
    """The answer is whole, or broke off with a problem. Always the last event."""

    answer: Answer


Event = Found | Loading | Piece | NotSaved | Answered
