"""Ask thousands of questions in one session; see that memory and open files do not grow.

python -m tools.attack.soak --questions 5000 --seed 1

The catalogue and an OpenAI-compatible server on 127.0.0.1 answer, with engine switches, cancels,
comparisons and conversations opened again at random moments, and the store on disk. Linux only.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from functools import cache
from itertools import zip_longest
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
import psutil

from engine.chat.open import open_resources
from engine.chat.session import Session
from engine.config import settings
from engine.core.errors import BalcaoError
from engine.core.types import Answer, NotSaved, Turn
from tests.engine.backends.openai import server as scripted

_SAMPLES = 200
"""Samples of a whole run."""
_GROWTH = 8 * 2**20
"""Bytes that memory may grow: 2 kB for each of 4,000 questions is found, the allocator's noise,
SQLite's cache of pages and Python's own free lists are not."""
_MORE_HANDLES = 2
"""File handles, threads or tasks of a question that is still being cancelled."""
_TURNS = 20
"""Turns of a conversation, on average: what a session holds in memory is not a leak."""
_LONGEST = 3.0
"""Seconds after which a question is cancelled in any case: some servers never end."""
_PATIENCE = 60.0
"""Seconds until a question counts as stuck."""

_TITLES = (
    "Saffron and Smoke",
    "do you have the striped apron?",
    "Qual é a descrição de “Nether Wimpling Worm Farm for Terrariums”?",
    "safron adn smoke",
    "Mudwork",
    "what size is it?",
    "nothing of the kind zzyzx",
    "half \ud83d of a character",
    "2",
)


class Sample(msgspec.Struct, frozen=True):
    """What the process holds after a number of questions."""

    memory: int
    handles: int
    threads: int
    tasks: int


def sample() -> Sample:
    """Measure this process."""
    process = psutil.Process()
    tasks = len(asyncio.all_tasks())
    return Sample(process.memory_info().rss, process.num_fds(), threading.active_count(), tasks)


def growth(samples: Sequence[Sample]) -> dict[str, tuple[float, float]]:
    """Return each figure's median in the second tenth and in the last: the first one warms up."""
    tenth = max(1, len(samples) // 10)
    early, late = samples[tenth : 2 * tenth], samples[-tenth:]
    return {
        name: (
            median(getattr(one, name) for one in early),
            median(getattr(one, name) for one in late),
        )
        for name in Sample.__struct_fields__
    }


def leaks(samples: Sequence[Sample]) -> list[str]:
    """Return a line for each figure that has grown."""
    allowed = {"memory": _GROWTH}
    return [
        f"{name} grew from {early:,.0f} to {late:,.0f}"
        for name, (early, late) in growth(samples).items()
        if late - early > allowed.get(name, _MORE_HANDLES)
    ]


def _words(draw: random.Random, count: int) -> list[bytes]:
    return [_word(draw.randrange(50)) for _ in range(count)]


@cache
def _word(number: int) -> bytes:
    return scripted.words(f"word{number} ")


def _replies(draw: random.Random) -> scripted.Reply:
    """Return one of the ways in which a server answers, or does not."""
    end = [scripted.words("", "stop"), scripted.event(usage=scripted.USAGE), scripted.DONE]
    answer = _words(draw, draw.randrange(1, 60))
    thoughts = [scripted.thoughts("One more step. ")] * 20
    whole = [
        scripted.streamed(*answer, *end),
        scripted.streamed(*_words(draw, 400), *end),
        scripted.streamed(*thoughts, *answer, *end),
        scripted.streamed(scripted.words("<think>Hm"), scripted.words("m</think>"), *answer, *end),
        scripted.streamed(scripted.sse('{"choices":[{"delta":{"content":"\\ud83d"}}]}'), *end),
    ]
    broken = [
        scripted.streamed(*thoughts, scripted.words("", "length"), scripted.DONE),
        scripted.cut(*answer),
        scripted.stalled(*answer),
        scripted.hang_up(),
        scripted.error(500, "the server is ill"),
        scripted.answer(200, "<html>log in</html>", kind="text/html"),
    ]
    return draw.choice(whole if draw.random() < 0.8 else broken)  # noqa: PLR2004


class Soak:
    """One session, and the random moments at which something happens to it."""

    def __init__(self, session: Session, server: scripted.Server, draw: random.Random) -> None:
        self._session = session
        self._server = server
        self._draw = draw
        self._ids: list[int] = []
        self.counts: Counter[str] = Counter()
        self.failures: list[str] = []
        self.samples: list[Sample] = []

    async def run(self, questions: int) -> None:
        """Ask `questions` questions."""
        every = max(1, questions // _SAMPLES)
        for number in range(questions):
            self._server.script[:] = [_replies(self._draw) for _ in range(4)]
            try:
                async with asyncio.timeout(_PATIENCE):
                    await self._step()
            except BalcaoError as error:
                self.counts[f"refused: {error.message[:40]}"] += 1
            except TimeoutError:
                self.failures.append(f"question {number}: no end within {_PATIENCE:.0f} s")
            except Exception as error:  # noqa: BLE001 - any is a failure
                self.failures.append(f"question {number}: {error!r}")
            self._server.asked.clear()
            if number % every == 0:
                self.samples.append(sample())

    async def _step(self) -> None:
        session, draw = self._session, self._draw
        if draw.random() < 1 / _TURNS:
            await self._leave()
        if draw.random() < 0.3:  # noqa: PLR2004
            session.engine = draw.choice(("catalogue", "remote", "tagged"))
        if draw.random() < 0.1:  # noqa: PLR2004
            session.set_mode()
        (way,) = draw.choices(
            [self._ask, self._ask_again, self._compare, self._fork], [85, 8, 5, 2]
        )
        await way()

    async def _ask(self) -> None:
        events = self._session.ask(self._draw.choice(_TITLES))
        await self._read(events)
        self._count(self._session.answer)

    async def _ask_again(self) -> None:
        turns = self._session.conversation.turns
        if turns:
            turn = self._draw.choice(turns)
            await self._read(self._session.ask_again(turn))
            await self._session.switch_answer(turn, self._draw.choice((-1, 1)))
            self.counts["asked again"] += 1

    async def _compare(self) -> None:
        engines = ("catalogue", "remote", "tagged")
        await self._read(self._session.compare(self._draw.choice(_TITLES), engines))
        self.counts["compared"] += 1

    async def _fork(self) -> None:
        await self._session.fork(len(self._session.conversation.turns))
        self.counts["forked"] += 1

    async def _read(self, events: AsyncGenerator[Any]) -> None:
        """Read all events, or stop at a random one, or be cancelled at a random moment."""
        stop = self._draw.randrange(40) if self._draw.random() < 0.15 else -1  # noqa: PLR2004

        async def read() -> None:
            async with aclosing(events):
                number = 0
                async for event in events:
                    number += 1
                    found = event[1] if isinstance(event, tuple) else event
                    if isinstance(found, NotSaved):
                        self.failures.append(f"not saved: {found.problem.message}")
                    if number == stop:
                        break
                    if number % 10 == 0 and self._draw.random() < 0.02:  # noqa: PLR2004
                        self._session.next_engine()  # while the answer arrives

        task = asyncio.create_task(read())
        cancels = self._draw.random() < 0.15  # noqa: PLR2004
        await asyncio.wait([task], timeout=self._draw.random() / 10 if cancels else _LONGEST)
        if not task.done():
            self.counts["cancelled"] += 1
            task.cancel()
            await asyncio.wait([task])
        if not task.cancelled() and (error := task.exception()):
            raise error

    def _count(self, answer: Answer | None) -> None:
        self.counts[str(answer.stop_reason) if answer else "no answer"] += 1

    async def _leave(self) -> None:
        """Check that the store has the conversation, and go on with a new one or an old one."""
        session, resources = self._session, await self._session.ready()
        here = session.conversation
        if here.id is not None and resources.store:
            await asyncio.sleep(0.05)  # a write that was cancelled goes on in its thread
            pairs = zip_longest(_texts(resources.store.open(here.id).turns), _texts(here.turns))
            self.failures += [
                f"conversation {here.id}: the store has {stored}, not {expected}"
                for stored, expected in pairs
                if stored != expected
            ]
            self._ids.append(here.id)
        if self._ids and self._draw.random() < 0.3:  # noqa: PLR2004
            await session.open(self._draw.choice(self._ids))
            self.counts["opened again"] += 1
            if len(session.conversation.turns) <= 2 * _TURNS:
                return
        session.new()


def _texts(turns: Sequence[Turn]) -> list[object]:
    return [
        (turn.question, [(one.text, one.stop_reason) for one in turn.answers]) for turn in turns
    ]


def _settings(server: scripted.Server, catalogue: Path | None) -> settings.Settings:
    engine = {
        "kind": "openai",
        "model": "m",
        "base_url": server.url,
        "max_retries": 0,
        "stall_timeout": 1,
    }
    engines = {"remote": engine, "tagged": engine}
    flags = {"engines": engines, "catalogue": catalogue}
    return settings.load(Path("none"), {}, flags)


async def attack(questions: int, seed: int, catalogue: Path | None = None) -> Soak:
    """Soak a session on a catalogue, by default the sample, in the folder BALCAO_HOME."""
    async with scripted.running() as server:
        resources = open_resources(chosen := _settings(server, catalogue))
        soak = Soak(Session(chosen, resources), server, random.Random(seed))  # noqa: S311
        try:
            await soak.run(questions)
        finally:
            await resources.close()
    return soak


def main(argv: Sequence[str] | None = None) -> int:
    """Run the soak; return 1 if anything failed or grew."""
    parser = argparse.ArgumentParser(prog="tools.attack.soak", description=__doc__)
    parser.add_argument("--questions", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(argv)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as home:
        os.environ["BALCAO_HOME"] = home
        soak = asyncio.run(attack(options.questions, options.seed))
    failures = [*soak.failures, *leaks(soak.samples)]
    for failure in failures:
        print(f"seed {options.seed}: {failure}")
    for name, (early, late) in growth(soak.samples).items():
        print(f"{name}: {early:,.0f} in the second tenth, {late:,.0f} in the last")
    print(
        f"{options.questions} questions in {time.monotonic() - began:.0f} s,"
        f" {len(failures)} failures: {dict(soak.counts.most_common())}"
    )
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
