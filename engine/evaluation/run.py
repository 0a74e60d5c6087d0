"""Asks what has not been answered yet: local engines one after another, remote ones at once."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
from typing import Any

from msgspec import Struct

from engine.backends.openai.engine import base_model
from engine.core.types import Answer, Mode, Product, Progress
from engine.evaluation.ask import AnswerFile, Asked, given
from engine.evaluation.questions import Group, Question
from engine.prompts import chat_messages

_CHARACTERS = 4
"""Of English, for a token: the usual rule."""
_PER_MESSAGE = 4
"""Tokens around a message, by OpenAI's guide to counting."""
_UNKNOWN_ANSWER = 400
"""Characters of an answer about an invented title: the middle length of a description."""

_USD_PER_MILLION = {
    "gpt-4o-mini": (0.15, 0.60),
    "gpt-4o": (2.50, 10.00),
    "gpt-4.1": (2.00, 8.00),
    "gpt-4.1-mini": (0.40, 1.60),
    "gpt-4.1-nano": (0.10, 0.40),
    "ft:gpt-4o-mini": (0.30, 1.20),
}
"""US dollars for a million tokens, sent and received. Of fine-tuned models only one is known."""


class Cost(Struct, frozen=True):
    """An estimate: questions that are sent, tokens sent and received, US dollars where known."""

    calls: int
    sent: int
    received: int
    usd: float | None


def estimate(
    asked: Asked, questions: Iterable[Question], price: tuple[float, float] | None = None
) -> Cost:
    """What asking these `questions` may cost. `price` (USD a million tokens) is over the table.

    Grounded, an invented title is answered by the counter, and nothing is sent.
    """
    grounded = asked.mode is Mode.GROUNDED
    sendable = [one for one in questions if not (grounded and one.group is Group.INVENTED)]
    sent = sum(_prompt(asked, one) for one in sendable)
    most = int(asked.made_of.get("max_tokens") or 0)
    received = sum(_answer(one, most) for one in sendable)
    known = price or _price(str(asked.made_of.get("model", "")), str(asked.made_of.get("server")))
    usd = (sent * known[0] + received * known[1]) / 1_000_000 if known else None
    return Cost(len(sendable), sent, received, usd)


def _price(model: str, server: str) -> tuple[float, float] | None:
    """Only OpenAI's own are known."""
    if server != "OpenAI":
        return None
    tuned = "ft:" if model.startswith("ft:") else ""
    return _USD_PER_MILLION.get(tuned + base_model(model))


def _prompt(asked: Asked, question: Question) -> int:
    product = Product("", question.title, question.record)
    system = str(asked.made_of.get("system_prompt") or "")
    messages = chat_messages(question.question, product, asked.mode, system=system)
    return sum(_tokens(len(message.content)) + _PER_MESSAGE for message in messages)


def _answer(question: Question, most: int) -> int:
    tokens = _tokens(len(question.record) or _UNKNOWN_ANSWER)
    return min(tokens, most) if most else tokens


def _tokens(characters: int) -> int:
    return -(-characters // _CHARACTERS)


class _Lane:
    """What is left to ask one after another, by whom is asked."""

    def __init__(self, keys: Iterable[str], now: float) -> None:
        self._left = Counter(keys)
        self._last = now
        self._times: dict[str, list[float]] = {}

    def note(self, key: str, now: float) -> None:
        self._left[key] -= 1
        self._times.setdefault(key, []).append(now - self._last)
        self._last = now

    def seconds_left(self) -> float | None:
        """None before the first answer. Those not asked yet are taken to be like the others."""
        if not self._left.total():
            return 0.0
        if not self._times:
            return None
        rates = {key: _rate(times) for key, times in self._times.items()}
        usual = sum(rates.values()) / len(rates)
        return sum(number * rates.get(key, usual) for key, number in self._left.items())


def _rate(times: list[float]) -> float:
    """Seconds an answer; the first one, which waits for a model to load, counts only at first."""
    later = times[1:] or times
    return sum(later) / len(later)


class Pace:
    """Counts answers and tells of them. `fraction` is the share of the time, not of the answers."""

    def __init__(
        self,
        lanes: dict[str, list[str]],
        on_progress: Callable[[Progress], None] | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`lanes` holds for each answer to come the key of whom is asked."""
        self._clock = clock
        self._began = clock()
        self._lanes = {name: _Lane(keys, self._began) for name, keys in lanes.items()}
        self._total = sum(len(keys) for keys in lanes.values())
        self._done = 0
        self._tell = on_progress

    def note(self, lane: str, key: str) -> None:
        """An answer of `key` is there, or is not going to be."""
        self._done += 1
        self._lanes[lane].note(key, self._clock())
        if self._tell:
            label = f"{self._done:,} of {self._total:,} answers, {key}"
            self._tell(Progress(label, self.fraction()))

    def fraction(self) -> float | None:
        """The share (0..1) of the time that has passed, as far as it can be known."""
        left = [lane.seconds_left() for lane in self._lanes.values()]
        known = [seconds for seconds in left if seconds is not None]
        if len(known) < len(left) or not known:
            return None
        passed = self._clock() - self._began
        return passed / (passed + max(known)) if passed else None


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
