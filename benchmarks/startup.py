"""Start-up of the chat against an empty Textual app, in one run: until one can type.

    python benchmarks/startup.py [--rounds N]

Both run in a pseudo-terminal of 80x24 that answers nothing, as a fresh process each time, by
turns. *First frame*: until the program has drawn its first whole frame (for the empty app) or the
composer's prompt (for the chat). *Usable* is when a key that is sent then has come back on the
screen, for the chat. CPU is the process's own, user and system, at that moment; memory is its
resident set; both from /proc. The limit is the empty app's first frame.
"""

from __future__ import annotations

import argparse
import os
import pty
import select
import signal
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EMPTY = "from textual.app import App\nclass Empty(App): pass\nEmpty().run()"
CHAT = "import sys; from scripts.cli import main; sys.exit(main([]))"
HEAVY = ("torch", "transformers", "peft", "openai", "numpy")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_GIVE_UP = 20.0


@dataclass(frozen=True, slots=True)
class Start:
    """Seconds, seconds, bytes."""

    wall: float
    cpu: float
    resident: int


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as home:
        environ = os.environ | {"BALCAO_HOME": home, "TERM": "xterm-256color"}
        environ.pop("PYTHONDONTWRITEBYTECODE", None)  # or each start would compile our modules
        start(CHAT, "ready ·".encode(), environ)  # builds the sample catalogue and the byte code
        start(EMPTY, b"\x1b[24;1H", environ)
        measured: dict[str, list[Start]] = {"empty": [], "frame": [], "echo": [], "ready": []}
        for _ in range(rounds):
            measured["empty"].append(start(EMPTY, b"\x1b[24;1H", environ))
            measured["frame"].append(start(CHAT, b"sk for a product", environ))
            measured["echo"].append(start(CHAT, b"~", environ, typed=b"~"))
            measured["ready"].append(start(CHAT, "ready ·".encode(), environ))
    report(measured)
    return 0


def start(code: str, until: bytes, environ: dict[str, str], typed: bytes = b"") -> Start:
    """Run `code` in a pseudo-terminal until it has written `until`; `typed` is sent at once."""
    began = time.perf_counter()
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(ROOT)
        os.execve(sys.executable, [sys.executable, "-c", code], environ)  # noqa: S606 - itself
    try:
        if typed:
            time.sleep(0.02)
            os.write(terminal, typed)
        written = b""
        while until not in written.partition(b"\x1b[?1049h")[2]:
            if time.perf_counter() - began > _GIVE_UP:
                raise SystemExit(f"{until!r} never came; the end of it: {written[-500:]!r}")
            if select.select([terminal], [], [], 0.01)[0]:
                written += os.read(terminal, 65536)
        return Start(time.perf_counter() - began, cpu_of(process), resident_of(process))
    finally:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        os.close(terminal)


def cpu_of(process: int) -> float:
    """Seconds on a core so far (in nanoseconds in the file; /proc/PID/stat counts in ticks)."""
    return int(Path(f"/proc/{process}/schedstat").read_text().split()[0]) / 1e9


def resident_of(process: int) -> int:
    """Bytes in memory now."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * _PAGE


def report(measured: dict[str, list[Start]]) -> None:
    """Medians, and each as a ratio to the empty app's first frame."""
    names = {
        "empty": "empty Textual app, first frame",
        "frame": "balcao, first frame",
        "echo": "balcao, a key typed at once is on the screen",
        "ready": "balcao, catalogue open",
    }
    wall0, cpu0, _ = medians(measured["empty"])
    print(f"{'':46}{'wall s':>8}{'ratio':>7}{'CPU s':>8}{'ratio':>7}{'MB':>6}")
    for key, starts in measured.items():
        wall, cpu, resident = medians(starts)
        print(
            f"{names[key]:46}{wall:8.3f}{wall / wall0:7.2f}{cpu:8.3f}{cpu / cpu0:7.2f}"
            f"{resident / 2**20:6.0f}"
        )


def medians(starts: list[Start]) -> tuple[float, float, float]:
    """Of wall seconds, CPU seconds and resident bytes."""
    return (
        statistics.median(one.wall for one in starts),
        statistics.median(one.cpu for one in starts),
        statistics.median(one.resident for one in starts),
    )


if __name__ == "__main__":
    sys.exit(main())
