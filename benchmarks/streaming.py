"""Compare streaming an answer in the chat with Textual's Static and MarkdownStream.

    python benchmarks/streaming.py [--rounds N] [--documents N] [--ways WAY …] [--kinds KIND …]

The chat runs in a pseudo-terminal of 100x40, each time as a new process, and the three ways take
turns. 2,000 tokens arrive at 200 per second, so the ideal is 10 s; *real time* is the ratio to it,
until the last words are drawn. *Late* is the delay of the event loop for a thread that calls it
every 5 ms; *alone* is the same in the loop's CPU time, as on a free core, with iterations weighted
by their length. *Echo* is the time from a key, two per second, to its letter in the terminal.
Static draws plain text without Markdown and is the lower limit; *marked* is the chat that
marks the words of a record as they arrive. CPU is that of the chat's process.
Then it opens long conversations, and compares random streamed documents on the screen with the same
documents drawn at once.
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
WAYS = ("balcao", "marked", "static", "markdownstream")
KINDS = ("prose", "list", "table", "code")
IDEAL = 10.0
_LETTERS = "αβγδεζηθικλμνξοπρστυφχψω"
_GIVE_UP = 150.0
_PROBE = 5.0


@dataclass
class RunResult:
    """Results of a run: seconds, and milliseconds of delays, of iterations and of echoes."""

    wall: float
    cpu: float
    late: list[float] = field(default_factory=list)
    rounds: list[float] = field(default_factory=list)
    echo: list[float] = field(default_factory=list)
    widgets: int = 0


def main() -> int:
    """Measure and print the results; return 1 if a document was drawn differently."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--documents", type=int, default=200)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    chosen = parser.parse_args()
    ways = chosen.ways
    print(f"load at the start: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print(
        f"{'':24}{'real time':>10}{'CPU s':>8}{'late p99':>10}{'worst':>7}{'alone p99':>11}"
        f"{'worst':>7}{'echo p50':>10}{'p95':>6}{'worst':>7}  ms"
    )
    with tempfile.TemporaryDirectory() as home:
        run(["open", "10"], home)  # builds the sample catalogue and the byte code
        for kind in chosen.kinds:
            runs: dict[str, list[RunResult]] = {way: [] for way in ways}
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
    print(f"random documents that streaming drew differently: {different} of {chosen.documents}")
    return 1 if different else 0


def report(name: str, runs: list[RunResult]) -> None:
    """Print a line for the median run by time, with the echoes of all runs."""
    one = sorted(runs, key=lambda found: found.wall)[len(runs) // 2]
    if one.wall >= _GIVE_UP:
        print(f"{name:24}{'more than':>10} {_GIVE_UP / IDEAL:.0f}", flush=True)
        return
    echo = [ms for run in runs for ms in run.echo]
    print(
        f"{name:24}{one.wall / IDEAL:10.2f}{one.cpu:8.1f}{at(one.late, 0.99):10.0f}"
        f"{one.late[-1]:7.0f}{at(delays_alone(one), 0.99):11.0f}{one.rounds[-1]:7.0f}"
        f"{at(echo, 0.5):10.0f}{at(echo, 0.95):6.0f}{at(echo, 1):7.0f}",
        flush=True,
    )


def delays_alone(one: RunResult) -> list[float]:
    """Compute the delays of a call every 5 ms if the loop had a free core.

    A call during an iteration waits for its end, on average half of it; the whole is counted.
    """
    late = [length for length in one.rounds for _ in range(int(length / _PROBE))]
    idle = int((one.wall * 1000 - sum(one.rounds)) / _PROBE)
    return [0.0] * max(0, idle) + late


def at(values: list[float], part: float) -> float:
    """Return the quantile of `values` at `part`."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else float("nan")


def run(job: list[str], home: str, *, keys: bool = False) -> RunResult:
    """Run a chat in a terminal; with `keys`, type a letter every half second."""
    result = Path(home) / "result.json"
    result.unlink(missing_ok=True)
    environ = os.environ | {"BALCAO_HOME": home, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
    environ.pop("NO_COLOR", None)
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(ROOT)
        command = [sys.executable, "-m", "benchmarks.streaming_child", *job, str(result)]
        os.execve(sys.executable, command, environ)  # noqa: S606 - this benchmark
    ioctl(terminal, TIOCSWINSZ, pack("HHHH", 40, 100, 0, 0))
    try:
        echo = attend(terminal, result, _LETTERS if keys else "")
        if not result.exists():
            return RunResult(_GIVE_UP, 0.0)
        return RunResult(**json.loads(result.read_text(encoding="utf-8")), echo=echo)
    finally:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        os.close(terminal)


def attend(terminal: int, result: Path, letters: str) -> list[float]:
    """Read the terminal until the result is there, and return the milliseconds to each echo."""
    began = due = time.perf_counter()
    due += 4.0  # the chat starts and opens the conversation
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
            except OSError:  # the chat has ended
                break
            if waiting and waiting.encode() in drawn:
                echo.append((time.perf_counter() - sent) * 1000)
                waiting = ""
        drawn = drawn[-100_000:]
    return echo


async def compare(documents: int) -> int:
    """Count the random documents that look different after streaming."""
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
