"""Score one answer against its record.

rouge-score and sacrebleu are optional (the extra `evaluate`) and imported late.
"""

from enum import StrEnum
from importlib.util import find_spec
from typing import NamedTuple

from msgspec import Struct

from engine.catalogue.language.phrases import is_only_close
from engine.catalogue.taught import Witnesses
from engine.core.errors import BalcaoError
from engine.core.process import install_command
from engine.core.trained_products import Calibration
from engine.core.types import Mode, Status, StopReason, Taught
from engine.evaluation.ask import SavedAnswer
from engine.evaluation.questions import Question
from engine.fidelity import measure, quotes

_PACKAGES = {"rouge_score": "rouge-score", "sacrebleu": "sacrebleu", "jinja2": "Jinja2"}
_MIN_CUT_WORDS = 5
"""A shorter beginning of a record may be a coincidence."""


class RougeL(NamedTuple):
    """ROUGE-L, each 0..1."""

    precision: float = 0.0
    recall: float = 0.0
    f1: float = 0.0


class AnswerScores(Struct, frozen=True):
    """The scores of one answer; shares are 0..1. The defaults are those of a refusal.

    `word_for_word`: the answer is the whole record, `cut_off`: a beginning of it. `fidelity`: the
    share of the answer's words that quote the record; `coverage`: of the record's that are quoted.
    `sentences` counts the answer's sentences, `invented` those that the record does not support,
    `slips` those that it supports, but not word for word.
    """

    word_for_word: bool = False
    cut_off: bool = False
    rouge_l: RougeL = RougeL()
    chrf: float = 0.0
    fidelity: float = 0.0
    sentences: int = 0
    invented: int = 0
    coverage: float | None = None
    slips: int = 0


def check_packages() -> None:
    """Raise BalcaoError with a pip command if a package is missing."""
    missing = [name for module, name in _PACKAGES.items() if find_spec(module) is None]
    if missing:
        raise BalcaoError(
            f"`balcao evaluate` needs packages that are not installed: {', '.join(missing)}.",
            f"Run: {install_command('evaluate')}",
        )


def score_text(text: str, record: str, *, cut: bool = False) -> AnswerScores:
    """Compute every score of `text`, which may be `cut` in a word, against `record`."""
    compared = quotes.compare(text, record, cut=cut)
    if not text.strip() or not record.strip():
        return AnswerScores()
    return AnswerScores(
        word_for_word=measure.is_word_for_word(text, record),
        cut_off=is_cut_off(text, record),
        rouge_l=rouge_l(text, record),
        chrf=chrf(text, record),
        fidelity=compared.precision if compared else 0.0,
        coverage=compared.coverage if compared else 0.0,
        sentences=len(measure.sentences(text)),
        invented=len(measure.unsupported_sentences(text, record)),
        slips=_count_slips(text, record, cut=cut),
    )


def _count_slips(text: str, record: str, *, cut: bool) -> int:
    changed = quotes.changed_sentences(text, record, cut=cut)
    return sum(measure.support(one, record) >= measure.MIN_SUPPORT for one in changed)


def is_cut_off(text: str, record: str) -> bool:
    """Return whether `text` is a beginning of the record, at least five words long."""
    beginning, whole = " ".join(text.split()), " ".join(record.split())
    long_enough = len(beginning.split()) >= _MIN_CUT_WORDS
    return long_enough and len(beginning) < len(whole) and whole.startswith(beginning)


def rouge_l(text: str, record: str) -> RougeL:
    """Compute ROUGE-L (Lin 2004, "ROUGE: A Package for Automatic Evaluation of Summaries").

    The tokens and the result are rouge-score's (lower case, a-z and 0-9, no stemming). Only the
    longest common subsequence is rapidfuzz's: rouge-score takes minutes for the longest records.
    """
    from rapidfuzz.distance import LCSseq
    from rouge_score.scoring import fmeasure
    from rouge_score.tokenize import tokenize

    words, record_words = tokenize(text, None), tokenize(record, None)
    if not words or not record_words:
        return RougeL()
    common = LCSseq.similarity(words, record_words)
    precision, recall = common / len(words), common / len(record_words)
    return RougeL(precision, recall, float(fmeasure(precision, recall)))


def chrf(text: str, record: str) -> float:
    """Compute chrF (Popović 2015), 0..1: sacrebleu's chrF2 with character n-grams up to 6."""
    from sacrebleu.metrics.chrf import CHRF

    return float(CHRF().sentence_score(text, [record]).score) / 100


class Verdict(StrEnum):
    """How an engine reacted to a question."""

    ANSWERED = "answered"
    REFUSED = "refused"
    """It said that it does not have the product."""
    OFFERED = "offered"
    """It listed products to choose from."""
    FAILED = "failed"
    """It stopped with an error or was unreachable."""


class ScoredAnswer(Struct, frozen=True):
    """An answer with its scores. `right_record`: the search found this record; None from memory.

    `without_list` is what the program makes of it by all but its list of taught titles.
    """

    question: Question
    answer: SavedAnswer
    verdict: Verdict
    scores: AnswerScores
    right_record: bool | None
    without_list: Taught | None = None

    @property
    def refused_by_program(self) -> bool:
        """Whether the model said no, or the program, which has a list of taught titles."""
        return self.verdict is Verdict.REFUSED or self.answer.taught is Taught.NOT_TAUGHT

    @property
    def refused_without_list(self) -> bool:
        """Whether the model said no, or its first tokens were too improbable."""
        return self.verdict is Verdict.REFUSED or self.without_list is Taught.NOT_TAUGHT

    @property
    def is_right(self) -> bool:
        """Whether it is the whole record or a beginning of it."""
        return self.scores.word_for_word or self.scores.cut_off


def score_answer(
    question: Question, answer: SavedAnswer, mode: Mode, calibration: Calibration | None = None
) -> ScoredAnswer:
    """Score an answer; refusals and lists of products score nothing."""
    verdict = _verdict(answer, question.record)
    answered = verdict is Verdict.ANSWERED
    is_cut = answer.stop_reason is not StopReason.COMPLETE
    scores = AnswerScores()
    if answered:
        scores = score_text(answer.text, question.record, cut=is_cut)
    right = answer.source.split() == question.record.split() if mode is Mode.GROUNDED else None
    likely = () if answer.logprob is None else (answer.logprob,)
    without = Witnesses(None, calibration).weigh(answer.text, likely)
    return ScoredAnswer(question, answer, verdict, scores, right, without)


def _verdict(answer: SavedAnswer, record: str) -> Verdict:
    if answer.error:
        return Verdict.FAILED
    if answer.by_counter:
        offers = answer.status is Status.SEVERAL and not is_only_close(answer.text)
        return Verdict.OFFERED if offers else Verdict.REFUSED
    # A record may contain “I don't have …” itself.
    unsupported = measure.support(answer.text, record) < measure.MIN_SUPPORT
    if unsupported and measure.is_refusal(answer.text):
        return Verdict.REFUSED
    return Verdict.ANSWERED
