"""What the Markdown and HTML reports share: headings, tables as plain cells, figures in words."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from html import escape
from math import log10
from pathlib import Path

import msgspec
from msgspec import Struct

from engine.core.files import write_atomic
from engine.core.text import one_line, printable
from engine.evaluation.metrics import Outcome
from engine.evaluation.questions import Group
from engine.evaluation.report import Example, Point, Reply, Report
from engine.evaluation.statistics import BINS, Difference, Estimate, Figures
from engine.fidelity.measure import spans

TITLE = "Fidelity report"
INTRO = (
    "Every answer is compared with the record's description as the catalogue has it. Shares and"
    " means stand with their 95 % confidence interval (Wilson's for shares of answers, bootstrap"
    " for means). A refusal, or a list to pick from, counts as giving nothing of the record;"
    " failed answers are left out."
)
LEGEND = (
    "Word for word: the whole record, blanks aside. Cut off: a beginning of it. ROUGE-L (F1), chrF"
    " and fidelity run from 0 to 1; fidelity is the share of the answer's words that stand in the"
    " record, in order. Invented: the mean share of an answer's sentences that the record does not"
    " bear out. Right record: retrieval found the very record."
)
NO_VALUE = "–"


class Table(Struct, frozen=True):
    """A heading and plain cells; the first column is text, the others are figures."""

    heading: str
    head: list[str]
    rows: list[list[str]]


def group_title(group: Group, report: Report) -> str:
    """A group's heading."""
    if group is Group.UNTRAINED and not report.knows_trained:
        return "Titles in the catalogue"
    return {
        Group.TRAINED: "Titles trained on",
        Group.UNTRAINED: "Titles in the catalogue, not trained on",
        Group.INVENTED: "Invented titles, in no catalogue",
    }[group]


def present(report: Report) -> list[Group]:
    """The groups that have questions."""
    return [group for group in Group if report.groups.get(group)]


def tables(report: Report) -> list[Table]:
    """The figures, a table for each group."""
    return [_table(group, report) for group in present(report)]


def differences(report: Report) -> Table | None:
    """How the others differ from the engine that was named first."""
    if not report.differences:
        return None
    first = next(iter(report.asked.values()))
    rows = [_difference(one, report) for one in report.differences]
    head = ["Engine", "Group", "Word for word", "ROUGE-L", "Fidelity"]
    return Table(f"Against {first}, question by question", head, rows)


def speeds(report: Report) -> Table:
    """How fast they were."""
    rows = [
        [
            report.asked[one.asked],
            str(one.answers),
            _milliseconds(one.first_token_median),
            _milliseconds(one.total_median),
            _milliseconds(one.total_p95),
            NO_VALUE if one.tokens_per_second is None else f"{one.tokens_per_second:.1f}",
        ]
        for one in report.speed
    ]
    head = ["Engine", "Answers", "First words, median", "Whole, median", "Whole, 95 %", "Tokens/s"]
    return Table("Speed", head, rows)


def made_of(report: Report) -> list[tuple[str, list[tuple[str, str]]]]:
    """For each engine what its answers hang on, as names and values."""
    return [
        (report.asked[key], [(name, _plain(value)) for name, value in parts.items()])
        for key, parts in report.made_of.items()
    ]


def remarks(report: Report) -> list[str]:
    """What a reader must know: failures, answers that are missing, what engines said."""
    said = [
        f"{report.asked[key]}: {text}" for key, texts in report.notices.items() for text in texts
    ]
    failed = sum(one.failed for one in report.figures)
    if failed:
        said.insert(0, f"{failed:,} answers failed and are left out; the same command asks again.")
    if report.missing:
        said.insert(0, f"{report.missing:,} answers are missing: their engine was given up.")
    return said


