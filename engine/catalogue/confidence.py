"""The limits of decisions, and how likely the first of some ranked records is the one meant.

`benchmarks/catalogue_described.py` fits the weights and prints what each limit would let through.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from engine.catalogue.rank import Ranked


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The limits of `Decider`, set with `benchmarks/catalogue_calibrate.py`; shares are by weight.

    Content words are all tokens but stop words.
    """

    title_words: float = 0.5
    """The smallest share of a title's tokens, by number, that a question must match."""
    title_share: float = 0.35
    """The smallest share of a title's weight that a question must match."""
    single_words: float = 0.6
    """Replaces `title_words` if only one content word of the question matches."""
    edited_words: float = 0.6
    """Replaces `title_words` if a match has edits."""
    rival: float = 0.6
    """A title with all content words of the question is a rival from this share of the best."""
    edit_share: float = 0.34
    """The most edits, as a share of the letters of the question's content words."""
    listed: float = 0.2
    """The smallest coverage of the best record of a list."""
    few_listed: float = 0.6
    """Replaces `listed` for a question of fewer than `body_words` content words."""
    list_share: float = 0.6
    """The smallest share of the best record's points for a record to be listed with it."""
    body_likely: float = 0.85
    """The coverage from which a described product may be likely."""
    body_lead: float = 0.2
    """The lead over the next record that a likely one needs."""
    all_words: float = 0.89
    """The coverage from which a record has all words of a question, perhaps in other forms."""
    body_words: int = 4
    """The content words from which a description alone can decide; fewer must be in a title."""
    named_share: float = 0.5
    """The share of a question's content words in a title from which the question names a title."""
    nearest_score: float = 0.35
    """The smallest score of a title that is offered as nearest."""


DEFAULT = Thresholds()

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
_LISTED, _LISTED_IF_NAMED = 0.2, 0.3
_NAMING = re.compile(r"\w\W+[A-ZÀ-Þ]\w.*\W[A-ZÀ-Þ]\w")
"""Two words with capitals, besides the first word of a question."""


def single_limit(products: int) -> float:
    """Return the smallest probability for an answer with one product of so many."""
    if products <= _SINGLE[0][0]:
        return _SINGLE[0][1]
    for (fewer, low), (more, high) in itertools.pairwise(_SINGLE):
        if products <= more:
            return low + (high - low) * math.log(products / fewer, more / fewer)
    return _SINGLE[-1][1]


def list_limit(question: str) -> float:
    """Return the smallest probability for a list: larger if the question seems to name a title."""
    return _LISTED_IF_NAMED if _NAMING.search(question) else _LISTED


def figures(ranked: Sequence[Ranked], words: int) -> tuple[float, float, float, float]:
    """Return coverage, cosine, lead over all others, and the share of words of a question."""
    best = ranked[0]
    lead = max(best.points - max((one.points for one in ranked[1:]), default=0.0), 0.0)
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
