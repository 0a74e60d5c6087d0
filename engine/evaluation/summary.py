"""Summarize a report for a terminal: a verdict, and one table of 80 columns."""

from collections.abc import Iterator, Sequence

from engine.core.text import one_line
from engine.evaluation.confidence import RISK, RiskPoint
from engine.evaluation.questions import Group
from engine.evaluation.report import Report
from engine.evaluation.statistics import ConfidenceInterval, Figures

WIDTH = 80
_EMPTY = "–"
_WITH_RECORD = ("exact", "fidel.", "no")
_WITHOUT_RECORD = ("no",)
"""Shares of the answers: word for word, the mean fidelity, refusals."""
_NAMES = {Group.TRAINED: "learned", Group.UNTRAINED: "not learned", Group.INVENTED: "invented"}
_EXAM = {Group.REWORDED: "in other words", Group.NEAR_MISS: "near misses"}
_POLICIES = {"program": ", with its list", "without_list": ", without a list", "model": ", alone"}
"""The surest first."""
_GAP = "  "


def verdict(report: Report) -> str:
    """Return the sentence that matters most: what the best model says and what it refuses."""
    by_target: dict[str, dict[Group, Figures]] = {}
    for figures in (one for one in report.figures if one.group in _NAMES):
        by_target.setdefault(figures.target, {})[figures.group] = figures
    models = {key: found for key, found in by_target.items() if ":" in key} or by_target
    key, best = max(models.items(), key=lambda one: _rank(one[1]))
    lead = "Best: " if len(models) > 1 else ""
    return f"{lead}{one_line(report.titles[key])}: {'; '.join(_clauses(best, report))}."


def _rank(found: dict[Group, Figures]) -> float:
    exact = (figures.word_for_word for figures in found.values())
    refused = found[Group.INVENTED].refused if Group.INVENTED in found else None
    return sum(value.mean for value in (*exact, refused) if value)


def _clauses(found: dict[Group, Figures], report: Report) -> list[str]:
    exact = [
        f"{_number(figures.word_for_word)} {_group_name(group, report)}"
        for group, figures in found.items()
        if figures.word_for_word
    ]
    clauses = [f"word for word {' and '.join(exact)}"] if exact else []
    invented = found.get(Group.INVENTED)
    if invented and invented.refused:
        clauses.append(f"said no to {_number(invented.refused)} invented")
    return clauses or ["no answers"]


def _number(value: ConfidenceInterval) -> str:
    return f"{round(value.mean * value.number):,} of {value.number:,}"


def _group_name(group: Group, report: Report) -> str:
    if group is Group.UNTRAINED and not report.knows_trained:
        return "catalogue"
    return _NAMES.get(group, group.value)


def table(report: Report, width: int = WIDTH) -> list[str]:
    """Return the lines of a table: an engine a line, a column for each figure of each group."""
    groups = [group for group in _NAMES if report.groups.get(group)]
    heads = [(group, _columns(group, report)) for group in groups]
    cells = {
        key: [_cells(group, columns, key, report) for group, columns in heads]
        for key in report.titles
    }
    sizes = [
        [max(len(name), *(len(row[at][place]) for row in cells.values()))
         for place, name in enumerate(columns)]
        for at, (_, columns) in enumerate(heads)
    ]  # fmt: skip
    groups_of = [f"{_group_name(group, report)} ({report.groups[group]:,})" for group in groups]
    spans = [
        max(sum(some) + len(some) - 1, len(name))
        for some, name in zip(sizes, groups_of, strict=True)
    ]
    first = max(12, min(width - sum(spans) - len(_GAP) * len(spans), _longest(report)))
    lines = [_line("", first, groups_of, spans)]
    lines.append(
        _line(
            "engine", first, [_spread(h, s) for (_, h), s in zip(heads, sizes, strict=True)], spans
        )
    )
    for key, found in cells.items():
        shown = [_spread(some, size) for some, size in zip(found, sizes, strict=True)]
        lines.append(_line(one_line(report.titles[key], first), first, shown, spans))
    return lines


def exam_lines(report: Report) -> list[str]:
    """Return a line for each target about untrained wordings, and one about near misses."""
    return [
        f"{one_line(report.titles[figures.target])}, {_EXAM[figures.group]}: {said}"
        for figures in report.figures
        if figures.group in _EXAM and (said := "; ".join(_said(figures)))
    ]


def _said(figures: Figures) -> Iterator[str]:
    if figures.word_for_word:
        yield f"{_number(figures.word_for_word)} word for word"
    if figures.refused:
        yield f"no to {_number(figures.refused)}"
    if figures.refused_without_list:
        yield f"without its list to {_number(figures.refused_without_list)}"
    if figures.refused_by_program:
        yield f"with its list to {_number(figures.refused_by_program)}"


def risk_lines(report: Report) -> list[str]:
    """Return a sentence for each target about how much of what it says from memory is wrong."""
    return [
        f"{one_line(report.titles[key])}{_POLICIES[name]}: {_risk(risk.policies[name])}."
        for key, risk in (report.risk or {}).items()
        for name in [next(one for one in _POLICIES if one in risk.policies)]
    ]


def _risk(point: RiskPoint) -> str:
    answered = f"answers {_number(point.coverage)} known titles" if point.coverage else ""
    if not point.wrong:
        return f"{answered}, and nothing else"
    if point.wrong.high <= RISK:
        return f"{answered}; at most {RISK:.0%} of what it says is wrong ({_number(point.wrong)})"
    return f"{answered}; {_number(point.wrong)} answers are wrong (at most {point.wrong.high:.1%})"


def _longest(report: Report) -> int:
    return max(len(one_line(title)) for title in report.titles.values())


def _columns(group: Group, report: Report) -> Sequence[str]:
    mine = [figures for figures in report.figures if figures.group is group]
    return _WITHOUT_RECORD if all(one.word_for_word is None for one in mine) else _WITH_RECORD


def _cells(group: Group, columns: Sequence[str], key: str, report: Report) -> list[str]:
    found = (one for one in report.figures if one.group is group and one.target == key)
    figures = next(found, None)
    if figures is None:
        return [_EMPTY] * len(columns)
    values = {
        "exact": _share(figures.word_for_word),
        "fidel.": f"{figures.fidelity.mean:.3f}" if figures.fidelity else _EMPTY,
        "no": _share(figures.refused),
    }
    return [values[name] for name in columns]


def _share(value: ConfidenceInterval | None) -> str:
    return f"{value.mean:.1%}" if value else _EMPTY


def _spread(cells: Sequence[str], sizes: Sequence[int]) -> str:
    return " ".join(cell.rjust(size) for cell, size in zip(cells, sizes, strict=True))


def _line(name: str, first: int, parts: Sequence[str], spans: Sequence[int]) -> str:
    shown = (part.rjust(span) for part, span in zip(parts, spans, strict=True))
    return (name.ljust(first) + _GAP + _GAP.join(shown)).rstrip()