def verdict(reply: Reply) -> str:
    """An example's answer in a few words."""
    if reply.outcome is not Outcome.ANSWERED:
        return {
            Outcome.REFUSED: "said no",
            Outcome.OFFERED: "offered a choice",
            Outcome.FAILED: "failed",
        }[reply.outcome]
    if reply.scores is None:
        return "answered"
    if reply.scores.word_for_word:
        return "word for word"
    cut = "cut off, " if reply.scores.cut_off else ""
    return f"{cut}fidelity {reply.scores.fidelity:.2f}, ROUGE-L {reply.scores.rouge_l.f1:.2f}"


def _table(group: Group, report: Report) -> Table:
    mine = [one for one in report.figures if one.group is group]
    heading = f"{group_title(group, report)} ({report.groups[group]:,})"
    columns = _INVENTED if group is Group.INVENTED else _RECORD
    rows = [
        [report.asked[one.asked], str(one.failed), *(cell(one) for _, cell in columns)]
        for one in mine
    ]
    return Table(heading, ["Engine", "Failed", *(name for name, _ in columns)], rows)


def _difference(one: Difference, report: Report) -> list[str]:
    return [
        report.asked[one.asked],
        group_title(one.group, report),
        _points(one.word_for_word),
        _signed(one.rouge_l),
        _signed(one.fidelity),
    ]


def _percent(estimate: Estimate | None) -> str:
    if estimate is None:
        return NO_VALUE
    mean, low, high = (100 * value for value in estimate[:3])
    return f"{mean:.1f} % ({low:.1f}–{high:.1f})"


def _number(estimate: Estimate | None) -> str:
    if estimate is None:
        return NO_VALUE
    return f"{estimate.mean:.3f} ({estimate.low:.3f}–{estimate.high:.3f})"


def _points(estimate: Estimate | None) -> str:
    if estimate is None:
        return NO_VALUE
    mean, low, high = (100 * value for value in estimate[:3])
    return f"{mean:+.1f} points ({low:+.1f} to {high:+.1f})"


def _signed(estimate: Estimate | None) -> str:
    if estimate is None:
        return NO_VALUE
    return f"{estimate.mean:+.3f} ({estimate.low:+.3f} to {estimate.high:+.3f})"


def _milliseconds(value: float | None) -> str:
    return NO_VALUE if value is None else f"{value:,.0f} ms"


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_plain(part)}" for name, part in value.items())
    if isinstance(value, list):
        return "; ".join(_plain(part) for part in value) or NO_VALUE
    return NO_VALUE if value is None else str(value)


_Column = tuple[str, Callable[[Figures], str]]
_RECORD: Sequence[_Column] = (
    ("Word for word", lambda one: _percent(one.word_for_word)),
    ("Cut off", lambda one: _percent(one.cut_off)),
    ("ROUGE-L", lambda one: _number(one.rouge_l)),
    ("chrF", lambda one: _number(one.chrf)),
    ("Fidelity", lambda one: _number(one.fidelity)),
    ("Invented", lambda one: _percent(one.invented_sentences)),
    ("Said no", lambda one: _percent(one.refused)),
    ("Offered a choice", lambda one: _percent(one.offered)),
    ("Right record", lambda one: _percent(one.right_record)),
)
_INVENTED: Sequence[_Column] = (
    ("Said no (right)", lambda one: _percent(one.refused)),
    ("Offered a choice", lambda one: _percent(one.offered)),
    ("Answered (wrong)", lambda one: _percent(one.answered)),
)


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


_BARS = "▁▂▃▄▅▆▇█"
_ACTIVE = re.compile(r"([\\`*_{}\[\]<>#|~])")
_FENCE = re.compile(r"`{3,}")


def as_markdown(report: Report) -> str:
    """The whole report; the part on speed is the last, since it is never the same twice."""
    return "\n\n".join(_parts(report)) + "\n"


def _parts(report: Report) -> Iterator[str]:
    yield f"# {TITLE}"
    yield INTRO
    yield from (f"> {_text(remark)}" for remark in remarks(report))
    for table in tables(report):
        yield _markdown_table(table)
    yield LEGEND
    if apart := differences(report):
        yield _markdown_table(apart)
    yield from _distributions(report)
    yield "## Examples"
    yield "The first ten of each group by the hash that samples them; nobody has picked them."
    for group in present(report):
        yield f"### {group_title(group, report)}"
        mine = [one for one in report.examples if one.group is group]
        for number, example in enumerate(mine, 1):
            yield from _example(number, example, report)
    yield "## What was asked"
    for title, parts in made_of(report):
        yield f"### {_text(title)}"
        yield "\n".join(f"- {name}: {_text(value)}" for name, value in parts)
    yield _markdown_table(speeds(report))


