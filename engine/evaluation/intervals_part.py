"""95 % confidence intervals: bootstrap for means, Wilson for shares of yes and no."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import NamedTuple

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
