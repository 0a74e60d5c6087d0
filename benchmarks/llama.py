"""How much of the library's own speed a Llama engine gives, in one run, on one model.

python -m benchmarks.llama MODEL [--adapter DIR …] [--runtime llama.cpp|transformers] [--pairs N]

Engine and bare library hold the same weights, each in a process of its own, and take turns. A rate
is a difference of two runs, so that what both have in common (a prompt, a process) is not in it.
The limit is this machine's memory bandwidth over the model's bytes: each token reads every weight.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import numpy as np  # noqa: TID253 - a script that is nothing without it

from engine import settings
from engine.backends.llama import LlamaEngine
from engine.backends.llama_host import LlamaHosts
from engine.backends.llama_messages import Runtime
from engine.backends.llama_runtimes import runtime_of, threads
from engine.backends.weights import find_model
from engine.prompts import chat_messages
from engine.types import Decision, Message, Mode, Request, Role, Status, Tokens

SHORT, LONG = 1, 49
"""Tokens written in the two runs of a pair: fewer than are taken for a loop."""

BANDWIDTH_BYTES = 512_000_000
STALL_EVERY = 0.005
WORDS = "a shelf of blue jars from the village below the hill where nobody sells anything "


class Bare:
    """The library by itself, in a child process."""

    def __init__(self, runtime: Runtime, model: str, weights: int, adapter: str | None) -> None:
        given = [runtime, model, str(threads(weights)), *([adapter] if adapter else [])]
        self._child = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.llama_bare", *given],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.resident = 0
        self._reply()

    def seconds(self, prompt: list[int], tokens: int) -> float:
        """How long a prompt and an answer of that many tokens take."""
        if self._child.stdin is None:
            raise AssertionError("the child was started with a pipe")
        self._child.stdin.write(json.dumps({"prompt": prompt, "tokens": tokens}) + "\n")
        self._child.stdin.flush()
        reply = self._reply()
        self.resident = reply["resident"]
        return float(reply["seconds"])

    def close(self) -> None:
        """End the child."""
        self._child.kill()
        self._child.wait()

    def _reply(self) -> dict[str, Any]:
        if self._child.stdout is None:
            raise AssertionError("the child was started with a pipe")
        line = self._child.stdout.readline()
        if not line:
            raise SystemExit("The bare library's process ended by itself.")
        found: dict[str, Any] = json.loads(line)
        return found


class Engines:
    """Our engine for the base and for each adapter, on one host."""

    def __init__(self, model: str, adapters: list[str], runtime: Runtime) -> None:
        self.host = LlamaHosts().host(model, "auto", runtime)
        rows = [settings.LlamaEngine(model=model, adapter=one) for one in (None, *adapters)]
        self.adapter = Path(adapters[0]).resolve() if adapters else Path()
        self.rows = [LlamaEngine("base", row, self.host) for row in rows]

    async def seconds(
        self, row: int, question: str, tokens: int, history: tuple[Message, ...] = ()
    ) -> tuple[float, Tokens]:
        """How long an answer of at most that many tokens takes, and how many it came to."""
        messages = chat_messages(question, None, Mode.MEMORY, history)
        request = Request(question, Mode.MEMORY, messages, Decision(Status.NONE), max_tokens=tokens)
        started, counted = time.perf_counter(), Tokens(0, 0)
        async with aclosing(self.rows[row].stream(request)) as chunks:
            async for chunk in chunks:
                counted = chunk.tokens or counted
        return time.perf_counter() - started, counted

    def resident(self) -> int:
        """The worker's memory, bytes."""
        status = Path(f"/proc/{self.host.pid}/status").read_text(encoding="ascii")
        return int(status.partition("VmRSS:")[2].split()[0]) * 1024