def _markdown_table(table: Table) -> str:
    lines = [
        f"## {_text(table.heading)}",
        "",
        _row(table.head),
        _row(["---", *["---:"] * (len(table.head) - 1)]),
        *(_row([_text(cell) for cell in row]) for row in table.rows),
    ]
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _distributions(report: Report) -> Iterator[str]:
    yield "## How ROUGE-L is spread"
    yield f"{BINS} bars from 0 to 1, each as high as its share of the answers."
    for group in present(report):
        if group is Group.INVENTED:
            continue
        yield f"{group_title(group, report)}:"
        mine = [one for one in report.figures if one.group is group]
        lines = [f"{_bars(one.distribution)}  {report.asked[one.asked]}" for one in mine]
        yield _fenced("\n".join(lines))


def _bars(counts: Sequence[int]) -> str:
    total = max(sum(counts), 1)
    return "".join(
        _BARS[min(int(count / total * len(_BARS)), len(_BARS) - 1)] if count else " "
        for count in counts
    )


def _example(number: int, example: Example, report: Report) -> Iterator[str]:
    yield f"**{number}. {_text(example.question)}**"
    if example.record:
        yield "The record:"
        yield _fenced(example.record)
    for reply in example.replies:
        yield f"{_text(report.asked[reply.asked])} ({verdict(reply)}):"
        yield _fenced(reply.text)


def _text(text: str) -> str:
    """Foreign text on one line, with nothing left that Markdown would act upon."""
    return _ACTIVE.sub(r"\\\1", one_line(text))


def _fenced(text: str) -> str:
    """Foreign text as it is, in a fence that it cannot close."""
    fence = "`" * max(3, *(len(run) + 1 for run in _FENCE.findall(text)), 0)
    return f"{fence}text\n{printable(text)}\n{fence}"


_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
"""Even a record that holds a page of its own could not make a browser load anything."""

_STYLE = """
:root { color-scheme: light dark; --ink: #1d2430; --soft: #5b6675; --paper: #fff; --line: #d8dee6;
  --accent: #2563a8; --own: #fbe3c8; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ee; --soft: #9aa6b5; --paper: #14181f;
  --line: #333c48; --accent: #6aa9ea; --own: #5a3a12; } }
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 1400px; margin: 0 auto; padding: 24px; }
h2 { margin: 32px 0 8px; } h3 { margin: 24px 0 8px; } p { max-width: 80ch; }
.note { color: var(--soft); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 13px; }
th, td { text-align: right; padding: 5px 10px; border-bottom: 1px solid var(--line);
  vertical-align: top; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } th { color: var(--soft); font-weight: 600; }
.plots { display: flex; flex-wrap: wrap; gap: 12px; }
svg { border: 1px solid var(--line); border-radius: 6px; max-width: 100%; }
.name { font: 600 12px system-ui, sans-serif; fill: var(--ink); }
.tick { font: 10px system-ui, sans-serif; fill: var(--soft); }
.grid { stroke: var(--line); } .bar { fill: var(--accent); }
.dot { fill: var(--accent); fill-opacity: .45; }
.example { border: 1px solid var(--line); border-radius: 6px; padding: 12px; margin: 12px 0; }
.example > b { overflow-wrap: anywhere; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(260px, 1fr)); gap: 14px;
  margin-top: 10px; }
.card h4 { margin: 0; font-size: 13px; } .card .note { font-size: 12px; margin: 0 0 4px; }
.card .text { white-space: pre-wrap; overflow-wrap: anywhere; font-size: 13px; max-height: 24em;
  overflow-y: auto; }
.own { background: var(--own); } dl { font-size: 13px; overflow-wrap: anywhere; }
dt { color: var(--soft); } dd { margin: 0 0 4px 16px; }
"""


