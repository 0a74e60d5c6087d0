"""Ask every question without an answer: local engines one by one, remote ones concurrently."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from statistics import fmean

from msgspec import Struct

from engine.backends.openai.engine import base_model
from engine.core.types import Answer, Mode, Product, Progress
from engine.evaluation.ask import AnswerFile, Target, saved_answer
from engine.evaluation.questions import Question
from engine.prompts import chat_messages

_CHARACTERS_PER_TOKEN = 4
"""The usual estimate for English."""
_TOKENS_PER_MESSAGE = 4
"""The overhead according to OpenAI's guide to counting tokens."""
_INVENTED_ANSWER = 400
"""Characters of an answer about an invented title: the median length of a description."""

_USD_PER_MILLION = {
    "gpt-4o-mini": (0.15, 0.60),
    "gpt-4o": (2.50, 10.00),
    "gpt-4.1": (2.00, 8.00),
    "gpt-4.1-mini": (0.40, 1.60),
    "gpt-4.1-nano": (0.10, 0.40),
    "ft:gpt-4o-mini": (0.30, 1.20),
}
"""US dollars for a million tokens sent and received. One fine-tuned model has a known price."""


class RequestCost(Struct, frozen=True):
    """An estimate: requests, tokens sent and received, US dollars if the price is known."""

    requests: int
    sent: int
    received: int
    usd: float | None


def estimate_cost(
    target: Target, questions: Iterable[Question], price: tuple[float, float] | None = None
) -> RequestCost:
    """Estimate the cost of asking, at `price` for a million tokens sent and received."""
    grounded = target.mode is Mode.GROUNDED
    sendable = [one for one in questions if not (grounded and not one.group.has_record)]
    limit = int(target.provenance.get("max_tokens") or 0)
    sent = sum(_prompt_tokens(target, question) for question in sendable)
    answers = (_tokens(len(question.record) or _INVENTED_ANSWER) for question in sendable)
    received = sum(min(tokens, limit or tokens) for tokens in answers)
    price = price or _known_price(target)
    usd = (sent * price[0] + received * price[1]) / 1_000_000 if price else None
    return RequestCost(len(sendable), sent, received, usd)


def _known_price(target: Target) -> tuple[float, float] | None:
    if target.provenance.get("server") != "OpenAI":
        return None
    model = str(target.provenance.get("model", ""))
    prefix = "ft:" if model.startswith("ft:") else ""
    return _USD_PER_MILLION.get(prefix + base_model(model))


def _prompt_tokens(target: Target, question: Question) -> int:
    product = Product("", question.title, question.record)
    system = str(target.provenance.get("system_prompt") or "")
    messages = chat_messages(question.question, product, target.mode, system=system)
    return sum(_tokens(len(message.content)) + _TOKENS_PER_MESSAGE for message in messages)


