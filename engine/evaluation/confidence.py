"""How sure a model is of what it says: calibrate its probabilities, measure risk and coverage.

Risk is the share of wrong answers among those that are given, coverage the share of the questions
about known products that are answered.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence

from msgspec import Struct

from engine.core.trained_products import Calibration
from engine.core.types import Taught
from engine.evaluation.metrics import ScoredAnswer, Verdict
from engine.evaluation.questions import Group
from engine.evaluation.statistics import ConfidenceInterval, wilson

_FALSE_REFUSALS = 0.01
"""Of right answers, the share that may be called not taught."""
RISK = 0.01
"""Of answers that are called learned, the share that may be wrong."""
LEAST = 20
"""Right answers, below which nothing is calibrated."""
_MARGIN = 3
"""How much less likely than the least likely right answer may be, where nothing wrong was said."""
_POINTS = 50


def calibrate(right: Sequence[float], wrong: Sequence[float]) -> Calibration | None:
    """Find the thresholds for answers of such mean log-probabilities; None with too few.

    `wrong` answers are those about unknown products, and wrong ones about known products; a no is
    in neither.
    """
    if len(right) < LEAST:
        return None
    right, wrong = sorted(right), sorted(wrong)
    lowest = right[int(_FALSE_REFUSALS * len(right))]
    # In the middle of the gap below, so that answers a little less sure are not lost.
    below = max([one for one in wrong if one < lowest] + [_MARGIN * lowest])
    learned = next((one for one in right if _risk(one, right, wrong) <= RISK), None)
    return Calibration(learned, (lowest + below) / 2, len(right), len(wrong))


def _risk(threshold: float, right: Sequence[float], wrong: Sequence[float]) -> float:
    """Return the share of wrong answers among those from a threshold on; both are sorted."""
    good, bad = (len(some) - bisect_left(some, threshold) for some in (right, wrong))
    return bad / (good + bad)


class RiskPoint(Struct, frozen=True):
    """The answers that are given from a probability on: `wrong` is their risk.

    `logprob` is the mean logarithm of the first tokens' probabilities, None for all answers.
    """

    coverage: ConfidenceInterval | None
    wrong: ConfidenceInterval | None
    logprob: float | None = None


class Risk(Struct, frozen=True):
    """What an engine says from memory, and how much of it is wrong.

    `policies` are those of the model alone, of the program without its list of taught titles and
    with, and of what the program calls learned. `curves` have the risk of the model alone, and of
    the program with its list, if only more and more probable answers are given.
    """

    policies: dict[str, RiskPoint]
    curves: dict[str, list[RiskPoint]] = {}


def measure_risk(scored: Sequence[ScoredAnswer]) -> Risk | None:
    """Measure the risk of a target's answers from memory; None without a known product."""
    good = [one for one in scored if one.verdict is not Verdict.FAILED]
    if not any(map(_is_known, good)):
        return None
    policies: dict[str, Callable[[ScoredAnswer], bool]] = {"model": _is_said}
    if any(one.without_list for one in good):
        policies["without_list"] = lambda one: _is_said(one) and not one.refused_without_list
    if any(one.answer.taught for one in good):
        policies["program"] = lambda one: _is_said(one) and not one.refused_by_program
        policies["learned"] = lambda one: _is_said(one) and one.answer.taught is Taught.LEARNED
    curved = [name for name in ("model", "program") if name in policies]
    return Risk(
        {name: _point(good, says) for name, says in policies.items()},
        {name: curve for name in curved if (curve := _curve(good, policies[name]))},
    )


def _is_known(one: ScoredAnswer) -> bool:
    return one.question.group in (Group.TRAINED, Group.REWORDED)


def _is_said(one: ScoredAnswer) -> bool:
    return one.verdict is Verdict.ANSWERED


def _point(
    good: Sequence[ScoredAnswer],
    says: Callable[[ScoredAnswer], bool],
    logprob: float | None = None,
) -> RiskPoint:
    coverage = wilson([says(one) for one in good if _is_known(one)])
    return RiskPoint(coverage, wilson([not one.is_right for one in good if says(one)]), logprob)


def _curve(good: Sequence[ScoredAnswer], says: Callable[[ScoredAnswer], bool]) -> list[RiskPoint]:
    """Return points from the fewest answers to all; empty without probabilities."""
    likely = sorted(
        {one.answer.logprob for one in good if one.answer.logprob is not None and says(one)}
    )

    def from_on(threshold: float) -> Callable[[ScoredAnswer], bool]:
        return lambda one: says(one) and (one.answer.logprob or 0.0) >= threshold

    step = max(1, len(likely) // _POINTS)
    return [_point(good, from_on(one), one) for one in reversed(likely[::step])]
