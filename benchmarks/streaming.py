"""An answer that comes, in a long conversation: ours against Textual's Static and MarkdownStream.

    python benchmarks/streaming.py [--rounds N] [--documents N] [--ways WAY …] [--kinds KIND …]

The chat runs in a pseudo-terminal of 100x40, a fresh process each time, the three ways by turns.
2,000 tokens come at 200 a second, so 10 s is what it takes; *real time* is the ratio to that, the
last words on the screen included. *Late* is how long the event loop kept a thread waiting that
asked it every 5 ms; *alone* the same in the loop's own CPU time, as it would be with a core to
itself, of rounds weighted by their length. *Echo* is from a key that is sent, two a second, until
its letter comes back from the terminal. Static draws letters and no Markdown: it is the limit. CPU
is of the chat's process. Then: opening long conversations, and random documents that are streamed
and compared, on the screen, with the same drawn at once.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import pty
import random
import select
import signal
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from fcntl import ioctl
from pathlib import Path
from struct import pack
from termios import TIOCSWINSZ

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))
WAYS = ("balcao", "static", "markdownstream")
KINDS = ("prose", "list", "table", "code")
IDEAL = 10.0
_LETTERS = "αβγδεζηθικλμνξοπρστυφχψω"
_GIVE_UP = 150.0
_PROBE = 5.0


@dataclass
class Found:
    """What one run gave: seconds; milliseconds late, of each round, and to the echo."""

    wall: float
    cpu: float
    late: list[float] = field(default_factory=list)
    rounds: list[float] = field(default_factory=list)
    echo: list[float] = field(default_factory=list)
    widgets: int = 0


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--documents", type=int, default=200)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    chosen = parser.parse_args()
    ways = chosen.ways
    print(f"load when it began: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print(
        f"{'':24}{'real time':>10}{'CPU s':>8}{'late p99':>10}{'worst':>7}{'alone p99':>11}"
        f"{'worst':>7}{'echo p50':>10}{'p95':>6}{'worst':>7}  ms"
    )
    with tempfile.TemporaryDirectory() as home:
        run(["open", "10"], home)  # builds the sample catalogue and the byte code
        for kind in chosen.kinds:
            runs: dict[str, list[Found]] = {way: [] for way in ways}
            for _ in range(chosen.rounds):
                for way in ways:
                    runs[way].append(run(["stream", way, kind], home, keys=True))
            for way in ways:
                report(f"{kind}, {way}", runs[way])
        for turns in ("10", "200", "1000"):
            opened = [run(["open", turns], home) for _ in range(max(3, chosen.rounds))]
            best = min(opened, key=lambda one: one.wall)
            middle = statistics.median(one.wall for one in opened)
            print(
                f"opening {turns} turns: best {best.wall * 1000:.0f} ms, median"
                f" {middle * 1000:.0f} ms, CPU {best.cpu * 1000:.0f} ms, {best.widgets} widgets"
            )
    different = asyncio.run(compare(chosen.documents))
    print(f"random documents drawn otherwise than at once: {different} of {chosen.documents}")
    return 1 if different else 0


def report(name: str, runs: list[Found]) -> None:
    """One line, of the median run by its time; the echo is of all."""
    one = sorted(runs, key=lambda found: found.wall)[len(runs) // 2]
    if one.wall >= _GIVE_UP:
        print(f"{name:24}{'more than':>10} {_GIVE_UP / IDEAL:.0f}", flush=True)
        return
    echo = [ms for run in runs for ms in run.echo]
    print(
        f"{name:24}{one.wall / IDEAL:10.2f}{one.cpu:8.1f}{at(one.late, 0.99):10.0f}"
        f"{one.late[-1]:7.0f}{at(asked(one), 0.99):11.0f}{one.rounds[-1]:7.0f}"
        f"{at(echo, 0.5):10.0f}{at(echo, 0.95):6.0f}{at(echo, 1):7.0f}",
        flush=True,
    )


def asked(one: Found) -> list[float]:
    """How late each would have been who asks every 5 ms, with a core for the loop alone.

    Who asks during a round waits for its end, on average half of it; taken is the whole.
    """
    late = [length for length in one.rounds for _ in range(int(length / _PROBE))]
    idle = int((one.wall * 1000 - sum(one.rounds)) / _PROBE)
    return [0.0] * max(0, idle) + late


def at(values: list[float], part: float) -> float:
    """The value below which that part of them lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else float("nan")


def run(job: list[str], home: str, *, keys: bool = False) -> Found:
    """One chat in a terminal of its own, typed into every half second if `keys`."""
    result = Path(home) / "result.json"
    result.unlink(missing_ok=True)
    environ = os.environ | {"BALCAO_HOME": home, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
    environ.pop("NO_COLOR", None)
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(ROOT)
        command = [sys.executable, "-m", "benchmarks.streaming_child", *job, str(result)]
        os.execve(sys.executable, command, environ)  # noqa: S606 - itself
    ioctl(terminal, TIOCSWINSZ, pack("HHHH", 40, 100, 0, 0))
    try:
        echo = attend(terminal, result, _LETTERS if keys else "")
        if not result.exists():
            return Found(_GIVE_UP, 0.0)
        return Found(**json.loads(result.read_text(encoding="utf-8")), echo=echo)
    finally:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        os.close(terminal)


def attend(terminal: int, result: Path, letters: str) -> list[float]:
    """Read what is drawn until the result is there; milliseconds from each letter to its echo."""
    began = due = time.perf_counter()
    due += 4.0  # until then it starts, and opens the conversation
    echo: list[float] = []
    waiting, sent, drawn = "", 0.0, b""
    while not (result.exists() and result.stat().st_size):
        now = time.perf_counter()
        if now - began > _GIVE_UP:
            break
        if letters and now >= due and not waiting:
            waiting, letters, sent, drawn = letters[0], letters[1:], now, b""
            os.write(terminal, waiting.encode())
            due = now + 0.5
        if select.select([terminal], [], [], 0.005)[0]:
            try:
                drawn += os.read(terminal, 65536)
            except OSError:  # it has ended
                break
            if waiting and waiting.encode() in drawn:
                echo.append((time.perf_counter() - sent) * 1000)
                waiting = ""
        drawn = drawn[-100_000:]
    return echo


async def compare(documents: int) -> int:
    """How many of so many random documents look different once they were streamed."""
    from tests.tui.markdown.documents import PIECES, cut
    from tests.tui.markdown.test_view import Page, drawn, views

    different = 0
    for seed in range(documents):
        chance = random.Random(seed)
        document = "".join(chance.choice(PIECES) for _ in range(chance.randint(5, 120)))
        page = Page()
        async with page.run_test(size=(chance.choice((40, 60, 100)), 300)) as pilot:
            streamed, whole = views(page)
            for place, piece in enumerate(cut(document, chance)):
                streamed.append(piece)
                if place % 10 == 0:
                    await asyncio.sleep(0.02)
            await streamed.finish()
            whole.append(document)
            await whole.finish()
            await pilot.pause()
            different += drawn(streamed) != drawn(whole)
    return different


if __name__ == "__main__":
    sys.exit(main())
