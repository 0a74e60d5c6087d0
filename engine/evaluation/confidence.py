"""How sure a model is of what it says: calibrate its probabilities.

Risk is the share of wrong answers among those that are given, coverage the share of the questions
about known products that are answered.
"""

from bisect import bisect_left
from collections.abc import Sequence

from engine.core.trained_products import Calibration

_FALSE_REFUSALS = 0.01
"""Of right answers, the share that may be called not taught."""
RISK = 0.01
"""Of answers that are called learned, the share that may be wrong."""
LEAST = 20
"""Right answers, below which nothing is calibrated."""
_MARGIN = 3
"""How much less likely than the least likely right answer may be, where nothing wrong was said."""


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
