"""Time a key until its letter is on the screen, with title completion and without.

    python -m benchmarks.typing_echo --catalogue /tmp/made/index --letters 200

The real chat runs headless and is typed into at a constant rate. Each letter is timed from the key
until the composer is drawn with it. The two ways alternate title by title, and the first title of
each is not counted.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from textual.events import Key
from textual.pilot import Pilot

from engine.config import settings
from tui.app import BalcaoApp
from tui.widgets.composer import Composer

_TITLES = (
    "do you have the saffron and",
    "qual a descricao de the bo",
    "the small silver sto",
    "mog s kit",
)


def main(argv: Sequence[str]) -> int:
    """Measure and print the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--catalogue", type=Path, required=True)
    parser.add_argument("--letters", type=int, default=200)
    parser.add_argument("--pause", type=float, default=0.15, help="seconds between two keys")
    chosen = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as home:
        asyncio.run(_run(chosen.catalogue, chosen.letters, chosen.pause, home))
    return 0


async def _run(catalogue: Path, letters: int, pause: float, home: str) -> None:
    apps = {
        offered: BalcaoApp(
            settings.load(
                Path("none"),
                {"BALCAO_HOME": home},
                {"catalogue": catalogue, "complete_titles": offered},
            )
        )
        for offered in (True, False)
    }
    times: dict[bool, list[float]] = {True: [], False: []}
    async with apps[True].run_test() as with_titles, apps[False].run_test() as without:
        await asyncio.sleep(3)
        place = 0
        while len(times[False]) < letters:
            for offered, pilot in ((True, with_titles), (False, without)):
                took = await _type(pilot, _TITLES[place % len(_TITLES)], pause)
                times[offered] += took if place else []
            place += 1
    for offered, took in times.items():
        took.sort()
        p50, p95 = took[len(took) // 2], took[int(len(took) * 0.95)]
        what = "with completion" if offered else "without completion"
        print(f"{what}: {len(took)} keys, ms: p50 {p50:.1f}, p95 {p95:.1f}, worst {took[-1]:.1f}")


async def _type(pilot: Pilot[None], text: str, pause: float) -> list[float]:
    composer = pilot.app.screen.query_one(Composer)
    took = []
    for letter in text:
        drawn = asyncio.Event()
        started = time.perf_counter()
        before = len(composer.text)
        pilot.app.post_message(Key("space" if letter == " " else letter, letter))
        while len(composer.text) == before:  # noqa: ASYNC110 - there is no event to await
            await asyncio.sleep(0)
        composer.call_after_refresh(drawn.set)
        await drawn.wait()
        took.append((time.perf_counter() - started) * 1000)
        await asyncio.sleep(pause)
    composer.clear()
    await pilot.pause()
    return took


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
