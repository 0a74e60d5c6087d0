"""Runs: concurrency within a server's limit, failures, progress."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Callable
from contextlib import aclosing, closing
from pathlib import Path

import pytest

from engine.backends.registry import Registry
from engine.catalogue.catalogue import Catalogue
from engine.chat.answer import PendingAnswer
from engine.config.settings import load
from engine.core.errors import BalcaoError
from engine.core.types import Answer, Answered, Mode, Problem, Progress, Status, StopReason
from engine.evaluation.ask import Target
from engine.evaluation.questions import Question
from engine.evaluation.run import MAX_FAILURES, Ask, EvaluationResult, ProgressMeter, pending, run
from tests.engine.backends.openai.server import Limited, Server
from tests.engine.evaluation.conftest import Bench, echo, remote


def answer_of(question: Question, error: str = "") -> Answer:
    return Answer(
        question.question,
        "base",
        Mode.MEMORY,
        Status.NONE,
        "" if error else f"About {question.title}.",
        StopReason.ERROR if error else StopReason.COMPLETE,
        problem=Problem(error) if error else None,
    )


class Asking:
    """Answers after `delay` seconds; `fails` says for which question not."""

    def __init__(self, delay: float = 0.0, fails: Callable[[int], bool] = lambda _: False) -> None:
        self.delay = delay
        self.fails = fails
        self.asked: list[tuple[str, str]] = []
        self.busy = self.most = 0
        self.twenty = asyncio.Event()

    async def __call__(self, asked: Target, question: Question) -> Answer:
        self.asked.append((asked.key, question.id))
        number = len(self.asked)
        if number >= 20:
            self.twenty.set()
        self.busy += 1
        self.most = max(self.most, self.busy)
        await asyncio.sleep(self.delay)
        self.busy -= 1
        return answer_of(question, "It broke." if self.fails(number) else "")


async def go(
    bench: Bench, ask: Ask, names: str = "base:memory", width: int = 1
) -> EvaluationResult:
    asked = bench.targets(names)
    with bench.answers() as answers:
        jobs = pending(asked, bench.questions, answers)
        return await run(jobs, answers, ask, width)


async def test_everything_is_asked_once(bench: Bench) -> None:
    ask = Asking()
    assert await go(bench, ask, "base:memory,lora:memory") == EvaluationResult(200, 0, 0)
    assert len(set(ask.asked)) == 200
    assert [key for key, _ in ask.asked] == ["base:memory"] * 100 + ["lora:memory"] * 100
    assert await go(bench, ask, "base:memory,lora:memory,lora") == EvaluationResult(100, 0, 0)
    assert len(ask.asked) == 300


async def test_local_engines_take_turns_and_remote_ones_run_concurrently(bench: Bench) -> None:
    local = Asking(0.001)
    await go(bench, local, "base:memory,lora:memory")
    assert local.most == 1
    both = Asking(0.02)
    await go(bench, both, "openai:memory,base", width=8)
    assert both.most == 9


async def test_engines_of_one_address_share_its_limit(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("first", "second", "third"):
        table = f"BALCAO_ENGINES__{name.upper()}__"
        monkeypatch.setenv(f"{table}KIND", "openai")
        monkeypatch.setenv(f"{table}MODEL", name)
        address = "http://127.0.0.2/v1" if name == "third" else "http://127.0.0.1/v1"
        monkeypatch.setenv(f"{table}BASE_URL", address)
    bench.settings = load()
    same = Asking(0.001)
    await go(bench, same, "first:memory,second:memory,second", width=5)
    assert same.most == 5
    others = Asking(0.001)
    await go(bench, others, "first,third,base", width=5)
    assert others.most == 11


async def test_failed_questions_are_asked_again(bench: Bench) -> None:
    first = await go(bench, Asking(fails=lambda number: number % 3 == 0))
    assert first == EvaluationResult(67, 33, 0, "It broke.")
    assert await go(bench, Asking()) == EvaluationResult(33, 0, 0)


async def test_an_engine_that_only_fails_is_skipped(bench: Bench) -> None:
    ask = Asking(fails=lambda number: number <= 30)
    outcome = await go(bench, ask, "base:memory,lora:memory")
    fails = 2 * MAX_FAILURES
    assert outcome == EvaluationResult(0, fails, 200 - fails, "It broke.")
    ask = Asking(fails=lambda number: number <= MAX_FAILURES)
    assert await go(bench, ask, "base:memory,lora:memory") == EvaluationResult(
        100, MAX_FAILURES, 90, "It broke."
    )


async def test_cancelling_keeps_saved_answers(bench: Bench) -> None:
    ask = Asking(0.01)
    task = asyncio.ensure_future(go(bench, ask, "openai:memory", width=4))
    await ask.twenty.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with bench.answers() as answers:
        there = len(answers.answers)
    assert 16 <= there < 100
    assert await go(bench, Asking(), "openai:memory") == EvaluationResult(100 - there, 0, 0)


async def test_a_full_disk_ends_the_run_and_keeps_saved_answers(bench: Bench) -> None:
    ask = Asking(0.01)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, limits[1]))
    try:
        with pytest.raises(BalcaoError, match="Cannot write"):
            await go(bench, ask, "openai:memory", width=8)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    with bench.answers() as answers:
        there = len(answers.answers)
    assert 5 <= there <= len(ask.asked) < 40
    assert await go(bench, Asking(), "openai:memory") == EvaluationResult(100 - there, 0, 0)


async def test_a_hundred_concurrent_questions_respect_the_servers_limit(
    bench: Bench, server: Server, sample: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limited = Limited(25, echo(0.005))
    server.always = limited
    remote(server.url, monkeypatch)
    bench.settings = load()
    registry = Registry(bench.settings)
    with closing(Catalogue.open(sample)) as catalogue:

        async def ask(asked: Target, question: Question) -> Answer:
            reply = PendingAnswer(registry, catalogue, question.question, asked.engine, asked.mode)
            async with aclosing(reply.events()) as events:
                async for event in events:
                    if isinstance(event, Answered):
                        return event.answer
            raise AssertionError

        outcome = await go(bench, ask, "openai:memory", width=100)
        await registry.close()
    assert outcome == EvaluationResult(100, 0, 0)
    assert limited.most == 25
    assert limited.refused > 0
    with bench.answers() as answers:
        texts = {answer.text for answer in answers.answers.values()}
    assert len(texts) > 90
    assert all("something" in text for text in texts)


def test_progress_is_the_share_of_the_time() -> None:
    now = [100.0]
    told: list[Progress] = []
    lanes = {"": ["slow"] * 3 + ["other"] * 2, "remote": ["fast"] * 10}
    meter = ProgressMeter(lanes, told.append, lambda: now[0])
    now[0] += 20  # loading
    meter.count("", "slow")
    assert told[-1] == Progress("1 of 15 answers, slow", None)
    now[0] += 2
    meter.count("remote", "fast")
    # One fast answer took 22 s, so the nine others are expected to: 198 s next to 4 * 20 s.
    assert told[-1].fraction == pytest.approx(22 / (22 + 198))
    for _ in range(9):
        meter.count("remote", "fast")
    assert told[-1].fraction == pytest.approx(22 / (22 + 80))
    now[0] += 3
    meter.count("", "slow")
    # The first, which waited for the model, counts no more: three left at 5 s.
    assert told[-1].fraction == pytest.approx(25 / (25 + 15))
    for key in ("slow", "other", "other"):
        meter.count("", key)
    assert told[-1] == Progress("15 of 15 answers, other", 1.0)
