"""Gather the values of a report from the answers; `render` writes them.

The same answers give the same report, except for `speed`, however often the run was interrupted.
"""

from collections.abc import Callable, Sequence
from typing import Any

from msgspec import UNSET, Struct, UnsetType

from engine.core.types import Mode, Progress
from engine.evaluation import statistics
from engine.evaluation.ask import AnswerFile, Target, display_titles
from engine.evaluation.confidence import Risk, measure_risk
from engine.evaluation.metrics import AnswerScores, ScoredAnswer, Verdict, score_answer
from engine.evaluation.questions import Group, Question

VERSION = 1
EXAMPLES = 10
"""Questions of each group."""
_POINTS = 400
"""Answers of each target in the plot of fidelity by length."""


class PlotPoint(Struct, frozen=True):
    """An answer in the plot: the record's length and the fidelity."""

    words: int
    fidelity: float


class ExampleAnswer(Struct, frozen=True, rename={"target": "asked", "verdict": "outcome"}):
    """A target's answer in an example; `scores` is None for an invented title."""

    target: str
    text: str
    verdict: Verdict
    scores: AnswerScores | None


class ExampleQuestion(Struct, frozen=True, rename={"answers": "replies"}):
    """A question with the answers of all targets."""

    group: Group
    question: str
    title: str
    record: str
    answers: list[ExampleAnswer]


class Report(Struct, frozen=True, rename={"titles": "asked", "provenance": "made_of"}):
    """The content of report.json.

    `groups` counts the questions, `titles` are the targets' by key in the order of the command
    line, `notices` what engines said about their answers. `missing` answers belong to engines that
    were skipped. `knows_trained`: the training rows were given. From memory, `refusing` rates the
    refusals of the model alone and of the program, without its list of taught titles and with, and
    `risk` says how much of what they say is wrong.
    """

    version: int
    groups: dict[Group, int]
    knows_trained: bool
    titles: dict[str, str]
    provenance: dict[str, dict[str, Any]]
    figures: list[statistics.Figures]
    differences: list[statistics.Difference]
    points: dict[str, list[PlotPoint]]
    examples: list[ExampleQuestion]
    notices: dict[str, list[str]]
    missing: int
    speed: list[statistics.Speed]
    refusing: dict[str, dict[str, statistics.Rates]] | UnsetType = UNSET
    risk: dict[str, Risk] | UnsetType = UNSET


def gather(
    targets: Sequence[Target],
    questions: Sequence[Question],
    answers: AnswerFile,
    *,
    knows_trained: bool,
    on_progress: Callable[[Progress], None] | None = None,
) -> Report:
    """Score every answer and summarize."""
    scored = _score_all(targets, questions, answers, on_progress)
    counts = {group: sum(one.group is group for one in questions) for group in Group}
    groups = [group for group in Group if counts[group]]
    return Report(
        version=VERSION,
        groups=counts,
        knows_trained=knows_trained,
        titles=display_titles(targets),
        provenance={target.key: target.provenance for target in targets},
        figures=[
            statistics.summarize(target, group, _in_group(scored[target.key], group))
            for group in groups
            for target in targets
        ],
        differences=_differences(groups, scored),
        points={key: _points(mine) for key, mine in scored.items()},
        examples=[one for group in groups for one in _examples(group, questions, scored)],
        notices={
            key: sorted({one.answer.notice for one in mine if one.answer.notice})
            for key, mine in scored.items()
        },
        missing=len(targets) * len(questions) - sum(len(mine) for mine in scored.values()),
        speed=[statistics.measure_speed(key, mine) for key, mine in scored.items()],
        refusing=(_rates(targets, scored) if knows_trained else None) or UNSET,
        risk=(_risks(targets, scored) if knows_trained else None) or UNSET,
    )


def _score_all(
    targets: Sequence[Target],
    questions: Sequence[Question],
    answers: AnswerFile,
    on_progress: Callable[[Progress], None] | None,
) -> dict[str, list[ScoredAnswer]]:
    scored: dict[str, list[ScoredAnswer]] = {target.key: [] for target in targets}
    jobs = [(target, question) for target in targets for question in questions]
    for number, (target, question) in enumerate(jobs):
        answer = answers.find(target, question)
        if answer is not None:
            scored[target.key].append(
                score_answer(question, answer, target.mode, target.calibration)
            )
        if on_progress:
            label = f"scoring {number:,} of {len(jobs):,}"
            on_progress(Progress(label, number / len(jobs)))
    return scored


def _in_group(scored: Sequence[ScoredAnswer], group: Group) -> list[ScoredAnswer]:
    return [one for one in scored if one.question.group is group]


def _differences(
    groups: Sequence[Group], scored: dict[str, list[ScoredAnswer]]
) -> list[statistics.Difference]:
    first, *others = scored
    found = [
        statistics.compare(key, _in_group(scored[first], group), _in_group(scored[key], group))
        for group in groups
        if group.has_record
        for key in others
    ]
    return [difference for difference in found if difference]


def _rates(
    targets: Sequence[Target], scored: dict[str, list[ScoredAnswer]]
) -> dict[str, dict[str, statistics.Rates]]:
    keys = [target.key for target in targets if target.mode is Mode.MEMORY]
    return {key: rated for key in keys if (rated := statistics.rate_refusals(scored[key]))}


def _risks(targets: Sequence[Target], scored: dict[str, list[ScoredAnswer]]) -> dict[str, Risk]:
    keys = [target.key for target in targets if target.mode is Mode.MEMORY]
    return {key: risk for key in keys if (risk := measure_risk(scored[key]))}


def _points(scored: Sequence[ScoredAnswer]) -> list[PlotPoint]:
    """Sample by id, which is a hash."""
    answered = [one for one in scored if one.verdict is Verdict.ANSWERED and one.question.record]
    return [
        PlotPoint(len(one.question.record.split()), one.scores.fidelity)
        for one in sorted(answered, key=lambda one: one.question.id)[:_POINTS]
    ]


def _examples(
    group: Group, questions: Sequence[Question], scored: dict[str, list[ScoredAnswer]]
) -> list[ExampleQuestion]:
    """Take the first questions of the group, which are in random order."""
    answers: dict[str, list[ExampleAnswer]] = {}
    for key, mine in scored.items():
        for one in _in_group(mine, group):
            text = one.answer.text or one.answer.error
            scores = one.scores if one.question.record else None
            answer = ExampleAnswer(key, text, one.verdict, scores)
            answers.setdefault(one.question.id, []).append(answer)
    chosen = [one for one in questions if one.group is group][:EXAMPLES]
    return [
        ExampleQuestion(group, one.question, one.title, one.record, answers.get(one.id, []))
        for one in chosen
    ]
