"""Compare start-up of the chat with an empty Textual app and with other programs.

    python benchmarks/startup.py [--rounds N] [--rival NAME TEXT COMMAND]…
    … --rival elia 'essage...' /tmp/elia/bin/elia
    … --rival toad 'ow can I help you today' '/tmp/toad/bin/toad acp "sleep 10" .'

The programs take turns, each time as a new process in a pseudo-terminal of 80x24. The terminal does
not echo, so a key that appears was drawn by the program, and it does not answer queries, for which
neither Textual nor these programs wait. Each program has been started once before, so that its byte
code, catalogue and databases exist.

*First frame* is the time to the first complete frame (empty app) or to the placeholder of the input
(the chat, and TEXT of another program). *A key* is sent 20 ms after the start and timed until it is
on the screen; if the input is drawn without it, it is lost, and another is sent every 50 ms. *A
question* is typed as early, and timed until the catalogue's answer has its last line. CPU is user
and system time of all threads, memory the resident set, both from /proc. The empty app's first
frame is the lower limit.

Another program runs in an empty folder with an empty home. To configure it, put `env NAME=VALUE`
before COMMAND.
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
"""Switches the terminal to the alternate screen, which programs do first."""
FIRST_KEY, NEXT_KEY = "Ж".encode(), "Я".encode()
"""Letters that no program shows unless they are typed."""
QUESTION, ANSWERED = b"Boil, Bubble, Bottle\r", b"word for word"
_SOON, _AGAIN, _GIVE_UP = 0.02, 0.05, 20.0
_LFLAG = 3
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Program:
    """A program to start, and the placeholder text of its input."""

    name: str
    command: tuple[str, ...]
    folder: Path
    prompt: bytes


@dataclass(frozen=True, slots=True)
class Start:
    """Seconds, seconds and bytes, and whether the first key was shown."""

    wall: float
    cpu: float
    resident: int
    kept: bool = True


class RunningProgram:
    """A program in a pseudo-terminal."""

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
            os.execvpe(program.command[0], program.command, environ)  # noqa: S606 - the program to measure
        os.close(slave)
        self._written = b""

    @property
    def seconds(self) -> float:
        """The time since the start."""
        return time.perf_counter() - self.began

    @property
    def drawn(self) -> bytes:
        """The bytes written to the alternate screen."""
        return self._written.partition(SCREEN)[2]

    def press(self, key: bytes) -> None:
        """Send a key."""
        os.write(self._terminal, key)

    def read(self) -> None:
        """Read output, waiting at most 10 ms. Exit if the program ends or takes too long."""
        ended = False
        if select.select([self._terminal], [], [], 0.01)[0]:
            try:
                self._written += os.read(self._terminal, 65536)
            except OSError:  # the program has closed the terminal
                ended = True
        if ended or self.seconds > _GIVE_UP:
            raise SystemExit(
                f"The expected output is missing. Last output: {self._written[-500:]!r}"
            )

    def now(self, *, kept: bool = True) -> Start:
        """Measure the time and memory used so far."""
        return Start(self.seconds, cpu_of(self._process), resident_of(self._process), kept)

    def end(self) -> None:
        """Kill the program and its children."""
        os.killpg(self._process, signal.SIGKILL)
        os.waitpid(self._process, 0)
        os.close(self._terminal)


def until(text: bytes, program: Program, environ: dict[str, str]) -> Start:
    """Start a program and wait until it has drawn `text`."""
    run = RunningProgram(program, environ)
    try:
        while text not in run.drawn:
            run.read()
        return run.now()
    finally:
        run.end()


def until_typed(program: Program, environ: dict[str, str]) -> Start:
    """Start a program, type at once, and wait until a key is on the screen."""
    run = RunningProgram(program, environ)
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


def until_answered(program: Program, environ: dict[str, str]) -> Start:
    """Start the chat, ask at once, and wait until the catalogue's answer is judged."""
    run = RunningProgram(program, environ)
    try:
        time.sleep(_SOON)
        run.press(QUESTION)
        while ANSWERED not in run.drawn:
            run.read()
        return run.now()
    finally:
        run.end()


def cpu_of(process: int) -> float:
    """Return the CPU seconds of a process, from schedstat, which is finer than /proc/PID/stat."""
    threads = Path(f"/proc/{process}/task").iterdir()
    return sum(int((one / "schedstat").read_text().split()[0]) for one in threads) / 1e9


def resident_of(process: int) -> int:
    """Return the resident bytes of a process."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * _PAGE


def measure(
    rounds: int, rivals: Sequence[Program], environ: dict[str, str]
) -> dict[str, list[Start]]:
    """Measure the programs in turn, after one uncounted start of each."""
    empty = Program(EMPTY_NAME, (sys.executable, "-c", EMPTY), ROOT, LAST_LINE)
    chat = Program("balcao", (sys.executable, "-c", CHAT), ROOT, b"sk about a product")
    ready = "ready ·".encode()
    until(ready, chat, environ)  # builds the sample catalogue
    for program in (empty, *rivals):
        until(program.prompt, program, environ)
    measured: dict[str, list[Start]] = {}
    programs = deque((empty, chat, *rivals))
    for _ in range(rounds):
        programs.rotate()  # a program that follows itself would find warmer caches
        for program in programs:
            frame = until(program.prompt, program, environ)
            measured.setdefault(f"{program.name}, first frame", []).append(frame)
            if program is not empty:
                typed = until_typed(program, environ)
                measured.setdefault(f"{program.name}, a key typed at once", []).append(typed)
        asked = until_answered(chat, environ)
        measured.setdefault("balcao, a question asked at once", []).append(asked)
        opened = until(ready, chat, environ)
        measured.setdefault("balcao, catalogue open", []).append(opened)
    return measured


def report(measured: dict[str, list[Start]]) -> None:
    """Print the medians and their ratios to the empty app."""
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
    """Return the medians of wall seconds, CPU seconds and resident bytes."""
    return (
        statistics.median(one.wall for one in starts),
        statistics.median(one.cpu for one in starts),
        statistics.median(one.resident for one in starts),
    )


def environment(home: str) -> dict[str, str]:
    """Make the environment of all programs: without the user's settings, an ordinary terminal."""
    environ = os.environ | {"BALCAO_HOME": home, "HOME": home, "TERM": "xterm-256color"}
    environ["LC_ALL"] = "C.UTF-8"
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"):
        environ.pop(name, None)
    environ.pop("PYTHONDONTWRITEBYTECODE", None)  # it would compile our modules at each start
    return environ


def main() -> int:
    """Measure and print the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument(
        "--rival",
        nargs=3,
        action="append",
        default=[],
        metavar=("NAME", "TEXT", "COMMAND"),
        help="another program and the placeholder text of its input",
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