def bandwidth() -> float:
    """Bytes a second that this machine reads from memory, all cores at it, best of five."""
    cores = len(os.sched_getaffinity(0))
    parts = [np.ones(BANDWIDTH_BYTES // cores // 8) for _ in range(cores)]
    best = 0.0
    for _ in range(5):
        threads = [threading.Thread(target=part.sum) for part in parts]
        started = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        best = max(best, BANDWIDTH_BYTES / (time.perf_counter() - started))
    return best


def question(number: int, words: int) -> str:
    """A question that no other begins like, so that nothing kept serves it."""
    return f"{number} " + " ".join((WORDS * (words // 10 + 1)).split()[:words])


async def decoding(engines: Engines, bare: Bare, row: int, pairs: int) -> tuple[float, float]:
    """Tokens a second that are written: ours, and the library's. The best pair counts."""
    ours, theirs = [], []
    prompt = list(range(100, 160))
    for number in range(pairs):
        asked = question(1000 * row + number, 40)
        await engines.seconds(row, asked, SHORT)
        short, _ = await engines.seconds(row, asked, SHORT)
        long, counted = await engines.seconds(row, asked, LONG)
        ours.append((counted.completion - SHORT) / (long - short))
        least = bare.seconds(prompt, SHORT)
        theirs.append((LONG - SHORT) / (bare.seconds(prompt, LONG) - least))
    return max(ours), max(theirs)


async def prefilling(engines: Engines, bare: Bare, row: int, pairs: int) -> tuple[float, float]:
    """Tokens a second that are read: ours, and the library's."""
    ours, theirs = [], []
    for number in range(pairs):
        short, few = await engines.seconds(row, question(5000 + 2 * number, 10), SHORT)
        long, many = await engines.seconds(row, question(5001 + 2 * number, 50), SHORT)
        more = many.prompt - few.prompt
        ours.append(more / (long - short))
        short = bare.seconds([3] * few.prompt, SHORT)
        theirs.append(more / (bare.seconds([3] * many.prompt, SHORT) - short))
    return max(ours), max(theirs)


async def fifth_turn(engines: Engines) -> tuple[float, float]:
    """Seconds to the first token of a fifth turn: with what was read kept, and without."""
    history: list[Message] = []
    for turn in range(4):
        asked = question(9000 + turn, 30)
        await engines.seconds(0, asked, SHORT, tuple(history))
        history += [Message(Role.USER, asked), Message(Role.ASSISTANT, question(turn, 20))]
    await engines.seconds(0, question(9004, 30), SHORT, tuple(history[:-2]))
    kept, _ = await engines.seconds(0, question(9005, 30), SHORT, tuple(history))
    await engines.seconds(0, question(1, 3), SHORT)
    anew, _ = await engines.seconds(0, question(9005, 30), SHORT, tuple(history))
    return kept, anew


async def stalls(work: Callable[[], Any]) -> list[float]:
    """How late the event loop was while `work` ran, seconds."""
    late: list[float] = []

    async def watch() -> None:
        while True:
            due = time.perf_counter() + STALL_EVERY
            await asyncio.sleep(STALL_EVERY)
            late.append(time.perf_counter() - due)

    watching = asyncio.create_task(watch())
    await work()
    watching.cancel()
    return sorted(late)


def telling(name: str, ours: float, theirs: float, unit: str = "tokens/s") -> None:
    """Print a line of the table."""
    print(f"{name:34} {ours:9.1f} {theirs:9.1f} {unit:10} {ours / theirs:.2f}")


async def measure(model: str, adapters: list[str], runtime: Runtime, pairs: int) -> None:
    """Everything, one line each."""
    engines = Engines(model, adapters, runtime)
    late = await stalls(lambda: engines.seconds(0, "hello", SHORT))
    print(f"{'loading: the chat is late by p99':34} {late[int(len(late) * 0.99)] * 1000:9.1f} ms")
    files = find_model(model, "base")
    file, bytes_read = str(files.folder), files.weight_bytes
    if runtime == "llama.cpp":
        from engine.backends import gguf_cache_runtime

        found = gguf_cache_runtime.model_file(files, "auto", lambda _progress: None)
        file, bytes_read = str(found), found.stat().st_size
    bare = Bare(runtime, file, files.weight_bytes, None)
    print(f"{runtime}, {bytes_read / 1e6:.0f} MB of weights{'':12} ours    theirs")
    ours, theirs = await decoding(engines, bare, 0, pairs)
    telling("writing, base", ours, theirs)
    limit = bandwidth() / bytes_read
    print(f"{'  of what memory allows':34} {limit:9.1f} tokens/s {ours / limit:.2f}")
    telling("reading, base", *await prefilling(engines, bare, 0, pairs))
    telling("memory, base", engines.resident() / 1e6, bare.resident / 1e6, "MB")
    print(f"{'  of the file':34} {engines.resident() / bytes_read:9.2f}")
    bare.close()
    kept, anew = await fifth_turn(engines)
    telling("fifth turn: kept, and read anew", kept * 1000, anew * 1000, "ms")
    if adapters:
        await measure_adapters(engines, file, adapters, runtime, pairs)
    late = await stalls(lambda: engines.seconds(0, "once more", LONG))
    print(f"{'answering: the chat is late by p99':34} {late[int(len(late) * 0.99)] * 1000:9.1f} ms")
    await engines.host.close()


async def measure_adapters(
    engines: Engines, file: str, adapters: list[str], runtime: Runtime, pairs: int
) -> None:
    """Speed with an adapter, memory with all, and the switch between base and adapter."""
    alone = engines.resident()
    for row in range(1, len(adapters) + 1):
        await engines.seconds(row, "hello", SHORT)
    print(f"{f'memory with {len(adapters)} adapters / base':34} {engines.resident() / alone:9.2f}")
    adapter = adapters[0]
    model = find_model(engines.host.model, "base")
    if runtime == "llama.cpp":
        from engine.backends import gguf_cache_runtime

        adapter = str(gguf_cache_runtime.adapter_file(engines.adapter, model))
    bare = Bare(runtime, file, model.weight_bytes, adapter)
    telling("writing, adapter", *await decoding(engines, bare, 1, pairs))
    bare.close()
    switches = []
    for _ in range(5):
        await engines.seconds(0, "hello", SHORT)
        same, _ = await engines.seconds(0, "other", SHORT)
        other, _ = await engines.seconds(1, "other", SHORT)
        switches.append(max(other - same, 0.0))
    print(f"{'switch, with the prompt read anew':34} {statistics.median(switches) * 1000:9.1f} ms")


def main() -> None:
    """Measure the model that is named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--adapter", action="append", default=[])
    parser.add_argument("--runtime", choices=("llama.cpp", "transformers"))
    parser.add_argument("--pairs", type=int, default=3)
    given = parser.parse_args()
    runtime = given.runtime or runtime_of(settings.LlamaEngine())
    asyncio.run(measure(given.model, given.adapter, runtime, given.pairs))


if __name__ == "__main__":
    main()
