"""Answer the chat with far too much, and measure its memory and how fast it can be cancelled.

python -m tools.attack.sizes

A line of 1 GB, 2 GB packed into 2 MB, an answer without end, and an error of 300 MB. The chat runs
in a process of its own for each: more than 200 MB above the idle chat, an attack that does not end
in a minute, and a cancelled question that takes more than 0.1 s are failures.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import resource
import subprocess
import sys
import time
import zlib
from collections.abc import Awaitable, Callable, Sequence

import msgspec
import psutil

from engine.chat.open import open_resources
from engine.chat.session import Session
from engine.config.settings import load
from engine.core.text import one_line
from engine.core.types import Mode
from tools.attack.server import GOOD, Send, Server, ask, event, head, home, listening

MOST_MB, MOST_SECONDS, CANCEL_SECONDS = 200, 60.0, 0.1
_MB = 10**6


async def line(send: Send) -> None:
    """Send one event of 1 GB in one line."""
    await send(head() + b'data: {"choices":[{"delta":{"content":"')
    for _ in range(1000):
        await send(b"x" * _MB)
    await send(b'"}}]}\n\n')


async def bomb(send: Send) -> None:
    """Send 2 GB that are packed into 2 MB."""
    packer = zlib.compressobj(9, wbits=-15)
    # A block that is flushed whole can be repeated.
    block = packer.compress(bytes(10 * _MB)) + packer.flush(zlib.Z_FULL_FLUSH)
    gzip_head = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
    await send(head(content_encoding="gzip") + gzip_head + block * 200)


async def endless(send: Send) -> None:
    """Send words as fast as they are read, without end."""
    await send(head())
    while True:
        await send(event("word ") * 100)


async def error(send: Send) -> None:
    """Refuse with a message of 300 MB."""
    await send(head(400, "text/plain"))
    for _ in range(300):
        await send(b"maximum max_tokens " * (_MB // 19))


ATTACKS: dict[str, Callable[[Send], Awaitable[None]]] = {
    "line of 1 GB": line,
    "2 GB packed": bomb,
    "endless answer": endless,
    "error of 300 MB": error,
}


class Measured(msgspec.Struct):
    """Figures of one chat: MB resident when idle and at most, and seconds.

    `stall` is the longest processor time before the event loop turned to other tasks, `cancelled`
    how long a cancelled question took to end.
    """

    idle: float
    peak: float
    took: float
    stall: float
    cancelled: float
    answer: str


async def measure(port: int) -> Measured:
    """Ask a good question, then two that are attacked, the second one cancelled."""
    with home(port):
        session = Session(load(), await asyncio.to_thread(open_resources, load()))
        session.mode = Mode.MEMORY
        await ask(session, "Are you there?")
        idle = psutil.Process().memory_info().rss / _MB
        ticking = asyncio.create_task(_ticks(stalls := [0.0]))
        started = time.monotonic()
        answer = (await ask(session, "Is it there?")).answer
        took = time.monotonic() - started
        asking = asyncio.create_task(ask(session, "And now?"))
        await asyncio.sleep(min(0.1, took / 2))
        started = time.monotonic()
        asking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asking
        cancelled = time.monotonic() - started
        ticking.cancel()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / _MB
        await (await session.ready()).close()
    words = answer.problem.message if answer.problem else f"{len(answer.text)} characters"
    return Measured(idle, peak, took, stalls[0], cancelled, words)


async def _ticks(longest: list[float]) -> None:
    while True:
        before = time.thread_time()
        await asyncio.sleep(0.005)
        longest[0] = max(longest[0], time.thread_time() - before)


async def attacked(name: str) -> Measured:
    """Measure a chat in a process of its own, attacked from this one."""
    async with listening() as server:
        _after_the_first(server, ATTACKS[name])
        command = [sys.executable, "-m", "tools.attack.sizes", "--port", str(server.port)]
        done = await asyncio.to_thread(
            subprocess.run, command, capture_output=True, text=True, check=False
        )
    if done.returncode:
        raise ChildProcessError(done.stderr)
    return msgspec.json.decode(done.stdout, type=Measured)


def _after_the_first(server: Server, attack: Callable[[Send], Awaitable[None]]) -> None:
    async def reply(send: Send) -> None:
        server.attack = attack
        await send(head() + GOOD)

    server.attack = reply


def main(argv: Sequence[str] | None = None) -> int:
    """Attack; return 1 after a failure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.port:
        print(msgspec.json.encode(asyncio.run(measure(options.port))).decode())
        return 0
    failures = 0
    for name in ATTACKS:
        got = asyncio.run(attacked(name))
        bad = got.peak - got.idle > MOST_MB or got.took > MOST_SECONDS
        bad = bad or max(got.cancelled, got.stall) > CANCEL_SECONDS
        failures += bad
        print(
            f"{'FAILED  ' if bad else ''}{name}: {got.peak - got.idle:.0f} MB above "
            f"{got.idle:.0f}, {got.took:.1f} s, stalls of {got.stall:.3f} s, "
            f"cancelled in {got.cancelled:.3f} s: "
            f"{one_line(got.answer, 100)}"
        )
    print(f"{len(ATTACKS)} sizes, {failures} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
