"""Thresholds of probabilities keep what an adapter knows, and let little else through."""

from __future__ import annotations

from random import Random

from engine.evaluation.confidence import LEAST, calibrate


def test_with_too_few_right_answers_nothing_is_calibrated() -> None:
    assert calibrate([-0.1] * (LEAST - 1), [-2.0] * 50) is None
    assert calibrate([], []) is None


def test_a_gap_is_cut_between_the_two_kinds() -> None:
    right, wrong = [-0.01, -0.2] * LEAST, [-0.4, -3.0]
    found = calibrate(right, wrong)
    assert found is not None
    assert -0.4 < found.not_taught < -0.2
    assert (found.learned, found.right, found.wrong) == (-0.2, 2 * LEAST, 2)


def test_without_a_wrong_answer_near_the_margin_is_small() -> None:
    for wrong in ([], [-9.0]):
        found = calibrate([-0.1] * LEAST, wrong)
        assert found is not None
        assert -0.3 < found.not_taught < -0.1


def test_answers_as_likely_as_wrong_ones_are_not_learned() -> None:
    found = calibrate([-0.2] * 50 + [-0.01] * 50, [-0.1] * 10)
    assert found is not None
    assert found.learned == -0.01
    assert found.not_taught < -0.2
    hopeless = calibrate([-0.2] * 50, [-0.1] * 10)
    assert hopeless is not None
    assert hopeless.learned is None


def test_few_right_answers_fall_below_the_threshold_of_others() -> None:
    random = Random(3)  # noqa: S311 - repeatable
    right = [-abs(random.gauss(0.05, 0.05)) for _ in range(400)]
    wrong = [-abs(random.gauss(1.0, 0.3)) for _ in range(400)]
    found = calibrate(right[:200], wrong[:200])
    assert found is not None
    assert sum(one < found.not_taught for one in right[200:]) <= 6
    assert sum(one >= found.not_taught for one in wrong[200:]) <= 6
