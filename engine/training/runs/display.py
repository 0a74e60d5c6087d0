"""What is said about a run, in `balcao runs` and in the chat's Runs screen."""

from __future__ import annotations

import math
from collections.abc import Sequence

from engine.core.i18n import tr, tr_of
from engine.core.text import one_line
from engine.training.runs.status import scores_text
from engine.training.runs.view import MetricsReader, RunView

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


_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_ERROR_WIDTH = 300


def runs_table(views: Sequence[RunView]) -> list[str]:
    """The headings, and a line for each run, in columns.

    EXACT is how many training and how many held-out titles the last sample had word for word.
    """
    rows = [_headings(), *map(_columns, views)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    ]


def _headings() -> tuple[str, ...]:
    names = (
        tr("run"),
        tr("state"),
        tr("step"),
        tr("loss"),
        tr("exact"),
        tr_of("run", "left"),
        tr("age"),
    )
    return tuple(name.upper() for name in names)


def _state(view: RunView) -> str:
    """In one word."""
    return {
        "starting": tr("starting"),
        "scoring": tr("scoring"),
        "running": tr_of("run", "running"),
        "done": tr_of("run", "done"),
        "stopped": tr_of("run", "stopped"),
        "failed": tr_of("run", "failed"),
        "killed": tr_of("run", "killed"),
    }[view.doing if view.doing in ("starting", "scoring") else view.state]


def _columns(view: RunView) -> tuple[str, ...]:
    scores = (view.word_for_word.get(name) for name in ("training", "held_out"))
    return (
        one_line(view.name, 24),
        _state(view),
        f"{view.step}/{view.steps}" if view.steps else "",
        "" if view.loss is None else f"{view.loss:.4f}",
        " ".join(f"{one.right}/{one.asked}" for one in scores if one is not None),
        "" if view.left is None else span(view.left),
        tr("now") if view.state == "running" else span(view.age),
    )


def summary(view: RunView) -> str:
    """A run in one line: what it is at, and how far."""
    parts = [tr("asking what it has learned") if view.doing == "scoring" else _state(view)]
    if view.steps:
        parts.append(tr("step {step:,} of {steps:,}", step=view.step, steps=view.steps))
    if view.loss is not None:
        parts.append(tr("loss {loss:.4f}", loss=view.loss))
    if view.left is not None:
        parts.append(tr("{span} left", span=span(view.left)))
    if view.state == "failed" and view.error:
        parts.append(one_line(view.error, _ERROR_WIDTH))
    return ", ".join(parts)


def score_line(view: RunView) -> str:
    """What the last sample, or the end of the run, gave; empty before the first."""
    return (
        tr("{score_words} word for word", score_words=scores_text(view.word_for_word))
        if view.word_for_word
        else ""
    )


def next_step(view: RunView) -> str:
    """What can be done with a run that does not train."""
    return {
        "running": "",
        "done": "",
        "stopped": tr("--resume goes on from its last checkpoint."),
        "failed": tr("Mend what is said above; --resume goes on from its last checkpoint."),
        "killed": tr(
            "It was killed, by somebody or by the system when memory was full;"
            " --resume goes on from its last checkpoint."
        ),
    }[view.state]


def sample_lines(metrics: MetricsReader) -> list[str]:
    """What the last sample gave, a line for each title."""
    if not metrics.samples:
        return []
    lines = [tr("asked at step {asked_at:,}:", asked_at=metrics.sampled_at)]
    for rows in metrics.samples.values():
        lines += [
            f"{'✓' if one.right else '✗'} {one_line(one.question)} {one_line(one.said)}"
            for one in rows
        ]
    return lines


def span(seconds: float) -> str:
    """A length of time, short: `40 s`, `12 min`, `3 h 5 min`, `2 d`."""
    if seconds < _MINUTE:
        return f"{seconds:.0f} s"
    if seconds < _HOUR:
        return tr("{seconds:.0f} min", seconds=seconds // _MINUTE)
    if seconds < _DAY:
        return tr(
            "{seconds:.0f} h {seconds2:.0f} min",
            seconds=seconds // _HOUR,
            seconds2=seconds % _HOUR // _MINUTE,
        )
    return f"{seconds // _DAY:.0f} d"
