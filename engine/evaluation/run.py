"""Asks what has not been answered yet: local engines one after another, remote ones at once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
from typing import Any

from msgspec import Struct

from engine.core.types import Answer, Progress
from engine.evaluation.ask import AnswerFile, given
from engine.evaluation.asked_part import Asked
from engine.evaluation.pace_part import Pace
from engine.evaluation.questions import Question

PATIENCE = 10
"""Failures in a row after which an engine is not asked any more: its server or key is at fault."""

Ask = Callable[[Asked, Question], Awaitable[Answer]]
_Job = tuple[Asked, Question]


class Outcome(Struct, frozen=True):
    """What a run did: answers that came, that failed, and that were not asked for any more."""

    answered: int
    failed: int
    left: int
    last_error: str = ""


def to_do(asked: Sequence[Asked], questions: Sequence[Question], answers: AnswerFile) -> list[_Job]:
    """What is to be asked, engine by engine: all without an answer, and those that failed.

    Raises UsageError if the answers that are there are of other engines.
    """
    jobs = [(one, question) for one in asked for question in questions]
    found = [(job, answers.find(*job)) for job in jobs]
    return [job for job, there in found if there is None or there.error]


async def run(
    jobs: Sequence[_Job],
    answers: AnswerFile,
    ask: Ask,
    width: Callable[[Asked], int],
    on_progress: Callable[[Progress], None] | None = None,
) -> Outcome:
    """Ask all `jobs`; each answer is on disk as soon as it is there.

    `width` says how many questions an engine takes at once; those that take one share a lane, in
    order, since two models at once would fight for the machine. Cancelling keeps what came.
    Raises BalcaoError if an answer cannot be written.
    """
    lanes: dict[str, list[_Job]] = {}
    for job in jobs:
        lanes.setdefault(job[0].engine if width(job[0]) > 1 else "", []).append(job)
    pace = Pace({name: [one.key for one, _ in lane] for name, lane in lanes.items()}, on_progress)
    running = _Running(answers, ask, pace)
    await _together(
        running.work(name, waiting)
        for name, lane in lanes.items()
        for waiting in [iter(lane)] * min(width(lane[0][0]), len(lane))
    )
    return running.outcome()


class _Running:
    """One run: the workers take jobs from their lane until it is empty."""

    def __init__(self, answers: AnswerFile, ask: Ask, pace: Pace) -> None:
        self._answers = answers
        self._ask = ask
        self._pace = pace
        self._in_a_row: Counter[str] = Counter()
        self._counts: Counter[str] = Counter()
        self._last_error = ""

    async def work(self, lane: str, waiting: Iterator[_Job]) -> None:
        for asked, question in waiting:
            if self._in_a_row[asked.key] >= PATIENCE:
                self._counts["left"] += 1
            else:
                await self._answer(asked, question)
            self._pace.note(lane, asked.key)

    async def _answer(self, asked: Asked, question: Question) -> None:
        answer = given(asked, question, await self._ask(asked, question))
        self._answers.add(answer)
        if answer.error:
            self._last_error = answer.error
            self._in_a_row[asked.key] += 1
        else:
            self._in_a_row[asked.key] = 0
        self._counts["failed" if answer.error else "answered"] += 1

    def outcome(self) -> Outcome:
        counts = self._counts
        return Outcome(counts["answered"], counts["failed"], counts["left"], self._last_error)


async def _together(work: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Do all at once; the first failure ends the others and is raised as it is."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
