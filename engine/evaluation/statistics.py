"""The figures of a report: for everyone asked, in each group, with confidence intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import sqrt
from typing import NamedTuple

from msgspec import Struct

from engine.core.types import Mode
from engine.evaluation.ask import Asked
from engine.evaluation.metrics import Judged, Outcome
from engine.evaluation.questions import Group

RESAMPLES = 2000
_LOW, _HIGH = 2.5, 97.5
"""Percentiles."""
_Z = 1.959963984540054
"""The normal distribution's 97.5th percentile."""
_CELLS = 2_000_000
"""Numbers drawn at once: what bounds the memory."""


class Estimate(NamedTuple):
    """A mean with its 95 % confidence interval; `number` of values."""

    mean: float
    low: float
    high: float
    number: int


def bootstrap(values: Sequence[float], seed: int = 0) -> Estimate | None:
    """The mean, with the percentile bootstrap's interval (Efron 1979); None for no values.

    2,000 resamples. The same values and seed give the same interval.
    """
    if not values:
        return None
    import numpy as np

    data = np.asarray(values, dtype=float)
    random = np.random.default_rng(seed)
    at_once = max(1, _CELLS // len(data))
    means = [
        data[random.integers(0, len(data), (min(at_once, RESAMPLES - done), len(data)))].mean(1)
        for done in range(0, RESAMPLES, at_once)
    ]
    low, high = np.percentile(np.concatenate(means), [_LOW, _HIGH])
    return Estimate(float(data.mean()), float(low), float(high), len(data))


def wilson(values: Sequence[bool]) -> Estimate | None:
    """The share of True, with Wilson's score interval (1927); None for no values.

    A bootstrap of twenty times yes is sure of 100 %; this says 84 to 100.
    """
    count = len(values)
    if not count:
        return None
    share = sum(values) / count
    middle = (share + _Z**2 / (2 * count)) / (1 + _Z**2 / count)
    reach = _Z * sqrt(share * (1 - share) / count + _Z**2 / (4 * count**2)) / (1 + _Z**2 / count)
    # Rounding leaves 1e-17 where the interval ends at 0 or 1.
    low = 0.0 if share == 0 else middle - reach
    high = 1.0 if share == 1 else middle + reach
    return Estimate(share, low, high, count)


BINS = 10
"""Of the distribution of ROUGE-L, 0 to 1; 1 itself is in the last."""


class Figures(Struct, frozen=True):
    """One engine's figures in one group. Failed answers are counted and left out of the rest.

    All but the counts are None where there is nothing to measure: the record's measures for
    invented titles, `right_record` from memory. `invented_sentences` is the mean share of an
    answer's sentences, over the answers that have one.
    """

    asked: str
    group: Group
    questions: int
    failed: int
    answered: Estimate | None = None
    refused: Estimate | None = None
    offered: Estimate | None = None
    right_record: Estimate | None = None
    word_for_word: Estimate | None = None
    cut_off: Estimate | None = None
    rouge_l: Estimate | None = None
    rouge_l_precision: Estimate | None = None
    rouge_l_recall: Estimate | None = None
    chrf: Estimate | None = None
    fidelity: Estimate | None = None
    invented_sentences: Estimate | None = None
    distribution: list[int] = []


class Difference(Struct, frozen=True):
    """How much better than the first engine, on the questions that both answered."""

    asked: str
    group: Group
    word_for_word: Estimate | None
    rouge_l: Estimate | None
    fidelity: Estimate | None


class Speed(Struct, frozen=True):
    """Milliseconds, and tokens a second, of the answers that a model gave; None if none did."""

    asked: str
    answers: int
    first_token_median: float | None
    total_median: float | None
    total_p95: float | None
    tokens_per_second: float | None


def figures(asked: Asked, group: Group, judged: Sequence[Judged]) -> Figures:
    """The figures of `judged`, which are all of one engine and group."""
    good = [one for one in judged if one.outcome is not Outcome.FAILED]
    counts = Figures(
        asked.key,
        group,
        len(judged),
        len(judged) - len(good),
        answered=_share(good, Outcome.ANSWERED),
        refused=_share(good, Outcome.REFUSED),
        offered=_share(good, Outcome.OFFERED),
    )
    if group is Group.INVENTED:
        return counts
    return _with_record(counts, good, grounded=asked.mode is Mode.GROUNDED)


def difference(asked: str, first: Sequence[Judged], other: Sequence[Judged]) -> Difference | None:
    """`other` less `first`, question by question; None where they share none."""
    before = {one.question.id: one for one in first if one.outcome is not Outcome.FAILED}
    after = [one for one in other if one.outcome is not Outcome.FAILED]
    pairs = [(before[one.question.id], one) for one in after if one.question.id in before]
    if not pairs:
        return None

    def of(measure: Callable[[Judged], float]) -> Estimate | None:
        return bootstrap([measure(new) - measure(old) for old, new in pairs])

    return Difference(
        asked,
        pairs[0][1].question.group,
        word_for_word=of(lambda one: float(one.scores.word_for_word)),
        rouge_l=of(lambda one: one.scores.rouge_l.f1),
        fidelity=of(lambda one: one.scores.fidelity),
    )


def speed(asked: str, judged: Sequence[Judged]) -> Speed:
    """How fast the answers came, the counter's own left out."""
    given = [
        one.given
        for one in judged
        if one.outcome is not Outcome.FAILED and not one.given.by_counter
    ]
    counted = [
        (one.tokens.completion, one.timing.total - one.timing.first_token)
        for one in given
        if one.tokens and one.tokens.completion > 1
    ]
    seconds = sum(spent for _, spent in counted) / 1000
    return Speed(
        asked,
        len(given),
        first_token_median=_quantile([one.timing.first_token for one in given], 0.5),
        total_median=_quantile([one.timing.total for one in given], 0.5),
        total_p95=_quantile([one.timing.total for one in given], 0.95),
        tokens_per_second=sum(tokens for tokens, _ in counted) / seconds if seconds > 0 else None,
    )


def _with_record(counts: Figures, good: Sequence[Judged], *, grounded: bool) -> Figures:
    scores = [one.scores for one in good]
    with_sentences = [one for one in scores if one.sentences]
    return Figures(
        counts.asked,
        counts.group,
        counts.questions,
        counts.failed,
        answered=counts.answered,
        refused=counts.refused,
        offered=counts.offered,
        right_record=wilson([bool(one.right_record) for one in good]) if grounded else None,
        word_for_word=wilson([one.word_for_word for one in scores]),
        cut_off=wilson([one.cut_off for one in scores]),
        rouge_l=bootstrap([one.rouge_l.f1 for one in scores]),
        rouge_l_precision=bootstrap([one.rouge_l.precision for one in scores]),
        rouge_l_recall=bootstrap([one.rouge_l.recall for one in scores]),
        chrf=bootstrap([one.chrf for one in scores]),
        fidelity=bootstrap([one.fidelity for one in scores]),
        invented_sentences=bootstrap([one.invented / one.sentences for one in with_sentences]),
        distribution=_distribution([one.rouge_l.f1 for one in scores]),
    )


def _share(judged: Sequence[Judged], outcome: Outcome) -> Estimate | None:
    return wilson([one.outcome is outcome for one in judged])


def _distribution(values: Sequence[float]) -> list[int]:
    counts = [0] * BINS
    for value in values:
        counts[min(int(value * BINS), BINS - 1)] += 1
    return counts


def _quantile(values: Sequence[float], share: float) -> float | None:
    """The value below which `share` of them lie: the nearest rank."""
    if not values:
        return None
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]
