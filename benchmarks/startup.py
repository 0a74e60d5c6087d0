"""Start-up of the chat against an empty Textual app, and against others, in one run.

    python benchmarks/startup.py [--rounds N] [--rival NAME TEXT COMMAND]…
    … --rival elia 'essage...' /tmp/elia/bin/elia
    … --rival toad 'ow can I help you today' '/tmp/toad/bin/toad acp "sleep 10" .'

All run in a pseudo-terminal of 80x24, as a fresh process each time, by turns. It answers no
queries, for which neither Textual nor the rivals named here wait, and it echoes nothing itself: a
key that comes back was drawn by the program. Each has been started once before, so that its byte
code and what it makes at a first start (our catalogue, their databases) are there.

*First frame*: until the program has drawn its first whole frame (for the empty app) or the words
of its input that stand there until one types (for the chat and a rival, its TEXT). *A key* is one
that is sent 20 ms after the start, until it has come back on the screen; where the input is drawn
without it, it was lost, and another is sent every 50 ms. CPU is the process's own, user and
system, on all of its threads, at that moment; memory is its resident set; both from /proc. The
limit is the empty app's first frame.

A rival runs in an empty folder, with a home of its own. To give it settings, put `env NAME=VALUE`
before its COMMAND.
"""

from __future__ import annotations

import argparse
import os
import pty
import select
import shlex
import signal
import statistics
import sys
import tempfile
import termios
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EMPTY_NAME = "empty Textual app"
EMPTY = "from textual.app import App\nclass Empty(App): pass\nEmpty().run()"
CHAT = "import sys; from scripts.cli import main; sys.exit(main([]))"
LAST_LINE = b"\x1b[24;1H"
SCREEN = b"\x1b[?1049h"
"""What turns a terminal to its other screen, the programs' first sign of life."""
FIRST_KEY, NEXT_KEY = "Ж".encode(), "Я".encode()
"""Letters that no program shows by itself."""
_SOON, _AGAIN, _GIVE_UP = 0.02, 0.05, 20.0
_LFLAG = 3
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Program:
    """What is started, where, and the words by which its input is known."""

    name: str
    command: tuple[str, ...]
    folder: Path
    prompt: bytes


@dataclass(frozen=True, slots=True)
class Start:
    """Seconds, seconds, bytes; and whether the first key that was typed came back."""

    wall: float
    cpu: float
    resident: int
    kept: bool = True


class Run:
    """A program in a pseudo-terminal of its own."""

    def __init__(self, program: Program, environ: dict[str, str]) -> None:
        self._terminal, slave = pty.openpty()
        termios.tcsetwinsize(slave, (24, 80))
        mode = termios.tcgetattr(slave)
        mode[_LFLAG] &= ~termios.ECHO
        termios.tcsetattr(slave, termios.TCSANOW, mode)
        self.began = time.perf_counter()
        self._process = os.fork()
        if self._process == 0:
            os.close(self._terminal)
            os.login_tty(slave)
            os.chdir(program.folder)
            os.execvpe(program.command[0], program.command, environ)  # noqa: S606 - as it was named
        os.close(slave)
        self._written = b""

    @property
    def seconds(self) -> float:
        """Since it was started."""
        return time.perf_counter() - self.began

    @property
    def drawn(self) -> bytes:
        """What it has written to its screen."""
        return self._written.partition(SCREEN)[2]

    def press(self, key: bytes) -> None:
        """Type."""
        os.write(self._terminal, key)

    def read(self) -> None:
        """Take what it writes, if it does soon."""
        ended = False
        if select.select([self._terminal], [], [], 0.01)[0]:
            try:
                self._written += os.read(self._terminal, 65536)
            except OSError:  # nobody holds the other end
                ended = True
        if ended or self.seconds > _GIVE_UP:
            raise SystemExit(f"What was waited for never came; the end: {self._written[-500:]!r}")

    def now(self, *, kept: bool = True) -> Start:
        """What it has taken so far."""
        return Start(self.seconds, cpu_of(self._process), resident_of(self._process), kept)

    def end(self) -> None:
        """It, and what it has started."""
        os.killpg(self._process, signal.SIGKILL)
        os.waitpid(self._process, 0)
        os.close(self._terminal)


