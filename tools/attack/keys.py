"""Send bursts of keys to the chat in a terminal of any size, then quit by Ctrl+Q.

python -m tools.attack.keys --rounds 300
python -m tools.attack.keys --rounds 1 --seed 17    # repeat one round

A crash, a traceback on the screen, and a chat that Ctrl+Q does not end are failures.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pexpect
from msgspec import Struct

ROOT = Path(__file__).resolve().parents[2]
_CODE = "import sys; from scripts.cli import main; sys.exit(main(sys.argv[1:]))"
KEYS = {
    **{f"f{number + 1}": f"\x1bO{'PQRS'[number]}" for number in range(4)},
    "f5": "\x1b[15~", "f6": "\x1b[17~", "f7": "\x1b[18~", "f8": "\x1b[19~", "f9": "\x1b[20~",
    "f10": "\x1b[21~", "enter": "\r", "newline": "\n", "escape": "\x1b", "tab": "\t",
    "shift+tab": "\x1b[Z", "backspace": "\x7f", "up": "\x1b[A", "down": "\x1b[B",
    "right": "\x1b[C", "left": "\x1b[D", "pageup": "\x1b[5~", "pagedown": "\x1b[6~",
    "home": "\x1b[H", "end": "\x1b[F", "ctrl+up": "\x1b[1;5A", "ctrl+down": "\x1b[1;5B",
    "alt+up": "\x1b[1;3A", "alt+down": "\x1b[1;3B", "accent": "é", "digit": "2", "slash": "/",
    "title": "striped apron", "paste": "\x1b[200~a\rb\x1b[201~",
    **{letter: letter for letter in "aceloqpsu"},
    **{f"ctrl+{letter}": chr(ord(letter) & 31) for letter in "acdefgklnoprstuvwxyz"},
}  # fmt: skip
"""What a terminal sends for a key."""
_FREQUENT = ("f3", "f9", "f10", "ctrl+o", "ctrl+p", "ctrl+r", "enter", "enter", "escape", "escape")
EXACT = tuple(
    tuple(tuple(burst.split()) for burst in line.split(","))
    for line in """\
