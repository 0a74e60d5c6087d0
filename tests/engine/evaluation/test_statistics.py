"""Confidence intervals against published values."""

from __future__ import annotations

import random
import statistics

import pytest

from engine.evaluation.statistics import bootstrap, wilson


@pytest.mark.parametrize(
    ("yes", "count", "low", "high"),
    [
        # Newcombe (1998), "Two-sided confidence intervals for the single proportion", table I.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (20, 20, 1 - 0.1611, 1.0),
    ],
)
def test_wilson_published(yes: int, count: int, low: float, high: float) -> None:
    found = wilson([True] * yes + [False] * (count - yes))
    assert found is not None
    assert found.mean == yes / count
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)


def test_bootstrap_of_a_normal_sample_is_near_the_textbook_interval() -> None:
    rng = random.Random(1)  # noqa: S311 - repeatable
    values = [rng.gauss(0.5, 0.1) for _ in range(400)]
    found = bootstrap(values)
    assert found is not None
    reach = 1.96 * statistics.stdev(values) / 20
    assert found.mean == pytest.approx(statistics.mean(values))
    assert found.low == pytest.approx(found.mean - reach, abs=0.0015)
    assert found.high == pytest.approx(found.mean + reach, abs=0.0015)
    assert found.number == 400


def test_the_same_seed_gives_the_same_interval() -> None:
    values = [0.1, 0.7, 0.4, 1.0, 0.0, 0.3]
    assert bootstrap(values, seed=1) == bootstrap(values, seed=1) != bootstrap(values, seed=2)


def test_equal_values_and_no_values() -> None:
    assert bootstrap([0.25] * 7) == (0.25, 0.25, 0.25, 7)
    assert bootstrap([]) is None
    assert wilson([]) is None


def test_many_values_need_little_memory() -> None:
    found = bootstrap([float(number % 2) for number in range(40_000)])
    assert found is not None
    assert 0.49 < found.low < found.mean < found.high < 0.51