def until(text: bytes, program: Program, environ: dict[str, str]) -> Start:
    """Start it and wait until it has drawn `text`."""
    run = Run(program, environ)
    try:
        while text not in run.drawn:
            run.read()
        return run.now()
    finally:
        run.end()


def until_typed(program: Program, environ: dict[str, str]) -> Start:
    """Start it and type at once; wait until a key is on its screen."""
    run = Run(program, environ)
    try:
        time.sleep(_SOON)
        run.press(FIRST_KEY)
        pressed = 0.0
        while not (FIRST_KEY in run.drawn or NEXT_KEY in run.drawn):
            if program.prompt in run.drawn and run.seconds > pressed + _AGAIN:
                pressed = run.seconds
                run.press(NEXT_KEY)
            run.read()
        return run.now(kept=FIRST_KEY in run.drawn)
    finally:
        run.end()


def cpu_of(process: int) -> float:
    """Seconds on a core so far (in nanoseconds in the files; /proc/PID/stat counts in ticks)."""
    threads = Path(f"/proc/{process}/task").iterdir()
    return sum(int((one / "schedstat").read_text().split()[0]) for one in threads) / 1e9


def resident_of(process: int) -> int:
    """Bytes in memory now."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * _PAGE


def measure(
    rounds: int, rivals: Sequence[Program], environ: dict[str, str]
) -> dict[str, list[Start]]:
    """Each program by turns, after one start of each that does not count."""
    empty = Program(EMPTY_NAME, (sys.executable, "-c", EMPTY), ROOT, LAST_LINE)
    chat = Program("balcao", (sys.executable, "-c", CHAT), ROOT, b"sk for a product")
    ready = "ready ·".encode()
    until(ready, chat, environ)  # builds the sample catalogue
    for program in (empty, *rivals):
        until(program.prompt, program, environ)
    measured: dict[str, list[Start]] = {}
    programs = deque((empty, chat, *rivals))
    for _ in range(rounds):
        programs.rotate()  # whoever follows itself finds a warmer machine
        for program in programs:
            frame = until(program.prompt, program, environ)
            measured.setdefault(f"{program.name}, first frame", []).append(frame)
            if program is not empty:
                typed = until_typed(program, environ)
                measured.setdefault(f"{program.name}, a key typed at once", []).append(typed)
        opened = until(ready, chat, environ)
        measured.setdefault("balcao, catalogue open", []).append(opened)
    return measured


def report(measured: dict[str, list[Start]]) -> None:
    """Medians, and each as a ratio to the empty app."""
    wall0, cpu0, _ = medians(measured[f"{EMPTY_NAME}, first frame"])
    print(f"{'':34}{'wall s':>8}{'ratio':>7}{'CPU s':>8}{'ratio':>7}{'MB':>6}")
    for name, starts in sorted(measured.items(), key=lambda one: medians(one[1])[0]):
        wall, cpu, resident = medians(starts)
        lost = sum(not one.kept for one in starts)
        print(
            f"{name:34}{wall:8.3f}{wall / wall0:7.2f}{cpu:8.3f}{cpu / cpu0:7.2f}"
            f"{resident / 2**20:6.0f}" + (f"  lost {lost} of {len(starts)}" if lost else "")
        )


def medians(starts: list[Start]) -> tuple[float, float, float]:
    """Of wall seconds, CPU seconds and resident bytes."""
    return (
        statistics.median(one.wall for one in starts),
        statistics.median(one.cpu for one in starts),
        statistics.median(one.resident for one in starts),
    )


def environment(home: str) -> dict[str, str]:
    """The same for all: nothing of the person's own settings, an ordinary terminal."""
    environ = os.environ | {"BALCAO_HOME": home, "HOME": home, "TERM": "xterm-256color"}
    environ["LC_ALL"] = "C.UTF-8"
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"):
        environ.pop(name, None)
    environ.pop("PYTHONDONTWRITEBYTECODE", None)  # or each start would compile our modules
    return environ


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument(
        "--rival",
        nargs=3,
        action="append",
        default=[],
        metavar=("NAME", "TEXT", "COMMAND"),
        help="another program, and words that its input shows until one types",
    )
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as home, tempfile.TemporaryDirectory() as folder:
        rivals = [
            Program(name, tuple(shlex.split(command)), Path(folder), text.encode())
            for name, text, command in chosen.rival
        ]
        report(measure(chosen.rounds, rivals, environment(home)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
