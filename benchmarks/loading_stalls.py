"""How long the chat stands still while a model is loaded, with the page of engines open.

python benchmarks/loading_stalls.py MODEL_FOLDER [--rounds N]

A tick every 10 ms on the chat's own loop; a stall is what a tick comes late. Loading and doing
nothing take turns, with the same page open and for as long, so that what other programs do to this
machine is seen beside what loading does. The model is loaded by transformers: torch is imported.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from tui.screens.chat import ChatScreen

TICK = 0.010
STAGES = ("loading", "nothing")


async def ticks(late: list[float], done: asyncio.Event) -> None:
    """Note how late each tick comes, in milliseconds."""
    while not done.is_set():
        began = time.perf_counter()
        await asyncio.sleep(TICK)
        late.append((time.perf_counter() - began - TICK) * 1000)


async def until(holds: Callable[[], bool]) -> None:
    """Wait for it."""
    while not holds():  # noqa: ASYNC110 - what is waited for is in another process
        await asyncio.sleep(0.05)


async def watched(work: Awaitable[None]) -> tuple[list[float], float]:
    """The stalls while `work` is waited for, in milliseconds; and how long it took, in seconds."""
    late: list[float] = []
    done = asyncio.Event()
    task = asyncio.create_task(ticks(late, done))
    began = time.perf_counter()
    await work
    done.set()
    await task
    return late, time.perf_counter() - began


async def measure(folder: Path, rounds: int) -> dict[str, list[float]]:
    """Stalls in milliseconds, by what went on."""
    from engine.config import settings
    from tui.app import BalcaoApp
    from tui.screens.engines import EnginesScreen

    found: dict[str, list[float]] = {stage: [] for stage in STAGES}
    rows = {"base": {"model": str(folder), "runtime": "transformers"}}
    app = BalcaoApp(settings.load(Path("none"), {}, {"engines": rows, "engine": "base"}))
    async with app.run_test(size=(160, 50)) as pilot:
        resources = await cast("ChatScreen", app.screen).session.ready()
        engine = resources.registry.get("base")
        await pilot.press("f9")
        await until(lambda: isinstance(app.screen, EnginesScreen))
        await asyncio.sleep(2)
        for _ in range(rounds):
            await pilot.press("l")
            late, took = await watched(until(lambda: engine.loaded))
            found["loading"] += late
            await pilot.press("u")
            await asyncio.sleep(1)
            found["nothing"] += (await watched(asyncio.sleep(took)))[0]
            print(f"loaded in {took:.1f} s", file=sys.stderr)
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, metavar="MODEL_FOLDER")
    parser.add_argument("--rounds", type=int, default=3, metavar="N")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        os.environ["BALCAO_HOME"] = home
        found = asyncio.run(measure(options.model.resolve(), options.rounds))
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    for stage, late in found.items():
        cuts = statistics.quantiles(late, n=100)
        print(
            f"{stage:8} {len(late):6} ticks: p50 {cuts[49]:.1f} ms, p99 {cuts[98]:.1f} ms,"
            f" worst {max(late):.1f} ms"
        )


if __name__ == "__main__":
    main()
