"""The report as one HTML file that needs nothing else: no script, no font, no network."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from engine.core.text import one_line, printable
from engine.evaluation import render as words
from engine.evaluation.plots_part import histogram, scatter
from engine.evaluation.questions import Group
from engine.evaluation.render import Table
from engine.evaluation.report import Example, Reply, Report
from engine.fidelity.marks_part import spans

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
        f"<title>{words.TITLE}</title><style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(_parts(report))
        + "\n</body></html>\n"
    )


def _parts(report: Report) -> Iterator[str]:
    yield f"<h1>{words.TITLE}</h1><p>{words.INTRO}</p>"
    yield from (f"<p><b>{_line(remark)}</b></p>" for remark in words.remarks(report))
    for table in words.tables(report):
        yield _table(table)
    yield f'<p class="note">{words.LEGEND}</p>'
    if apart := words.differences(report):
        yield _table(apart)
    yield from _plots(report)
    yield from _examples(report)
    yield "<h2>What was asked</h2>"
    for title, parts in words.made_of(report):
        listed = "".join(f"<dt>{_line(name)}</dt><dd>{_line(value)}</dd>" for name, value in parts)
        yield f"<details><summary>{_line(title)}</summary><dl>{listed}</dl></details>"
    yield _table(words.speeds(report))


def _table(table: Table) -> str:
    head = "".join(f"<th>{_line(name)}</th>" for name in table.head)
    rows = "".join(
        f"<tr>{''.join(f'<td>{_line(cell)}</td>' for cell in row)}</tr>" for row in table.rows
    )
    return (
        f'<h2>{_line(table.heading)}</h2><div class="wide"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _plots(report: Report) -> Iterator[str]:
    for group in words.present(report):
        if group is not Group.INVENTED:
            mine = [one for one in report.figures if one.group is group]
            drawn = "".join(histogram(report.asked[one.asked], one.distribution) for one in mine)
            title = _line(words.group_title(group, report))
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
    for group in words.present(report):
        yield f"<h3>{_line(words.group_title(group, report))}</h3>"
        for example in report.examples:
            if example.group is group:
                yield _example(example, report)


def _example(example: Example, report: Report) -> str:
    cards = [_card("The record", "", escape(printable(example.record)))] if example.record else []
    for reply in example.replies:
        text = _marked(reply, example.record)
        cards.append(_card(report.asked[reply.asked], words.verdict(reply), text))
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
