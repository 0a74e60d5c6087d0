"""The report's plots as SVG that stands in the page: no script, nothing from a network."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from math import log10

from engine.core.text import one_line
from engine.evaluation.report import Point

_WIDTH, _HEIGHT = 260, 180
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 10, 28, 38
_INNER_WIDTH, _INNER_HEIGHT = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
_TITLE_CHARACTERS = 34
_LEAST_DECADES = 1.0


def histogram(title: str, counts: Sequence[int]) -> str:
    """The distribution of a value from 0 to 1, as shares of all; `counts` from low to high."""
    total = max(sum(counts), 1)
    step = _INNER_WIDTH / max(len(counts), 1)
    bars = []
    for number, count in enumerate(counts):
        share = count / total
        low, high = number / len(counts), (number + 1) / len(counts)
        height = share * _INNER_HEIGHT
        bars.append(
            f'<rect class="bar" x="{_LEFT + number * step + 1:.1f}"'
            f' y="{_TOP + _INNER_HEIGHT - height:.1f}" width="{step - 2:.1f}"'
            f' height="{height:.1f}"><title>{low:.1f} to {high:.1f}: {count:,} answers,'
            f" {share:.0%}</title></rect>"
        )
    ticks = [(value / 2, f"{value / 2:g}") for value in range(3)]
    shares = [(0.0, "0"), (0.5, "50 %"), (1.0, "100 %")]
    axes = _axes(ticks, shares, "ROUGE-L")
    return _panel(title, f"ROUGE-L of {total:,} answers", axes + "".join(bars))


def scatter(title: str, points: Sequence[Point]) -> str:
    """Fidelity against the record's length in words, on a logarithmic scale."""
    lengths = [max(point.words, 1) for point in points] or [1]
    low = int(log10(min(lengths)))
    high = max(log10(max(lengths)), low + _LEAST_DECADES)
    marks = []
    for point in points:
        along = (log10(max(point.words, 1)) - low) / (high - low)
        marks.append(
            f'<circle class="dot" cx="{_LEFT + along * _INNER_WIDTH:.1f}"'
            f' cy="{_TOP + (1 - point.fidelity) * _INNER_HEIGHT:.1f}" r="2.5">'
            f"<title>{point.words:,} words: {point.fidelity:.2f}</title></circle>"
        )
    ticks = [
        ((decade - low) / (high - low), f"{10**decade:,}") for decade in range(low, int(high) + 1)
    ]
    shares = [(value / 2, f"{value / 2:g}") for value in range(3)]
    axes = _axes(ticks, shares, "words of the record")
    return _panel(title, f"fidelity of {len(points):,} answers by length", axes + "".join(marks))


def _axes(along: Sequence[tuple[float, str]], up: Sequence[tuple[float, str]], label: str) -> str:
    bottom = _TOP + _INNER_HEIGHT
    parts = []
    for share, text in up:
        y = bottom - share * _INNER_HEIGHT
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(
            f'<text class="tick" x="{_LEFT - 4}" y="{y + 3}" text-anchor="end">{text}</text>'
        )
    for share, text in along:
        x = _LEFT + share * _INNER_WIDTH
        parts.append(
            f'<text class="tick" x="{x:.1f}" y="{bottom + 13}" text-anchor="middle">{text}</text>'
        )
    middle = _LEFT + _INNER_WIDTH / 2
    parts.append(
        f'<text class="tick" x="{middle}" y="{_HEIGHT - 8}" text-anchor="middle">{label}</text>'
    )
    return "".join(parts)


def _panel(title: str, described: str, inside: str) -> str:
    shown = escape(one_line(title, _TITLE_CHARACTERS))
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}" role="img"'
        f' aria-label="{escape(one_line(title))}: {escape(described)}">'
        f'<text class="name" x="{_LEFT}" y="16">{shown}</text>{inside}</svg>'
    )
