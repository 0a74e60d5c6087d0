"""Estimate how likely it is that the first of some ranked records is the one that is meant.

`benchmarks/catalogue_described.py` fits the weights and prints what each limit would let through.
"""

from __future__ import annotations

import itertools
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


MEANT = Weights(bias=-6.2, coverage=1.1, cosine=2.8, lead=3.0, words=5.7)
"""The first record is the one that is meant."""
AMONG = Weights(bias=-5.1, coverage=4.1, cosine=5.8, lead=1.0, words=3.8)
"""One of the first ten records fits."""
# Fitted at the first three of these numbers of products together.
_SINGLE = ((784, 0.88), (20_000, 0.88), (200_000, 0.9), (2_250_000, 0.92))
LISTED = 0.35
"""The smallest probability for a list."""


def single_limit(products: int) -> float:
    """Return the smallest probability for an answer with one product of so many."""
    if products <= _SINGLE[0][0]:
        return _SINGLE[0][1]
    for (fewer, low), (more, high) in itertools.pairwise(_SINGLE):
        if products <= more:
            return low + (high - low) * math.log(products / fewer, more / fewer)
    return _SINGLE[-1][1]


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
