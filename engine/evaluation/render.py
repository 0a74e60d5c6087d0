"""What the Markdown and HTML reports share: headings, tables as plain cells, figures in words."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import Struct

from engine.evaluation.intervals_part import Estimate
from engine.evaluation.judging_part import Outcome
from engine.evaluation.questions import Group
from engine.evaluation.report import Reply, Report
from engine.evaluation.statistics import Difference, Figures

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
