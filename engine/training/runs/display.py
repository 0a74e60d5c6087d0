"""Describe runs in text and draw their loss, for `balcao runs` and the chat's Runs screen."""

import math
from collections.abc import Iterator, Sequence

import msgspec

from engine.core.i18n import tr, tr_of
from engine.core.text import duration, last_part, one_line
from engine.training.runs.folder import RunInputs, resume_command
from engine.training.runs.status import check_text, scores_text
from engine.training.runs.view import MetricsReader, RunView

_ERROR_WIDTH = 300


def runs_table(views: Sequence[RunView]) -> list[str]:
    """Return the headings and a line for each run, in columns.

    EXACT has the word-for-word score of the last sample: training, then held-out titles.
    """
    left, age = tr_of("run", "left"), tr("age")
    names = (tr("run"), tr("state"), tr("step"), tr("loss"), tr("exact"), left, age)
    rows = [tuple(name.upper() for name in names), *map(_columns, views)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    ]


def _state(view: RunView) -> str:
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
        " ".join(f"{score.right}/{score.asked}" for score in scores if score is not None),
        "" if view.left is None else duration(view.left),
        tr("now") if view.state == "running" else duration(view.age),
    )


def summary(view: RunView) -> str:
    """Describe a run in one line: its state and how far it is."""
    parts = [tr("asking what it has learned") if view.doing == "scoring" else _state(view)]
    if view.steps:
        parts.append(tr("step {step:,} of {steps:,}", step=view.step, steps=view.steps))
    if view.loss is not None:
        parts.append(tr("loss {loss:.4f}", loss=view.loss))
    if view.left is not None:
        parts.append(tr("{span} left", span=duration(view.left)))
    if view.state == "failed" and view.error:
        parts.append(one_line(view.error, _ERROR_WIDTH))
    return ", ".join(parts)


def score_line(view: RunView) -> str:
    """Return the last check, or the score of a finished run, in words; empty before the first."""
    if view.check and view.state != "done":
        scores, step = check_text(view.check), view.check.step
        return (
            scores if step == view.step else tr("step {step:,}: {scores}", step=step, scores=scores)
        )
    if not view.word_for_word:
        return ""
    return tr("{score_words} word for word", score_words=scores_text(view.word_for_word))


def next_step(view: RunView) -> str:
    """Return the advice for a run that is not training; empty if it needs none."""
    advice = {
        "stopped": tr("Resume it from its last checkpoint:"),
        "failed": tr("Fix the problem above, then resume:"),
        "killed": tr("The process was killed (possibly out of memory). Resume it:"),
    }.get(view.state)
    return f"{advice}\n  {resume_command(view.folder)}" if advice else ""


def differences(one: RunInputs, other: RunInputs) -> Iterator[str]:
    """Yield a line for each input that two runs do not share."""
    if one.base != other.base:
        yield f"base: {last_part(one.base)} / {last_part(other.base)}"
    if one.data != other.data:
        yield f"rows: {one.data_folder} / {other.data_folder}"
    before, after = msgspec.structs.asdict(one.recipe), msgspec.structs.asdict(other.recipe)
    changed = [name for name in before if before[name] != after[name]]
    if changed:
        values = (f"{name} {before[name]} / {after[name]}" for name in changed)
        yield f"recipe: {', '.join(values)}"


def sample_lines(metrics: MetricsReader) -> list[str]:
    """Return the last sample's answers, a line for each."""
    if not metrics.samples:
        return []
    lines = [tr("asked at step {asked_at:,}:", asked_at=metrics.sampled_at)]
    for rows in metrics.samples.values():
        lines += [
            f"{'✓' if sample.right else '✗'} {one_line(sample.question)} {one_line(sample.said)}"
            for sample in rows
        ]
    return lines


_BRAILLE = 0x2800
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""The bit of each dot of a braille character, by row and column."""
_ROWS, _COLUMNS = 4, 2
_LABEL_WIDTH = 8
_MIN_WIDTH = 8
_LOG_RATIO = 50
"""Highest over lowest value: from here on a linear scale would flatten half of the curve."""


def curve(
    points: Sequence[tuple[float, float]],
    width: int,
    height: int,
    scale: Sequence[tuple[float, float]] | None = None,
) -> list[str]:
    """Draw `points` (ascending x, finite y) in braille, as `height` lines of up to `width` columns.

    The highest and lowest values are on the left, the first and last x below. Points that share
    a column of dots are averaged. A wide range of values gets a logarithmic scale, with a note.
    `scale` are points that must fit as well, so that two curves can be compared.
    """
    across, down = max(width - _LABEL_WIDTH, _MIN_WIDTH), max(height - 1, 1)
    if not points:
        return []
    fitted = scale or points
    start, end = min(x for x, _ in fitted), max(x for x, _ in fitted)
    columns = _means(points, across * _COLUMNS, start, end - start)
    values = [y for _, y in scale] if scale else [one for one in columns if one is not None]
    low, high = min(values), max(values)
    logarithmic = low > 0 and high / low >= _LOG_RATIO
    height_of = math.log if logarithmic else float
    heights = [None if value is None else height_of(value) for value in columns]
    cells = _cells(heights, height_of(low), height_of(high), across, down)
    labels = {down - 1: _figure(low), 0: _figure(high)}
    lines = [
        f"{labels.get(row, ''):>{_LABEL_WIDTH - 2}} {'┤' if row in labels else '│'}{''.join(dots)}"
        for row, dots in enumerate(cells)
    ]
    first, last = f"{start:,g}", f"{end:,g}"
    room = max(across - len(first) - len(last), 0)
    note = tr("log scale") if logarithmic else ""
    note = note if room > len(note) else ""
    return [*lines, f"{'':{_LABEL_WIDTH}}{first}{note:^{room}}{last}"]


def _means(
    points: Sequence[tuple[float, float]], columns: int, first: float, width: float
) -> list[float | None]:
    sums, counts = [0.0] * columns, [0] * columns
    for x, value in points:
        column = round((x - first) / width * (columns - 1)) if width else 0
        sums[column] += value
        counts[column] += 1
    return [total / count if count else None for total, count in zip(sums, counts, strict=True)]


def _cells(
    columns: Sequence[float | None], low: float, high: float, across: int, down: int
) -> list[list[str]]:
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
    return [[chr(_BRAILLE + dots) if dots else " " for dots in row] for row in bits]


def _between(start: tuple[int, int], end: tuple[int, int]) -> list[tuple[int, int]]:
    steps = max(abs(end[0] - start[0]), abs(end[1] - start[1]), 1)
    return [
        (
            round(start[0] + (end[0] - start[0]) * i / steps),
            round(start[1] + (end[1] - start[1]) * i / steps),
        )
        for i in range(steps + 1)
    ]


def _figure(value: float) -> str:
    if value and not 1e-3 <= abs(value) < 1e4:  # noqa: PLR2004 - what four digits show well
        return f"{value:.0e}"
    return f"{value:.{max(3 - int(math.log10(max(abs(value), 1))), 0)}f}"
