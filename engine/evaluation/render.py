"""Render a report as JSON, Markdown and HTML; the Jinja templates are in `templates`."""

import re
from collections.abc import Sequence
from math import log10
from pathlib import Path

from msgspec import UNSET, Struct, UnsetType

from engine.core.files import encode_json, write_atomic
from engine.core.text import one_line, printable
from engine.evaluation.confidence import RiskPoint
from engine.evaluation.metrics import Verdict
from engine.evaluation.questions import Group
from engine.evaluation.report import ExampleAnswer, Report
from engine.evaluation.statistics import ConfidenceInterval, Difference, Figures, Speed
from engine.fidelity.quotes import Span, spans

NO_VALUE = "–"
_TEMPLATES = Path(__file__).with_name("templates")

_Format = tuple[str, int]
"""The format of a value, or of a mean and its interval, and a factor."""
_COUNT: _Format = ("{}", 1)
_MILLISECONDS: _Format = ("{:,.0f} ms", 1)
_PERCENT: _Format = ("{:.1f} % ({:.1f}–{:.1f})", 100)
_SCORE: _Format = ("{:.3f} ({:.3f}–{:.3f})", 1)
_POINTS: _Format = ("{:+.1f} points ({:+.1f} to {:+.1f})", 100)
_CHANGE: _Format = ("{:+.3f} ({:+.3f} to {:+.3f})", 1)

_POLICIES = {
    "model": "the model alone",
    "without_list": "the program without its list",
    "program": "the program with its list",
    "learned": "only what it calls learned",
}

_Columns = Sequence[tuple[str, str, _Format]]
"""Heading, field and format of each column."""
_RECORD_COLUMNS: _Columns = (
    ("Failed", "failed", _COUNT),
    ("Word for word", "word_for_word", _PERCENT),
    ("Cut off", "cut_off", _PERCENT),
    ("ROUGE-L", "rouge_l", _SCORE),
    ("chrF", "chrf", _SCORE),
    ("Precision", "fidelity", _SCORE),
    ("Coverage", "coverage", _SCORE),
    ("With slips", "with_slips", _PERCENT),
    ("Invented", "invented_sentences", _PERCENT),
    ("Said no", "refused", _PERCENT),
    ("No without list", "refused_without_list", _PERCENT),
    ("No by list", "refused_by_program", _PERCENT),
    ("Offered a choice", "offered", _PERCENT),
    ("Right record", "right_record", _PERCENT),
)
_INVENTED_COLUMNS: _Columns = (
    ("Failed", "failed", _COUNT),
    ("Said no (right)", "refused", _PERCENT),
    ("No without list (right)", "refused_without_list", _PERCENT),
    ("No by list (right)", "refused_by_program", _PERCENT),
    ("Offered a choice", "offered", _PERCENT),
    ("Answered (wrong)", "answered", _PERCENT),
)
_RATE_COLUMNS: _Columns = (
    ("Precision", "precision", _PERCENT),
    ("Recall", "recall", _PERCENT),
    ("F1", "f1", _SCORE),
)
_DIFFERENCE_COLUMNS: _Columns = (
    ("Word for word", "word_for_word", _POINTS),
    ("ROUGE-L", "rouge_l", _CHANGE),
    ("Precision", "fidelity", _CHANGE),
    ("Coverage", "coverage", _CHANGE),
)
_SPEED_COLUMNS: _Columns = (
    ("Answers", "answers", _COUNT),
    ("First words, median", "first_token_median", _MILLISECONDS),
    ("Whole, median", "total_median", _MILLISECONDS),
    ("Whole, 95 %", "total_p95", _MILLISECONDS),
    ("Tokens/s", "tokens_per_second", ("{:.1f}", 1)),
)


class ReportTable(Struct, frozen=True):
    """A table: the first column is text, the others are figures."""

    heading: str
    head: list[str]
    rows: list[list[str]]


def group_title(group: Group, report: Report) -> str:
    """Return a group's heading."""
    if group is Group.UNTRAINED and not report.knows_trained:
        return "Titles in the catalogue"
    return {
        Group.TRAINED: "Titles trained on",
        Group.UNTRAINED: "Titles in the catalogue, not trained on",
        Group.INVENTED: "Invented titles, in no catalogue",
        Group.REWORDED: "Titles trained on, in wordings that were not",
        Group.NEAR_MISS: "Near misses of titles trained on",
    }[group]