def _tokens(characters: int) -> int:
    return -(-characters // _CHARACTERS_PER_TOKEN)


class _Lane:
    """Questions that wait for one another, and how long each target takes."""

    def __init__(self, keys: Iterable[str], now: float) -> None:
        self._left = Counter(keys)
        self._last = now
        self._times: dict[str, list[float]] = {}

    def count(self, key: str, now: float) -> None:
        self._left[key] -= 1
        self._times.setdefault(key, []).append(now - self._last)
        self._last = now

    def seconds_left(self) -> float | None:
        """Estimate by the targets that have answered; None before the first answer."""
        if not self._left.total():
            return 0.0
        if not self._times:
            return None
        # The first answer, which waits for the model to load, counts only while it is alone.
        rates = {key: fmean(times[1:] or times) for key, times in self._times.items()}
        mean = fmean(rates.values())
        return sum(number * rates.get(key, mean) for key, number in self._left.items())


class ProgressMeter:
    """Counts answers and reports the share of the time, not of the answers, that has passed."""

    def __init__(
        self,
        lanes: dict[str, list[str]],
        on_progress: Callable[[Progress], None] | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`lanes` contains a target's key for every answer to come."""
        self._clock = clock
        self._began = clock()
        self._lanes = {name: _Lane(keys, self._began) for name, keys in lanes.items()}
        self._total = sum(len(keys) for keys in lanes.values())
        self._done = 0
        self._on_progress = on_progress

    def count(self, lane: str, key: str) -> None:
        """Count an answer of a target, or a question that was skipped."""
        self._done += 1
        self._lanes[lane].count(key, self._clock())
        if self._on_progress:
            label = f"{self._done:,} of {self._total:,} answers, {key}"
            self._on_progress(Progress(label, self._fraction()))

    def _fraction(self) -> float | None:
        left = [lane.seconds_left() for lane in self._lanes.values()]
        known = [seconds for seconds in left if seconds is not None]
        passed = self._clock() - self._began
        if len(known) < len(left) or not passed:
            return None
        return passed / (passed + max(known))


MAX_FAILURES = 10
"""Failures in a row after which an engine is skipped: its server or key is probably wrong."""

Ask = Callable[[Target, Question], Awaitable[Answer]]
_Job = tuple[Target, Question]


class EvaluationResult(Struct, frozen=True):
    """How many questions of a run were answered, failed and were skipped."""

    answered: int
    failed: int
    skipped: int
    last_error: str = ""


def pending(
    targets: Sequence[Target], questions: Sequence[Question], answers: AnswerFile
) -> list[_Job]:
    """List what to ask, target by target: questions without an answer, and failed ones."""
    jobs = [(target, question) for target in targets for question in questions]
    saved = [(job, answers.find(*job)) for job in jobs]
    return [job for job, answer in saved if answer is None or answer.error]


async def run(
    jobs: Sequence[_Job],
    answers: AnswerFile,
    ask: Ask,
    concurrency: int,
    on_progress: Callable[[Progress], None] | None = None,
) -> EvaluationResult:
    """Ask all `jobs` and save each answer as it arrives; cancelling keeps the saved ones.

    A server gets up to `concurrency` questions at once, whatever the number of its targets. Local
    targets take turns, because two models would compete for the machine.
    """
    lanes: dict[str, list[_Job]] = {}
    for job in jobs:
        lanes.setdefault(job[0].queue, []).append(job)
    keys = {name: [target.key for target, _ in lane] for name, lane in lanes.items()}
    runner = _Runner(answers, ask, ProgressMeter(keys, on_progress))
    tasks = [
        asyncio.ensure_future(runner.work(name, waiting))
        for name, lane in lanes.items()
        for waiting in [iter(lane)] * min(concurrency if name else 1, len(lane))
    ]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return runner.result()


class _Runner:
    """Workers take jobs from their lane until it is empty."""

    def __init__(self, answers: AnswerFile, ask: Ask, meter: ProgressMeter) -> None:
        self._answers = answers
        self._ask = ask
        self._meter = meter
        self._failures_in_a_row: Counter[str] = Counter()
        self._counts: Counter[str] = Counter()
        self._last_error = ""

    async def work(self, lane: str, waiting: Iterator[_Job]) -> None:
        for target, question in waiting:
            if self._failures_in_a_row[target.key] >= MAX_FAILURES:
                self._counts["skipped"] += 1
            else:
                await self._answer(target, question)
            self._meter.count(lane, target.key)

    async def _answer(self, target: Target, question: Question) -> None:
        answer = saved_answer(target, question, await self._ask(target, question))
        self._answers.add(answer)
        if answer.error:
            self._last_error = answer.error
            self._failures_in_a_row[target.key] += 1
            self._counts["failed"] += 1
        else:
            self._failures_in_a_row[target.key] = 0
            self._counts["answered"] += 1

    def result(self) -> EvaluationResult:
        counts = self._counts
        return EvaluationResult(
            counts["answered"], counts["failed"], counts["skipped"], self._last_error
        )
