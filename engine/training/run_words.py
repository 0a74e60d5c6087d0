"""What is said about a run, in `balcao runs` and in the chat's Runs screen."""

from __future__ import annotations

from collections.abc import Sequence

from engine.text import one_line
from engine.training.run_metrics import RunMetrics
from engine.training.run_status import score_words
from engine.training.run_view import RunView

_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_ERROR_WIDTH = 300
_HEADINGS = ("RUN", "STATE", "STEP", "LOSS", "EXACT", "LEFT", "AGE")


def table(views: Sequence[RunView]) -> list[str]:
    """The headings, and a line for each run, in columns.

    EXACT is how many training and how many held-out titles the last sample had word for word.
    """
    rows = [_HEADINGS, *map(_columns, views)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    ]


def _columns(view: RunView) -> tuple[str, ...]:
    scores = (view.word_for_word.get(name) for name in ("training", "held_out"))
    return (
        one_line(view.name, 24),
        view.doing if view.doing in ("starting", "scoring") else view.state,
        f"{view.step}/{view.steps}" if view.steps else "",
        "" if view.loss is None else f"{view.loss:.4f}",
        " ".join(f"{one.right}/{one.asked}" for one in scores if one is not None),
        "" if view.left is None else span(view.left),
        "now" if view.state == "running" else span(view.age),
    )


def sentence(view: RunView) -> str:
    """A run in one line: what it is at, and how far."""
    doing = {"starting": "starting", "scoring": "asking what it has learned"}.get(view.doing, "")
    parts = [doing or view.state]
    if view.steps:
        parts.append(f"step {view.step:,} of {view.steps:,}")
    if view.loss is not None:
        parts.append(f"loss {view.loss:.4f}")
    if view.left is not None:
        parts.append(f"{span(view.left)} left")
    if view.state == "failed" and view.error:
        parts.append(one_line(view.error, _ERROR_WIDTH))
    return ", ".join(parts)


def score(view: RunView) -> str:
    """What the last sample, or the end of the run, gave; empty before the first."""
    return f"{score_words(view.word_for_word)} word for word" if view.word_for_word else ""


def next_step(view: RunView) -> str:
    """What can be done with a run that does not train."""
    return {
        "running": "",
        "done": "",
        "stopped": "--resume goes on from its last checkpoint.",
        "failed": "Mend what is said above; --resume goes on from its last checkpoint.",
        "killed": "It was killed; --resume goes on from its last checkpoint.",
    }[view.state]


def asked(metrics: RunMetrics) -> list[str]:
    """What the last sample gave, a line for each title."""
    if not metrics.asked:
        return []
    lines = [f"asked at step {metrics.asked_at:,}:"]
    for rows in metrics.asked.values():
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
        return f"{seconds // _MINUTE:.0f} min"
    if seconds < _DAY:
        return f"{seconds // _HOUR:.0f} h {seconds % _HOUR // _MINUTE:.0f} min"
    return f"{seconds // _DAY:.0f} d"
