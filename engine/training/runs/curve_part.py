"""A curve drawn in braille, as lines of text: for a terminal and for the chat.

Own code: plotext keeps one figure for the whole process and changed its calls in 6.0, and all that
is wanted of it is one line in one colour.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

_BRAILLE = 0x2800
# The bit of each dot of a cell, by its row from the top and its column.
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
_ROWS, _COLUMNS = 4, 2
_LABEL = 8
"""Columns of the figures on the left, with the line after them."""
_LEAST = 8
_SCALE = "log scale"
_FAR = 50
"""The highest value over the lowest, from which a linear scale hides half of the curve."""


def curve(points: Sequence[tuple[float, float]], width: int, height: int) -> list[str]:
    """`points` (x ascending, y finite) as `height` lines of at most `width` columns.

    The highest and the lowest value stand on the left, the first and the last x below. Several
    points that fall into one column of dots are drawn as their mean. Values that are far apart are
    drawn on a logarithmic scale, which is said.
    """
    across, down = max(width - _LABEL, _LEAST), max(height - 1, 1)
    if not points:
        return []
    columns = _means(points, across * _COLUMNS)
    values = [value for value in columns if value is not None]
    low, high = min(values), max(values)
    logarithmic = low > 0 and high / low >= _FAR
    height_of = math.log if logarithmic else float
    heights = [None if value is None else height_of(value) for value in columns]
    cells = _cells(heights, height_of(low), height_of(high), across, down)
    lines = [f"{'':{_LABEL - 2}} │{''.join(row)}" for row in cells]
    lines[0] = f"{_figure(high):>{_LABEL - 2}} ┤{''.join(cells[0])}"
    if down > 1:
        lines[-1] = f"{_figure(low):>{_LABEL - 2}} ┤{''.join(cells[-1])}"
    first, last = f"{points[0][0]:,g}", f"{points[-1][0]:,g}"
    room = max(across - len(first) - len(last), 0)
    scale = _SCALE if logarithmic and room > len(_SCALE) else ""
    return [*lines, f"{'':{_LABEL}}{first}{scale:^{room}}{last}"]


def _means(points: Sequence[tuple[float, float]], columns: int) -> list[float | None]:
    """The mean value in each column; None where there is none."""
    begin, span = points[0][0], points[-1][0] - points[0][0]
    sums, counts = [0.0] * columns, [0] * columns
    for place, value in points:
        column = round((place - begin) / span * (columns - 1)) if span else 0
        sums[column] += value
        counts[column] += 1
    return [total / count if count else None for total, count in zip(sums, counts, strict=True)]


def _cells(
    columns: Sequence[float | None], low: float, high: float, across: int, down: int
) -> list[list[str]]:
    """The dots, and a line from each to the next."""
    bits = [[0] * across for _ in range(down)]
    top = down * _ROWS - 1
    before: tuple[int, int] | None = None
    for column, value in enumerate(columns):
        if value is None:
            continue
        row = round((high - value) / (high - low) * top) if high > low else top // 2
        for x, y in _between(before or (column, row), (column, row)):
            bits[y // _ROWS][x // _COLUMNS] |= _DOTS[y % _ROWS][x % _COLUMNS]
        before = (column, row)
    return [[chr(_BRAILLE + one) if one else " " for one in row] for row in bits]


def _between(start: tuple[int, int], end: tuple[int, int]) -> list[tuple[int, int]]:
    """The dots of a straight line."""
    steps = max(abs(end[0] - start[0]), abs(end[1] - start[1]), 1)
    return [
        (
            round(start[0] + (end[0] - start[0]) * turn / steps),
            round(start[1] + (end[1] - start[1]) * turn / steps),
        )
        for turn in range(steps + 1)
    ]


def _figure(value: float) -> str:
    """At most six characters."""
    if value and not 1e-3 <= abs(value) < 1e4:  # noqa: PLR2004 - what four digits show well
        return f"{value:.0e}"
    return f"{value:.{max(3 - int(math.log10(max(abs(value), 1))), 0)}f}"
