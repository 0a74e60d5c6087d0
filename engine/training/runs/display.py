"""What is said about a run, in `balcao runs` and in the chat's Runs screen."""

from __future__ import annotations

from collections.abc import Sequence

from engine.core.i18n import tr, tr_of
from engine.core.text import one_line
from engine.training.runs.run_metrics_part import RunMetrics
from engine.training.runs.status import score_words
from engine.training.runs.view import RunView

_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_ERROR_WIDTH = 300


def table(views: Sequence[RunView]) -> list[str]:
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


def sentence(view: RunView) -> str:
    """A run in one line: what it is at, and how far."""
    parts = [tr("asking what it has learned") if view.doing == "scoring" else _state(view)]
    if view.steps:
        parts.append(tr("step {step:,} of {steps:,}").format(step=view.step, steps=view.steps))
    if view.loss is not None:
        parts.append(tr("loss {loss:.4f}").format(loss=view.loss))
    if view.left is not None:
        parts.append(tr("{span} left").format(span=span(view.left)))
    if view.state == "failed" and view.error:
        parts.append(one_line(view.error, _ERROR_WIDTH))
    return ", ".join(parts)


def score(view: RunView) -> str:
    """What the last sample, or the end of the run, gave; empty before the first."""
    return (
        tr("{score_words} word for word").format(score_words=score_words(view.word_for_word))
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


def asked(metrics: RunMetrics) -> list[str]:
    """What the last sample gave, a line for each title."""
    if not metrics.asked:
        return []
    lines = [tr("asked at step {asked_at:,}:").format(asked_at=metrics.asked_at)]
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
        return tr("{seconds:.0f} min").format(seconds=seconds // _MINUTE)
    if seconds < _DAY:
        return tr("{seconds:.0f} h {seconds2:.0f} min").format(
            seconds=seconds // _HOUR, seconds2=seconds % _HOUR // _MINUTE
        )
    return f"{seconds // _DAY:.0f} d"
