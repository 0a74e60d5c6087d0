"""Summarize scored answers: means with confidence intervals, differences, speed."""

from collections import Counter
from collections.abc import Callable, Sequence
from math import sqrt
from typing import NamedTuple

from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import replace

from engine.core.types import Mode
from engine.evaluation.ask import Target
from engine.evaluation.metrics import ScoredAnswer, Verdict
from engine.evaluation.questions import Group

RESAMPLES = 2000
BINS = 10
"""Bars of the ROUGE-L histogram from 0 to 1."""
_PERCENTILES = (2.5, 97.5)
_Z = 1.959963984540054
"""The 97.5th percentile of the normal distribution."""
_MAX_CELLS = 2_000_000
"""Random numbers drawn at once, which limits the memory."""


class ConfidenceInterval(NamedTuple):
    """The mean of `number` values with its 95 % confidence interval."""

    mean: float
    low: float
    high: float
    number: int


def bootstrap(values: Sequence[float], seed: int = 0) -> ConfidenceInterval | None:
    """Compute the mean and its percentile bootstrap interval (Efron 1979); None without values."""
    if not values:
        return None
    import numpy as np

    data = np.asarray(values, dtype=float)
    random = np.random.default_rng(seed)
    batch = max(1, _MAX_CELLS // len(data))
    means = [
        data[random.integers(0, len(data), (min(batch, RESAMPLES - done), len(data)))].mean(1)
        for done in range(0, RESAMPLES, batch)
    ]
    low, high = np.percentile(np.concatenate(means), _PERCENTILES)
    return ConfidenceInterval(float(data.mean()), float(low), float(high), len(data))


def wilson(values: Sequence[bool]) -> ConfidenceInterval | None:
    """Compute the share of True and its Wilson score interval (1927); None without values."""
    # Twenty of twenty give 84 to 100 %, where a bootstrap would give 100 %.
    count = len(values)
    if not count:
        return None
    share = sum(values) / count
    centre = (share + _Z**2 / (2 * count)) / (1 + _Z**2 / count)
    margin = _Z * sqrt(share * (1 - share) / count + _Z**2 / (4 * count**2)) / (1 + _Z**2 / count)
    # Avoid 1e-17 where the interval ends at 0 or 1.
    low = 0.0 if share == 0 else centre - margin
    high = 1.0 if share == 1 else centre + margin
    return ConfidenceInterval(share, low, high, count)


class Rates(Struct, frozen=True):
    """How well a model tells unknown products by refusing them; None where nothing was refused.

    `precision` is the share of the refused that are unknown, `recall` the share of the unknown that
    are refused.
    """

    precision: ConfidenceInterval | None
    recall: ConfidenceInterval | None
    f1: ConfidenceInterval | None


def rates(refused: int, unknown: int, refused_known: int, known: int) -> Rates:
    """Rate refusals: of the unknown products so many were `refused`, of the known so many."""
    return Rates(
        wilson([True] * refused + [False] * refused_known),
        wilson([True] * refused + [False] * (unknown - refused)),
        _f1(refused, unknown, refused_known, known),
    )


def _f1(
    refused: int, unknown: int, refused_known: int, known: int, seed: int = 0
) -> ConfidenceInterval | None:
    """Compute F1 and its percentile bootstrap interval, known and unknown drawn apart."""
    if not unknown or not refused + refused_known:
        return None
    import numpy as np

    random = np.random.default_rng(seed)
    hits = random.binomial(unknown, refused / unknown, RESAMPLES)
    false = random.binomial(known, refused_known / known if known else 0.0, RESAMPLES)
    low, high = np.percentile(2 * hits / (hits + false + unknown), _PERCENTILES)
    mean = 2 * refused / (refused + refused_known + unknown)
    return ConfidenceInterval(mean, float(low), float(high), unknown + known)


class Figures(Struct, frozen=True, rename={"target": "asked"}):
    """The results of one target in one group; failed answers are only counted.

    None means not applicable: record scores for invented titles, `right_record` from memory.
    `invented_sentences` is the mean share per answer, over the answers with sentences.
    """

    target: str
    group: Group
    questions: int
    failed: int
    answered: ConfidenceInterval | None = None
    refused: ConfidenceInterval | None = None
    offered: ConfidenceInterval | None = None
    right_record: ConfidenceInterval | None = None
    word_for_word: ConfidenceInterval | None = None
    cut_off: ConfidenceInterval | None = None
    rouge_l: ConfidenceInterval | None = None
    rouge_l_precision: ConfidenceInterval | None = None
    rouge_l_recall: ConfidenceInterval | None = None
    chrf: ConfidenceInterval | None = None
    fidelity: ConfidenceInterval | None = None
    invented_sentences: ConfidenceInterval | None = None
    distribution: list[int] = []
    coverage: ConfidenceInterval | None = None
    with_slips: ConfidenceInterval | None = None
    refused_by_program: ConfidenceInterval | UnsetType = UNSET
    refused_without_list: ConfidenceInterval | UnsetType = UNSET


class Difference(Struct, frozen=True, rename={"target": "asked"}):
    """How much a target is better than the first one, on questions that both answered."""

    target: str
    group: Group
    word_for_word: ConfidenceInterval | None
    rouge_l: ConfidenceInterval | None
    fidelity: ConfidenceInterval | None
    coverage: ConfidenceInterval | None = None


class Speed(Struct, frozen=True, rename={"target": "asked"}):
    """Milliseconds and tokens per second of the answers from a model; None without any."""

    target: str
    answers: int
    first_token_median: float | None
    total_median: float | None
    total_p95: float | None
    tokens_per_second: float | None


def summarize(target: Target, group: Group, answers: Sequence[ScoredAnswer]) -> Figures:
    """Compute the figures of a target's answers in a group."""
    good = [one for one in answers if one.verdict is not Verdict.FAILED]
    counts = Figures(
        target.key,
        group,
        len(answers),
        len(answers) - len(good),
        answered=wilson([one.verdict is Verdict.ANSWERED for one in good]),
        refused=wilson([one.verdict is Verdict.REFUSED for one in good]),
        offered=wilson([one.verdict is Verdict.OFFERED for one in good]),
        refused_by_program=_by_program(good),
        refused_without_list=_without_list(good),
    )
    if not group.has_record:
        return counts
    grounded = target.mode is Mode.GROUNDED
    scores = [one.scores for one in good]
    return replace(
        counts,
        right_record=wilson([bool(one.right_record) for one in good]) if grounded else None,
        word_for_word=wilson([one.word_for_word for one in scores]),
        cut_off=wilson([one.cut_off for one in scores]),
        rouge_l=bootstrap([one.rouge_l.f1 for one in scores]),
        rouge_l_precision=bootstrap([one.rouge_l.precision for one in scores]),
        rouge_l_recall=bootstrap([one.rouge_l.recall for one in scores]),
        chrf=bootstrap([one.chrf for one in scores]),
        fidelity=bootstrap([one.fidelity for one in scores]),
        invented_sentences=bootstrap(
            [one.invented / one.sentences for one in scores if one.sentences]
        ),
        coverage=bootstrap([one.coverage or 0.0 for one in scores]),
        with_slips=wilson([one.slips > 0 for one in scores]),
        distribution=_histogram([one.rouge_l.f1 for one in scores]),
    )


def _by_program(good: Sequence[ScoredAnswer]) -> ConfidenceInterval | UnsetType:
    has_list = any(one.answer.taught for one in good)
    return (wilson([one.refused_by_program for one in good]) if has_list else None) or UNSET


def _without_list(good: Sequence[ScoredAnswer]) -> ConfidenceInterval | UnsetType:
    is_calibrated = any(one.without_list for one in good)
    return (wilson([one.refused_without_list for one in good]) if is_calibrated else None) or UNSET


def rate_refusals(scored: Sequence[ScoredAnswer]) -> dict[str, Rates]:
    """Rate how what was not trained is refused: by the model alone, and by the program."""
    good = [one for one in scored if one.verdict is not Verdict.FAILED]
    is_known = [one.question.group in (Group.TRAINED, Group.REWORDED) for one in good]
    if all(is_known) or not any(is_known):
        return {}
    found = {"model": _rate([one.verdict is Verdict.REFUSED for one in good], is_known)}
    if any(one.without_list for one in good):
        found["without_list"] = _rate([one.refused_without_list for one in good], is_known)
    if any(one.answer.taught for one in good):
        found["program"] = _rate([one.refused_by_program for one in good], is_known)
    return found


def _rate(refused: Sequence[bool], is_known: Sequence[bool]) -> Rates:
    known = [one for one, knows in zip(refused, is_known, strict=True) if knows]
    unknown = [one for one, knows in zip(refused, is_known, strict=True) if not knows]
    return rates(sum(unknown), len(unknown), sum(known), len(known))


def compare(
    target: str, first: Sequence[ScoredAnswer], other: Sequence[ScoredAnswer]
) -> Difference | None:
    """Compute `other` minus `first` question by question; None without common questions."""
    before = {one.question.id: one for one in first if one.verdict is not Verdict.FAILED}
    after = [one for one in other if one.verdict is not Verdict.FAILED]
    pairs = [(before[one.question.id], one) for one in after if one.question.id in before]
    if not pairs:
        return None

    def difference(measure: Callable[[ScoredAnswer], float]) -> ConfidenceInterval | None:
        return bootstrap([measure(new) - measure(old) for old, new in pairs])

    return Difference(
        target,
        pairs[0][1].question.group,
        word_for_word=difference(lambda one: float(one.scores.word_for_word)),
        rouge_l=difference(lambda one: one.scores.rouge_l.f1),
        fidelity=difference(lambda one: one.scores.fidelity),
        coverage=difference(lambda one: one.scores.coverage or 0.0),
    )


def measure_speed(target: str, scored: Sequence[ScoredAnswer]) -> Speed:
    """Compute how fast a target's model answered."""
    good = [one.answer for one in scored if one.verdict is not Verdict.FAILED]
    answers = [answer for answer in good if not answer.by_counter]
    streamed = [
        (one.tokens.completion, one.timing.total - one.timing.first_token + one.thinking_ms)
        for one in answers
        if one.tokens and one.tokens.completion > 1
    ]
    seconds = sum(spent for _, spent in streamed) / 1000
    totals = [one.timing.total for one in answers]
    return Speed(
        target,
        len(answers),
        first_token_median=_quantile([one.timing.first_token for one in answers], 0.5),
        total_median=_quantile(totals, 0.5),
        total_p95=_quantile(totals, 0.95),
        tokens_per_second=sum(tokens for tokens, _ in streamed) / seconds if seconds > 0 else None,
    )


def _histogram(values: Sequence[float]) -> list[int]:
    counts = Counter(min(int(value * BINS), BINS - 1) for value in values)
    return [counts[place] for place in range(BINS)]


def _quantile(values: Sequence[float], share: float) -> float | None:
    """Return the value of the nearest rank."""
    if not values:
        return None
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]