def group_tables(report: Report) -> list[ReportTable]:
    """Make a table of the figures of each group."""
    return [
        _table(
            f"{group_title(group, report)} ({report.groups[group]:,})",
            _figures(group, report),
            _RECORD_COLUMNS if group.has_record else _INVENTED_COLUMNS,
            report,
        )
        for group in _groups(report)
    ]


def _rates_table(report: Report) -> ReportTable:
    rows = [
        [
            f"{report.titles[key]}: {_POLICIES[name]}",
            *(_cell(getattr(rates, field), how) for _, field, how in _RATE_COLUMNS),
        ]
        for key, rated in (report.refusing or {}).items()
        for name, rates in rated.items()
    ]
    head = ["Refuses unknown products", *(name for name, *_ in _RATE_COLUMNS)]
    return ReportTable("Saying no to what was not trained", head, rows)


def _risk_table(report: Report) -> ReportTable:
    rows = [
        [f"{report.titles[key]}: {_POLICIES[name]}", *_risk_cells(point)]
        for key, risk in (report.risk or {}).items()
        for name, point in risk.policies.items()
    ]
    head = ["What is said", "Known titles answered", "Answers", "Wrong"]
    return ReportTable("How much of what is said from memory is wrong", head, rows)


def _risk_cells(point: RiskPoint) -> list[str]:
    given = point.wrong.number if point.wrong else 0
    return [_cell(point.coverage, _PERCENT), f"{given:,}", _cell(point.wrong, _PERCENT)]


def _groups(report: Report) -> list[Group]:
    return [group for group in Group if report.groups.get(group)]


def _figures(group: Group, report: Report) -> list[Figures]:
    return [figures for figures in report.figures if figures.group is group]


def _differences_table(report: Report) -> ReportTable:
    first = next(iter(report.titles.values()))
    heading = f"Against {first}, question by question"
    table = _table(heading, report.differences, _DIFFERENCE_COLUMNS, report)
    table.head.insert(1, "Group")
    for row, difference in zip(table.rows, report.differences, strict=True):
        row.insert(1, group_title(difference.group, report))
    return table


def _table(
    heading: str,
    results: Sequence[Figures] | Sequence[Difference] | Sequence[Speed],
    columns: _Columns,
    report: Report,
) -> ReportTable:
    columns = [
        column
        for column in columns
        if any(getattr(result, column[1]) is not UNSET for result in results)
    ]
    rows = [
        [
            report.titles[result.target],
            *(_cell(getattr(result, field), how) for _, field, how in columns),
        ]
        for result in results
    ]
    return ReportTable(heading, ["Engine", *(name for name, *_ in columns)], rows)


def _cell(value: ConfidenceInterval | float | UnsetType | None, how: _Format) -> str:
    if value is None or value is UNSET:
        return NO_VALUE
    form, factor = how
    values = value[:3] if isinstance(value, tuple) else (value,)
    return form.format(*(factor * one for one in values))


def _remarks(report: Report) -> list[str]:
    remarks = []
    if report.missing:
        remarks.append(f"{report.missing:,} answers are missing: their engine was skipped.")
    if failed := sum(figures.failed for figures in report.figures):
        remarks.append(f"{failed:,} answers failed and are excluded; run the command again.")
    for key, notices in report.notices.items():
        remarks += [f"{report.titles[key]}: {notice}" for notice in notices]
    return remarks


def _verdict(answer: ExampleAnswer) -> str:
    if answer.verdict is not Verdict.ANSWERED:
        return {
            Verdict.REFUSED: "said no",
            Verdict.OFFERED: "offered a choice",
            Verdict.FAILED: "failed",
        }[answer.verdict]
    if answer.scores is None:
        return "answered"
    if answer.scores.word_for_word:
        return "word for word"
    cut = "cut off, " if answer.scores.cut_off else ""
    coverage = answer.scores.coverage
    covered = "" if coverage is None else f", coverage {coverage:.2f}"
    shares = f"precision {answer.scores.fidelity:.2f}{covered}"
    return f"{cut}{shares}, ROUGE-L {answer.scores.rouge_l.f1:.2f}"


