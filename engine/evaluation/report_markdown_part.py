"""The report as Markdown: tables, the distributions as small bars, the examples."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from engine.core.text import one_line, printable
from engine.evaluation import render as words
from engine.evaluation.questions import Group
from engine.evaluation.render import Table
from engine.evaluation.report import Example, Report
from engine.evaluation.statistics import BINS

_BARS = "▁▂▃▄▅▆▇█"
_ACTIVE = re.compile(r"([\\`*_{}\[\]<>#|~])")
_FENCE = re.compile(r"`{3,}")


def as_markdown(report: Report) -> str:
    """The whole report; the part on speed is the last, since it is never the same twice."""
    return "\n\n".join(_parts(report)) + "\n"


def _parts(report: Report) -> Iterator[str]:
    yield f"# {words.TITLE}"
    yield words.INTRO
    yield from (f"> {_text(remark)}" for remark in words.remarks(report))
    for table in words.tables(report):
        yield _table(table)
    yield words.LEGEND
    if apart := words.differences(report):
        yield _table(apart)
    yield from _distributions(report)
    yield "## Examples"
    yield "The first ten of each group by the hash that samples them; nobody has picked them."
    for group in words.present(report):
        yield f"### {words.group_title(group, report)}"
        mine = [one for one in report.examples if one.group is group]
        for number, example in enumerate(mine, 1):
            yield from _example(number, example, report)
    yield "## What was asked"
    for title, parts in words.made_of(report):
        yield f"### {_text(title)}"
        yield "\n".join(f"- {name}: {_text(value)}" for name, value in parts)
    yield _table(words.speeds(report))


def _table(table: Table) -> str:
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
    for group in words.present(report):
        if group is Group.INVENTED:
            continue
        yield f"{words.group_title(group, report)}:"
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
        yield f"{_text(report.asked[reply.asked])} ({words.verdict(reply)}):"
        yield _fenced(reply.text)


def _text(text: str) -> str:
    """Foreign text on one line, with nothing left that Markdown would act upon."""
    return _ACTIVE.sub(r"\\\1", one_line(text))


def _fenced(text: str) -> str:
    """Foreign text as it is, in a fence that it cannot close."""
    fence = "`" * max(3, *(len(run) + 1 for run in _FENCE.findall(text)), 0)
    return f"{fence}text\n{printable(text)}\n{fence}"
