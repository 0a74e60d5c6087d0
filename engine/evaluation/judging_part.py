"""What an answer is: given, refused, a choice offered, or failed; and its scores."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from engine.core.types import Mode, Status
from engine.evaluation.ask import Given
from engine.evaluation.metrics import NOTHING, Scores, score
from engine.evaluation.questions import Question
from engine.fidelity.measure import LEAST_SUPPORT, support
from engine.fidelity.refusals_part import refuses


class Outcome(StrEnum):
    """What came of a question."""

    ANSWERED = "answered"
    REFUSED = "refused"
    """It says that it does not have the product."""
    OFFERED = "offered"
    """It lists several products to pick from."""
    FAILED = "failed"
    """The engine broke off or could not be reached."""


class Judged(Struct, frozen=True):
    """One answer, judged. `right_record`: retrieval found the very record; None from memory."""

    question: Question
    given: Given
    outcome: Outcome
    scores: Scores
    right_record: bool | None


def judge(question: Question, given: Given, mode: Mode) -> Judged:
    """Judge an answer. What is no answer (a refusal, a choice) gives nothing of the record."""
    scores = NOTHING if given.by_counter else score(given.text, question.record)
    outcome = _outcome(given, question.record)
    if outcome is not Outcome.ANSWERED:
        scores = NOTHING
    right = given.source.split() == question.record.split() if mode is Mode.GROUNDED else None
    return Judged(question, given, outcome, scores, right)


def _outcome(given: Given, record: str) -> Outcome:
    if given.error:
        return Outcome.FAILED
    if given.by_counter:
        return Outcome.OFFERED if given.status is Status.SEVERAL else Outcome.REFUSED
    # A record may say “I don't have …” itself.
    if refuses(given.text) and support(given.text, record) < LEAST_SUPPORT:
        return Outcome.REFUSED
    return Outcome.ANSWERED
