"""Describe runs in text and draw their loss, for `balcao runs` and the chat's Runs screen."""

import math
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from difflib import SequenceMatcher
from typing import NamedTuple

import msgspec

from engine.core.dates import spoken_date
from engine.core.i18n import tr, tr_n, tr_of
from engine.core.text import byte_count, clip, duration, last_part, one_line
from engine.fidelity.quotes import PARTLY, compare
from engine.prompts import is_refusal
from engine.training.runs.folder import RunInputs, resume_command
from engine.training.runs.status import Check, Score, check_text, scores_text
from engine.training.runs.view import MetricsReader, RunView, Sample

_ERROR_WIDTH = 300
_GAP = "   "
_INDENT = 10
"""Columns of the names in a run's facts."""
_MAX_TITLE = 40


def runs_table(views: Sequence[RunView]) -> list[str]:
    """Return the headings and a line for each run, in columns.

    LEARNED has the word-for-word score of the last sample: training, then held-out titles.
    """
    left, age = tr_of("run", "left"), tr("age")
    names = (tr("run"), tr("state"), tr("step"), tr("loss"), tr("learned"), left, age)
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


def facts(view: RunView, before: Check | None, width: int) -> list[str]:
    """Describe a run in lines: its state, what it has learned since `before`, what it uses."""
    return [line for parts in _facts(view, before) for line in _fit(parts, width)]


def _facts(view: RunView, before: Check | None) -> Iterator[list[str]]:
    head = [one_line(view.name, 40), _state(view)]
    if view.steps:
        head.append(tr("step {step:,} of {steps:,}", step=view.step, steps=view.steps))
    if view.left is not None:
        head.append(tr("{span} left", span=duration(view.left)) + _until(view.left - view.age))
    yield head
    if view.state == "failed" and view.error:
        yield [one_line(view.error, _ERROR_WIDTH)]
    loss, check = [], view.check
    if view.loss is not None:
        loss = [f"{view.loss:.4f}"]
        if check and check.held_out_loss is not None and view.state != "done":
            loss.append(tr("held out {loss:.2f}", loss=check.held_out_loss))
    yield _named(tr("loss"), loss)
    if check and view.state != "done":
        learned, refused = check.learned, check.refused
        words = tr("{right} of {asked} answers word for word", **_counts(learned))
        gain = _gain(check, before)
        yield _named(tr("learned"), [words, *gain])
        words = tr("{right} of {asked} unknown titles", **_counts(refused))
        yield _named(tr("refused"), [words] if refused.asked else [])
    elif view.word_for_word:
        yield _named(tr("learned"), [score_line(view)])
    yield _named(tr("memory"), _usage(view))


def _counts(score: Score) -> dict[str, int]:
    return {"right": score.right, "asked": score.asked}


def _until(seconds: float) -> str:
    now = datetime.now().astimezone()
    end = now + timedelta(seconds=max(seconds, 0.0))
    today = end.date() == now.date()
    return tr(" (until {end})", end=f"{end:%H:%M}" if today else spoken_date(end, now.date()))


def _gain(check: Check, before: Check | None) -> list[str]:
    if before is None or before.learned.asked != check.learned.asked:
        return []
    gain = check.learned.right - before.learned.right
    return [tr("({gain:+} since step {step:,})", gain=gain, step=before.step)]


def _usage(view: RunView) -> list[str]:
    parts, usage = [], view.usage
    if usage:
        used, limit = byte_count(usage.memory), byte_count(usage.limit)
        parts = [tr("{used} of {limit}", used=used, limit=limit)]
        cores = tr_n("{count} core", "{count} cores", usage.cores, count=usage.cores)
        parts.append(cores if usage.cores else tr("on the GPU"))
    if view.speed is not None:
        parts.append(tr("{speed:,.0f} tokens/s", speed=view.speed))
    return parts


def _named(name: str, parts: list[str]) -> list[str]:
    return [f"{name:{_INDENT}}{parts[0]}", *parts[1:]] if parts else []


def _fit(parts: Sequence[str], width: int) -> Iterator[str]:
    """Yield the parts in lines of up to `width` columns."""
    line = ""
    for part in parts:
        if line and len(line) + len(_GAP) + len(part) > width:
            yield line
            line = " " * _INDENT + part
        else:
            line = f"{line}{_GAP}{part}" if line else part
    if line:
        yield line


class SampleLine(NamedTuple):
    """An answer that was asked during a run: ✓, ≈ or ✗, then the title and what is wrong."""

    sign: str
    text: str


def sample_lines(metrics: MetricsReader, width: int = 0) -> list[SampleLine]:
    """Return a line for each answer of the last sample, of up to `width` columns."""
    judged = [
        _judge(sample, kind) for kind, samples in metrics.samples.items() for sample in samples
    ]
    room = max((len(title) for _, title, _ in judged), default=0)
    room = min(room, _MAX_TITLE, width // 2 or _MAX_TITLE)
    lines = ((sign, f"{one_line(title, room):{room}}  {words}") for sign, title, words in judged)
    return [SampleLine(sign, clip(text, width - 2) if width else text) for sign, text in lines]


def sampled_at(metrics: MetricsReader) -> str:
    """Return the heading of the last sample."""
    return tr("Asked at step {asked_at:,}", asked_at=metrics.sampled_at)


def _judge(sample: Sample, kind: str) -> tuple[str, str, str]:
    title = one_line(sample.title or sample.question)
    if is_refusal(sample.said):
        known = kind == "training"
        return ("✗", title, tr("refused, though taught")) if known else ("✓", title, tr("refused"))
    if sample.right:
        return "✓", title, tr("word for word")
    found = None if is_refusal(sample.wanted) else compare(sample.said, sample.wanted)
    if found is None or found.precision < PARTLY:
        return "✗", title, tr("invented: “{said}”", said=one_line(sample.said))
    return "≈", title, _slips(sample.said.split(), sample.wanted.split())


def _slips(said: Sequence[str], wanted: Sequence[str]) -> str:
    """Return the number of places where two answers differ, and the words of the first."""
    matched = SequenceMatcher(None, said, wanted, autojunk=False).get_opcodes()
    changes = [place for kind, *place in matched if kind != "equal"]
    if not changes:
        return tr("cut short or repeated")
    first, end, other, other_end = changes[0]
    words = {"said": " ".join(said[first:end]), "wanted": " ".join(wanted[other:other_end])}
    if not words["said"]:
        slip = tr("“{wanted}” missing", **words)
    elif not words["wanted"]:
        slip = tr("“{said}” added", **words)
    else:
        slip = tr("“{said}” for “{wanted}”", **words)
    count = tr_n("{count} slip", "{count} slips", len(changes), count=len(changes))
    return f"{count}: {one_line(slip)}"


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