def _spans(answer: ExampleAnswer, record: str) -> list[Span]:
    if answer.scores is None or not answer.scores.sentences:
        return [Span(answer.text, quoted=True)]
    return spans(answer.text, record)


def _plain(value: object) -> str:
    """Return a value as text, cut where a template or a list of products would fill the page."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {_plain(part)}" for name, part in value.items())
    if isinstance(value, list):
        more = f"; and {len(value) - _MOST_ITEMS:,} more" if len(value) > _MOST_ITEMS else ""
        return "; ".join(map(_plain, value[:_MOST_ITEMS])) + more or NO_VALUE
    return NO_VALUE if value is None else one_line(str(value), _CELL_WIDTH)


_MOST_ITEMS, _CELL_WIDTH = 10, 160
_BLOCKS = "▁▂▃▄▅▆▇█"
_SYNTAX = re.compile(r"([\\`*_{}\[\]<>#|~])")
_FENCE = re.compile(r"`{3,}")


def _sparklines(figures: Sequence[Figures], titles: dict[str, str]) -> str:
    return "\n".join(f"{_sparkline(one.distribution)}  {titles[one.target]}" for one in figures)


def _sparkline(counts: Sequence[int]) -> str:
    scale = len(_BLOCKS) / max(sum(counts), 1)
    last = len(_BLOCKS) - 1
    return "".join(_BLOCKS[min(int(count * scale), last)] if count else " " for count in counts)


def as_markdown(report: Report) -> str:
    """Render report.md; the speed, which differs between runs, comes last."""
    return _render("report.md", report)


def as_html(report: Report) -> str:
    """Render report.html, one page that loads nothing and runs no script."""
    return _render("report.html", report)


def _render(name: str, report: Report) -> str:
    """Render a template; escape every value but those that `fenced` quotes in Markdown."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    context = {
        "report": report,
        "remarks": _remarks(report),
        "tables": [
            *group_tables(report),
            *([_rates_table(report)] if report.refusing else []),
            *([_risk_table(report)] if report.risk else []),
        ],
        "curves": [
            (report.titles[key], risk.curves)
            for key, risk in (report.risk or {}).items()
            if risk.curves
        ],
        "differences": _differences_table(report) if report.differences else None,
        "groups": {group: group_title(group, report) for group in _groups(report)},
        "measured": [group for group in _groups(report) if group.has_record],
        "provenance": {
            report.titles[key]: {name: _plain(value) for name, value in parts.items()}
            for key, parts in report.provenance.items()
        },
        "speed": _table("Speed", report.speed, _SPEED_COLUMNS, report),
        "figures": lambda group: _figures(group, report),
        "sparklines": _sparklines,
        "verdict": _verdict,
        "spans": _spans,
    }
    markdown = name.endswith(".md")
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=not markdown,  # noqa: S701 - `finalize` escapes Markdown
        finalize=_escape_markdown if markdown else _drop_control_characters,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"fenced": _fenced, "one_line": one_line, "log10": log10}
    return environment.get_template(name).render(context)


def _drop_control_characters(value: object) -> object:
    return printable(value) if type(value) is str else value


def _escape_markdown(value: object) -> object:
    from markupsafe import Markup

    return value if isinstance(value, Markup) else _SYNTAX.sub(r"\\\1", one_line(str(value)))


def _fenced(text: str) -> str:
    """Quote `text` in a fence that it cannot close."""
    from markupsafe import Markup

    fence = "`" * max(3, *(len(found) + 1 for found in _FENCE.findall(text)), 0)
    return Markup(f"{fence}text\n{printable(text)}\n{fence}")  # noqa: S704 - the fence escapes it


def write(report: Report, folder: Path) -> list[Path]:
    """Write report.json, report.md and report.html atomically and return their paths."""
    files = {
        "report.json": encode_json(report, indent=2),
        "report.md": as_markdown(report).encode(errors="replace"),
        "report.html": as_html(report).encode(errors="replace"),
    }
    for name, data in files.items():
        write_atomic(folder / name, data)
    return [folder / name for name in files]