f9 escape
f9 enter enter
f9, enter enter
ctrl+o enter
ctrl+o, enter enter
ctrl+o, f5, enter enter
ctrl+p, enter enter
title f3 escape escape
f1 f1 escape
f9, escape
f9 p escape escape
f9, down p, ctrl+s ctrl+s
f9, down p, enter enter escape
ctrl+o, a escape a
ctrl+o a escape
ctrl+o, f2, enter enter
ctrl+o, f7, a enter enter
ctrl+o, f8 f8 ctrl+z escape
ctrl+p enter enter
ctrl+p a escape escape
title f3 escape escape f3 escape
title enter ctrl+r ctrl+r escape
title enter, ctrl+r ctrl+n ctrl+r
title enter, ctrl+r escape ctrl+r ctrl+o enter
f10 escape
f10, u u escape
title enter, f4 escape escape""".splitlines()
)
"""Bursts that crashed the chat once, or are like those; a comma is a pause."""
_TROUBLE = (b"because of a bug in it", b"Traceback")
_QUIT, _FULL_SCREEN = b"\x11", b"\x1b[?1049h"
_INTERRUPTED = 130
"""The exit code after Ctrl+C, which is a key only once the chat is open."""
_TINY = ((1, 1), (2, 24), (3, 3), (4, 24), (5, 10))
_MAX_COLUMNS, _MAX_LINES = 160, 50
_TINY_SHARE, _RESIZED, _IMPATIENT = 0.3, 0.4, 0.1
"""Shares of tiny sizes, of bursts after a new size, and of rounds before the first frame."""
_START_TIMEOUT, _QUIT_TIMEOUT = 60.0, 15.0
_SILENCE = 0.3
"""Seconds without output after which the chat waits for keys."""
_LONGEST = 4.0
"""Seconds after which keys are sent though the chat still draws."""


class Round(Struct, frozen=True):
    """One chat: its name, the columns and lines at its start, and what happens to it."""

    name: str
    size: tuple[int, int]
    steps: tuple[tuple[str, ...] | tuple[int, int], ...]
    impatient: bool = False
    """Whether the keys do not wait for the first frame."""

    def __str__(self) -> str:
        steps = ", ".join(" ".join(map(str, step)) for step in self.steps)
        return f"{self.name} at {self.size[0]} {self.size[1]}: {steps}"


def bursts(seed: int) -> list[tuple[str, ...]]:
    """Return the random bursts of a seed."""
    chance = random.Random(seed)  # noqa: S311 - to be repeated, not secret
    keys = (*KEYS, *_FREQUENT * 4)
    return [
        tuple(chance.choices(keys, k=chance.randint(1, 10))) for _ in range(chance.randint(1, 6))
    ]


def random_round(seed: int) -> Round:
    """Return the bursts of a seed in a terminal that changes its size."""
    chance = random.Random(-seed - 1)  # noqa: S311 - as above

    def size() -> tuple[int, int]:
        if chance.random() < _TINY_SHARE:
            return chance.choice(_TINY)
        return chance.randint(1, _MAX_COLUMNS), chance.randint(1, _MAX_LINES)

    steps: list[tuple[str, ...] | tuple[int, int]] = []
    for burst in bursts(seed):
        steps += [size(), burst] if chance.random() < _RESIZED else [burst]
    return Round(f"seed {seed}", size(), tuple(steps), impatient=chance.random() < _IMPATIENT)


def exact_rounds() -> list[Round]:
    """Return the bursts of EXACT, each in a chat of its own."""
    return [Round(f"exact {number}", (100, 30), steps) for number, steps in enumerate(EXACT)]


def prepare(home: Path) -> None:
    """Build the index of the sample and a history of a few conversations."""
    asked = "".join(
        f"{title}\n/new\n" for title in ("striped apron", "Saffron and Smoke", "a stool")
    )
    subprocess.run(
        [sys.executable, "-c", _CODE, "--plain"],
        input=asked.encode(), stdout=subprocess.DEVNULL, cwd=ROOT, env=_environ(home), check=True,
    )  # fmt: skip


def _environ(home: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BALCAO_")}
    return kept | {"BALCAO_HOME": str(home), "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}


def attack(prepared: Path, plan: Round) -> str:
    """Run one round in a copy of a prepared home; return what went wrong, or nothing."""
    with tempfile.TemporaryDirectory(prefix="balcao-keys-") as folder:
        home = Path(folder) / "home"
        shutil.copytree(prepared, home)
        columns, lines = plan.size
        chat = pexpect.spawn(
            sys.executable, ["-c", _CODE], env=_environ(home), cwd=ROOT, dimensions=(lines, columns)
        )
        try:
            drawn = _play(chat, plan)
            return _trouble(chat, plan, drawn, home)
        finally:
            with suppress(pexpect.ExceptionPexpect):  # a busy machine takes long to kill it
                chat.close(force=True)


def _play(chat: pexpect.spawn, plan: Round) -> bytes:
    drawn = b"" if plan.impatient else _read(chat, _START_TIMEOUT)
    for step in plan.steps:
        if isinstance(step[0], int):
            chat.setwinsize(step[1], step[0])
        else:
            chat.send("".join(KEYS[key] for key in step))
        drawn += _read(chat, _LONGEST)
    while chat.isalive() and _FULL_SCREEN not in drawn:  # until then Ctrl+Q is the terminal's
        drawn += _read(chat, _START_TIMEOUT)
    return drawn


def _read(chat: pexpect.spawn, seconds: float, silence: float = _SILENCE) -> bytes:
    """Read until the chat has drawn something and then nothing for a moment."""
    drawn, end = b"", time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            drawn += chat.read_nonblocking(1 << 16, silence)
        except pexpect.TIMEOUT:
            if drawn or seconds < _START_TIMEOUT:
                break
        except pexpect.EOF:
            break
    return drawn


def _trouble(chat: pexpect.spawn, plan: Round, drawn: bytes, home: Path) -> str:
    if chat.isalive():
        chat.send(_QUIT)
        drawn += _read(chat, _QUIT_TIMEOUT, _QUIT_TIMEOUT)
        if not _ends(chat):
            return "stuck: Ctrl+Q does not end it"
    chat.wait()
    crash = home / "data" / "crash.txt"
    if crash.exists():
        return _shortened(crash.read_text(encoding="utf-8"))
    if any(words in drawn for words in _TROUBLE):
        return "a traceback is on the screen"
    code = chat.exitstatus if chat.exitstatus is not None else -chat.signalstatus
    stopped = plan.impatient and code == _INTERRUPTED
    return f"exit code {code}" if code and not stopped else ""


def _shortened(report: str) -> str:
    """Return the error of a crash report, and the last lines that led to it."""
    lines = re.findall(r'File ".*/(\w+/\w+\.py)", line (\d+), in (\w+)', report)
    frames = "; ".join(":".join(line) for line in lines[-8:])
    return f"{report.strip().splitlines()[-1]} [{frames}]"


def _ends(chat: pexpect.spawn) -> bool:
    end = time.monotonic() + _QUIT_TIMEOUT
    while chat.isalive() and time.monotonic() < end:
        time.sleep(0.02)
    return not chat.isalive()


def main(argv: Sequence[str] | None = None) -> int:
    """Attack; return 1 if a round failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=300, help="random rounds")
    parser.add_argument("--seed", type=int, default=0, help="of the first random round")
    parser.add_argument("--exact", type=int, default=0, help="times to send the known bursts")
    parser.add_argument("--jobs", type=int, default=2, help="chats at once")
    options = parser.parse_args(argv)
    plans = exact_rounds() * options.exact
    plans += map(random_round, range(options.seed, options.seed + options.rounds))
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(options.jobs) as threads:
        prepare(Path(folder))
        failed = 0
        for plan, trouble in zip(
            plans, threads.map(lambda plan: attack(Path(folder), plan), plans), strict=True
        ):
            if trouble:
                failed += 1
                print(f"{plan}: {trouble}", flush=True)
    print(f"{len(plans)} rounds, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
