"""The measures of one answer against its record. Sources are named at each.

rouge-score and sacrebleu are optional (the extra `evaluate`) and imported late.
"""

from __future__ import annotations

import sys
from enum import StrEnum
from importlib.util import find_spec
from typing import NamedTuple

from msgspec import Struct

from engine.core.errors import BalcaoError
from engine.core.types import Mode, Status
from engine.evaluation.ask import Given
from engine.evaluation.questions import Question
from engine.fidelity.measure import (
    LEAST_SUPPORT,
    fidelity,
    invented,
    is_word_for_word,
    refuses,
    sentences,
    support,
)

_PACKAGES = {"rouge_score": "rouge-score", "sacrebleu": "sacrebleu"}
_LEAST_CUT = 5
"""Words. A shorter beginning of a record proves nothing."""


class RougeL(NamedTuple):
    """ROUGE-L, each 0..1."""

    precision: float
    recall: float
    f1: float


class Scores(Struct, frozen=True):
    """One answer's measures; shares are 0..1.

    `word_for_word`: the whole record, blanks aside. `cut_off`: a beginning of it. `fidelity`: the
    share of the answer's words that stand in the record, in order. `sentences` counts the answer's,
    `invented` those of them that the record does not bear out.
    """

    word_for_word: bool
    cut_off: bool
    rouge_l: RougeL
    chrf: float
    fidelity: float
    sentences: int
    invented: int


NOTHING = Scores(
    word_for_word=False,
    cut_off=False,
    rouge_l=RougeL(0.0, 0.0, 0.0),
    chrf=0.0,
    fidelity=0.0,
    sentences=0,
    invented=0,
)
"""The scores of an answer that gives nothing of the record."""


def check_packages() -> None:
    """Raises BalcaoError with the command that installs what is missing."""
    missing = [name for module, name in _PACKAGES.items() if find_spec(module) is None]
    if missing:
        raise BalcaoError(
            f"Measuring needs packages that are missing: {', '.join(missing)}.",
            f"Install them: {sys.executable} -m pip install {' '.join(missing)}",
        )


def score(answer: str, record: str) -> Scores:
    """Every measure of `answer` against `record`."""
    if not answer.strip() or not record.strip():
        return NOTHING
    return Scores(
        word_for_word=is_word_for_word(answer, record),
        cut_off=is_cut_off(answer, record),
        rouge_l=rouge_l(answer, record),
        chrf=chrf(answer, record),
        fidelity=fidelity(answer, record) or 0.0,
        sentences=len(sentences(answer)),
        invented=len(invented(answer, record)),
    )


def is_cut_off(answer: str, record: str) -> bool:
    """Whether the answer is a beginning of the record, five words or more, but not all of it.

    Blanks do not count; the last word may be cut, as a limit on the answer's length cuts it.
    """
    said, written = " ".join(answer.split()), " ".join(record.split())
    enough = len(said.split()) >= _LEAST_CUT
    return enough and len(said) < len(written) and written.startswith(said)


def rouge_l(answer: str, record: str) -> RougeL:
    """ROUGE-L of Lin (2004), "ROUGE: A Package for Automatic Evaluation of Summaries".

    The words are rouge-score's (lower case, a-z and 0-9, no stemming) and so is the result; only
    the longest common subsequence is rapidfuzz's, since rouge-score takes a Python step for each
    pair of words, minutes for the longest records.
    """
    from rapidfuzz.distance import LCSseq
    from rouge_score.scoring import fmeasure
    from rouge_score.tokenize import tokenize

    said, written = tokenize(answer, None), tokenize(record, None)
    if not said or not written:
        return RougeL(0.0, 0.0, 0.0)
    common = LCSseq.similarity(said, written)
    precision, recall = common / len(said), common / len(written)
    return RougeL(precision, recall, float(fmeasure(precision, recall)))


def chrf(answer: str, record: str) -> float:
    """The chrF of Popović (2015), 0..1: sacrebleu's chrF2 of a sentence (n-grams to 6, beta 2)."""
    from sacrebleu.metrics.chrf import CHRF

    return float(CHRF().sentence_score(answer, [record]).score) / 100


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
