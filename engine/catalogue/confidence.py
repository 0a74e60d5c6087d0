"""Estimate how likely it is that the first of some ranked records is the one that is meant.

`benchmarks/catalogue_described.py` fits the weights and prints what each limit would let through.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from engine.catalogue.rank import Ranked

_MOST_WORDS = 8
"""More words than these say no more about what is meant."""


@dataclass(frozen=True, slots=True)
class Weights:
    """A logistic regression over the figures of the best record."""

    bias: float
    coverage: float
    cosine: float
    lead: float
    words: float


@dataclass(frozen=True, slots=True)
class Limits:
    """The smallest probabilities for an answer with one product, and for a list."""

    single: float
    listed: float


MEANT = Weights(bias=-5.97, coverage=1.2, cosine=3.4, lead=2.7, words=5.3)
"""The first record is the one that is meant."""
AMONG = Weights(bias=-4.8, coverage=2.7, cosine=10.4, lead=0.0, words=3.0)
"""One of the first ten records fits."""
# Fitted at 784 and 10,721 products; those of larger catalogues are extrapolated.
_LIMITS = ((20_000, Limits(0.88, 0.4)), (1_000_000, Limits(0.92, 0.4)))
_LARGEST = Limits(0.95, 0.4)


def limits_for(products: int) -> Limits:
    """Return the limits for a catalogue of so many products."""
    return next((limits for most, limits in _LIMITS if products <= most), _LARGEST)


def figures(ranked: Sequence[Ranked], words: int) -> tuple[float, float, float, float]:
    """Return coverage, cosine, lead over the next record, and the share of words of a question."""
    best = ranked[0]
    lead = best.points - ranked[1].points if len(ranked) > 1 else best.points
    return best.coverage, best.cosine, lead, min(words, _MOST_WORDS) / _MOST_WORDS


def probability(weights: Weights, ranked: Sequence[Ranked], words: int) -> float:
    """Estimate a probability from the figures of `ranked` for a question of so many words."""
    coverage, cosine, lead, share = figures(ranked, words)
    total = (
        weights.bias
        + weights.coverage * coverage
        + weights.cosine * cosine
        + weights.lead * lead
        + weights.words * share
    )
    return 1 / (1 + math.exp(-total))
