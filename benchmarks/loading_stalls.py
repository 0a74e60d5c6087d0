"""Measure how long the chat freezes while a model loads, with the engines page open.

python benchmarks/loading_stalls.py MODEL_FOLDER [--rounds N]

A tick is due every 10 ms on the chat's event loop; a stall is how late it comes. Loading and
idling take turns, equally long and with the same page open, which separates the effect of loading
from that of other programs. transformers loads the model, so that torch is imported too.
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
STAGES = ("loading", "idle")


async def ticks(late: list[float], done: asyncio.Event) -> None:
    """Append how late each tick comes, in milliseconds."""
    while not done.is_set():
        began = time.perf_counter()
        await asyncio.sleep(TICK)
        late.append((time.perf_counter() - began - TICK) * 1000)


async def until(condition: Callable[[], bool]) -> None:
    """Wait until `condition` is true."""
    while not condition():  # noqa: ASYNC110 - another process makes it true
        await asyncio.sleep(0.05)


async def watched(work: Awaitable[None]) -> tuple[list[float], float]:
    """Await `work`; return the stalls in milliseconds and its duration in seconds."""
    late: list[float] = []
    done = asyncio.Event()
    task = asyncio.create_task(ticks(late, done))
    began = time.perf_counter()
    await work
    done.set()
    await task
    return late, time.perf_counter() - began


async def measure(folder: Path, rounds: int) -> dict[str, list[float]]:
    """Return the stalls in milliseconds, by stage."""
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
            found["idle"] += (await watched(asyncio.sleep(took)))[0]
            print(f"loaded in {took:.1f} s", file=sys.stderr)
    return found


def main() -> None:
    """Measure and print the table."""
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
