"""The braille curve: size, labels, shape."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from engine.training.runs.display import curve

losses = some.lists(
    some.floats(0, 1e6, allow_nan=False, allow_infinity=False), min_size=1, max_size=400
)


@given(losses, some.integers(1, 200), some.integers(1, 40))
def test_it_keeps_to_its_size(values: list[float], width: int, height: int) -> None:
    lines = curve(list(enumerate(values)), width, height)
    assert len(lines) == max(height, 2)
    assert max(map(len, lines)) <= max(width, 16)


def test_it_falls_as_the_loss_does() -> None:
    lines = curve([(step, 10 - step) for step in range(1, 10)], 30, 6)
    assert lines[0].startswith(" 9.000 ┤")
    assert lines[-2].startswith(" 1.000 ┤")
    assert lines[-1].split() == ["1", "9"]
    drawn = [line[8:] for line in lines[:-1]]
    lefts = [len(line) - len(line.lstrip(" ")) for line in drawn]
    assert lefts == sorted(lefts)
    assert lefts[0] == 0
    assert len(drawn[-1]) == 22


def test_what_is_far_apart_is_on_a_log_scale() -> None:
    points = [(step, 10.0**-step) for step in range(6)]
    assert "log scale" in curve(points, 40, 8)[-1]
    assert "log scale" not in curve([(0, 1.0), (1, 0.5)], 40, 8)[-1]


@pytest.mark.parametrize(
    ("value", "figure"), [(0.0, "0.000"), (12.5, "12.50"), (1234.0, "1234"), (2e-5, "2e-05")]
)
def test_figures_are_short(value: float, figure: str) -> None:
    assert curve([(1, value)], 30, 3)[0].split(" ┤")[0].strip() == figure


def test_without_points_it_is_empty() -> None:
    assert curve([], 80, 24) == []
