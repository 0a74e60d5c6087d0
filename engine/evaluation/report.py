"""The report of an evaluation: gathered from the answers, written as JSON, Markdown and HTML.

Two runs with the same answers make the same report, but for `speed`, however often they were
killed and gone on with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import Struct

from engine.core.types import Progress
from engine.evaluation.ask import AnswerFile, Asked, names
from engine.evaluation.metrics import Judged, Outcome, Scores, judge
from engine.evaluation.questions import Group, Question
from engine.evaluation.statistics import Difference, Figures, Speed, difference, figures, speed

VERSION = 1
EXAMPLES = 10
"""A group."""
_POINTS = 400
"""Answers of each engine in the plot of fidelity against length."""


class Point(Struct, frozen=True):
    """An answer in the plot: the record's length in words, and the fidelity."""

    words: int
    fidelity: float


class Reply(Struct, frozen=True):
    """One engine's answer in an example; `scores` is None where there is no record."""

    asked: str
    text: str
    outcome: Outcome
    scores: Scores | None


class Example(Struct, frozen=True):
    """A question with everyone's answers side by side."""

    group: Group
    question: str
    title: str
    record: str
    replies: list[Reply]


class Report(Struct, frozen=True):
    """Everything that the three files show. `groups` counts the questions."""

    version: int
    groups: dict[Group, int]
    knows_trained: bool
    """Whether it was told what the adapter was trained on."""
    asked: dict[str, str]
    """Titles by key, in the order asked for."""
    made_of: dict[str, dict[str, object]]
    figures: list[Figures]
    differences: list[Difference]
    points: dict[str, list[Point]]
    examples: list[Example]
    notices: dict[str, list[str]]
    """What the engines said about how their answers came to be."""
    missing: int
    """Answers that are not there, since their engine was given up."""
    speed: list[Speed]


def gather(
    asked: Sequence[Asked],
    questions: Sequence[Question],
    answers: AnswerFile,
    *,
    knows_trained: bool,
    on_progress: Callable[[Progress], None] | None = None,
) -> Report:
    """Judge every answer and count."""
    judged = _judge_all(asked, questions, answers, on_progress)
    groups = {group: sum(one.group is group for one in questions) for group in Group}
    present = [group for group in Group if groups[group]]
    first = asked[0].key
    found: list[Figures] = []
    differences: list[Difference] = []
    for group in present:
        for one in asked:
            mine = _of(judged[one.key], group)
            found.append(figures(one, group, mine))
            if one.key != first and group is not Group.INVENTED:
                apart = difference(one.key, _of(judged[first], group), mine)
                differences += [apart] if apart else []
    return Report(
        version=VERSION,
        groups=groups,
        knows_trained=knows_trained,
        asked=names(asked),
        made_of={one.key: one.made_of for one in asked},
        figures=found,
        differences=differences,
        points={one.key: _points(judged[one.key]) for one in asked},
        examples=[one for group in present for one in _examples(group, questions, judged)],
        notices={one.key: _notices(judged[one.key]) for one in asked},
        missing=len(asked) * len(questions) - sum(len(mine) for mine in judged.values()),
        speed=[speed(one.key, judged[one.key]) for one in asked],
    )


def _judge_all(
    asked: Sequence[Asked],
    questions: Sequence[Question],
    answers: AnswerFile,
    on_progress: Callable[[Progress], None] | None,
) -> dict[str, list[Judged]]:
    judged: dict[str, list[Judged]] = {one.key: [] for one in asked}
    total = len(asked) * len(questions)
    jobs = [(one, question) for one in asked for question in questions]
    for number, (one, question) in enumerate(jobs):
        there = answers.find(one, question)
        if there is not None:
            judged[one.key].append(judge(question, there, one.mode))
        if on_progress:
            on_progress(Progress(f"measuring {number:,} of {total:,}", number / total))
    return judged


def _of(judged: Sequence[Judged], group: Group) -> list[Judged]:
    return [one for one in judged if one.question.group is group]


def _points(judged: Sequence[Judged]) -> list[Point]:
    """Those that were answered; an id is a hash, so that the first by their ids are a sample."""
    answered = [one for one in judged if one.outcome is Outcome.ANSWERED and one.question.record]
    return [
        Point(len(one.question.record.split()), one.scores.fidelity)
        for one in sorted(answered, key=lambda one: one.question.id)[:_POINTS]
    ]


def _examples(
    group: Group, questions: Sequence[Question], judged: dict[str, list[Judged]]
) -> list[Example]:
    """The first of the group's questions, which stand in random order: nobody has picked them."""
    by_id = {(key, one.question.id): one for key, mine in judged.items() for one in mine}
    mine = [one for one in questions if one.group is group][:EXAMPLES]
    return [
        Example(
            group,
            one.question,
            one.title,
            one.record,
            [_reply(key, by_id[key, one.id]) for key in judged if (key, one.id) in by_id],
        )
        for one in mine
    ]


def _reply(key: str, judged: Judged) -> Reply:
    text = judged.given.text or judged.given.error
    scores = judged.scores if judged.question.record else None
    return Reply(key, text, judged.outcome, scores)


def _notices(judged: Sequence[Judged]) -> list[str]:
    return sorted({one.given.notice for one in judged if one.given.notice})
