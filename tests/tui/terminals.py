"""Helpers that run the real program in a pseudo-terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pexpect

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 20
UTF8 = {"LANG": "C.UTF-8"}


def hang_up(child: pexpect.spawn) -> None:
    """Close the other end of the terminal; the descriptor stays valid for `close`."""
    with Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), child.child_fd)


def end_by_signals(child: pexpect.spawn, number: int) -> bytes:
    """Send a signal again and again until the program has ended; return what it wrote."""
    said = b""
    while child.isalive():
        child.kill(number)
        with suppress(pexpect.TIMEOUT, pexpect.EOF):
            said += child.read_nonblocking(4096, 0.01)
    return said


@contextmanager
def terminal(
    *arguments: str,
    home: Path,
    environ: dict[str, str],
    size: tuple[int, int] = (24, 80),
    ignore_sighup: bool = False,
) -> Iterator[pexpect.spawn]:
    """Run `balcao` with these arguments; input and output are bytes."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("LC_")}
    code = "import sys; from scripts.cli import main; sys.exit(main(sys.argv[1:]))"
    child = pexpect.spawn(
        sys.executable,
        ["-c", code, *arguments],
        env=clean | {"BALCAO_HOME": str(home), "TERM": "xterm-256color"} | environ,
        dimensions=size,
        cwd=ROOT,
        timeout=SECONDS,
        ignore_sighup=ignore_sighup,
    )
    try:
        yield child
    finally:
        child.close(force=True)