def as_html(report: Report) -> str:
    """The whole page; the part on speed is the last, since it is never the same twice."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{TITLE}</title><style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(_html_parts(report))
        + "\n</body></html>\n"
    )


def _html_parts(report: Report) -> Iterator[str]:
    yield f"<h1>{TITLE}</h1><p>{INTRO}</p>"
    yield from (f"<p><b>{_line(remark)}</b></p>" for remark in remarks(report))
    for table in tables(report):
        yield _html_table(table)
    yield f'<p class="note">{LEGEND}</p>'
    if apart := differences(report):
        yield _html_table(apart)
    yield from _plots(report)
    yield from _examples(report)
    yield "<h2>What was asked</h2>"
    for title, parts in made_of(report):
        listed = "".join(f"<dt>{_line(name)}</dt><dd>{_line(value)}</dd>" for name, value in parts)
        yield f"<details><summary>{_line(title)}</summary><dl>{listed}</dl></details>"
    yield _html_table(speeds(report))


def _html_table(table: Table) -> str:
    head = "".join(f"<th>{_line(name)}</th>" for name in table.head)
    rows = "".join(
        f"<tr>{''.join(f'<td>{_line(cell)}</td>' for cell in row)}</tr>" for row in table.rows
    )
    return (
        f'<h2>{_line(table.heading)}</h2><div class="wide"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _plots(report: Report) -> Iterator[str]:
    for group in present(report):
        if group is not Group.INVENTED:
            mine = [one for one in report.figures if one.group is group]
            drawn = "".join(histogram(report.asked[one.asked], one.distribution) for one in mine)
            title = _line(group_title(group, report))
            yield f'<h2>How ROUGE-L is spread: {title}</h2><div class="plots">{drawn}</div>'
    found = [(report.asked[key], points) for key, points in report.points.items() if points]
    if found:
        drawn = "".join(scatter(title, points) for title, points in found)
        yield f'<h2>Fidelity against the record’s length</h2><div class="plots">{drawn}</div>'


def _examples(report: Report) -> Iterator[str]:
    yield (
        "<h2>Examples</h2><p>The first ten of each group by the hash that samples them; nobody has"
        ' picked them. <span class="own">Marked</span>: not the record’s words.</p>'
    )
    for group in present(report):
        yield f"<h3>{_line(group_title(group, report))}</h3>"
        for example in report.examples:
            if example.group is group:
                yield _html_example(example, report)


def _html_example(example: Example, report: Report) -> str:
    cards = [_card("The record", "", escape(printable(example.record)))] if example.record else []
    for reply in example.replies:
        text = _marked(reply, example.record)
        cards.append(_card(report.asked[reply.asked], verdict(reply), text))
    return (
        f'<div class="example"><b>{_line(example.question)}</b>'
        f'<div class="cards">{"".join(cards)}</div></div>'
    )


def _card(title: str, note: str, text: str) -> str:
    return (
        f'<div class="card"><h4>{_line(title)}</h4><p class="note">{_line(note)}</p>'
        f'<div class="text">{text}</div></div>'
    )


def _marked(reply: Reply, record: str) -> str:
    """The answer with the words that are not the record's marked, where there is a record."""
    if reply.scores is None or not reply.scores.sentences:
        return escape(printable(reply.text))
    return "".join(
        escape(printable(text)) if quoted else f'<span class="own">{escape(printable(text))}</span>'
        for text, quoted in spans(reply.text, record)
    )


def _line(text: str) -> str:
    return escape(one_line(text))


def write(report: Report, folder: Path) -> list[Path]:
    """Write report.json, report.md and report.html; each appears whole. Returns their paths."""
    as_json = msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n"
    files = {
        "report.json": as_json,
        "report.md": as_markdown(report).encode(errors="replace"),
        "report.html": as_html(report).encode(errors="replace"),
    }
    for name, data in files.items():
        write_atomic(folder / name, data)
    return [folder / name for name in files]
