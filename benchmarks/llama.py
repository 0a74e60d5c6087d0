"""Compare a Llama engine with the bare library under it, on one model.

python -m benchmarks.llama MODEL [--adapter DIR …] [--runtime llama.cpp|transformers] [--pairs N]

Engine and library load the same weights in separate processes and take turns. A rate is the
difference of two runs, which removes what both have in common (a prompt, a process). The limit is
the bandwidth of the model's memory divided by its bytes, because each token reads every weight. On
a GPU both use NF4 for a large model.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

from benchmarks.machine import bandwidth, gpu_used
from engine.backends.llama.engine import LlamaConfig, LlamaEngine
from engine.backends.llama.host import LlamaHost, resolve_runtime
from engine.backends.llama.messages import Runtime
from engine.backends.llama.weights import find_model, threads
from engine.config import paths
from engine.core.types import Decision, Message, Mode, Product, Request, Role, Status, Tokens
from engine.prompts import chat_messages

SHORT, LONG = 1, 49
"""Tokens written in the two runs of a pair: too few to count as a loop."""

SMALL_BYTES = 600_000_000
GPU_WORDS, CPU_WORDS, SMALL_WORDS = (100, 1500), (10, 50), (10, 400)
"""Words read in the two runs of a pair: a GPU or a small model needs many for a difference."""

CANCELLED_WORDS = 1500
"""Words of a prompt that is cancelled while it is read, where the model's context holds them."""

STALL_EVERY = 0.005
LONG_RECORD = 400
"""Characters; a longer description takes more tokens than LONG."""
BREAKS = 5
"""Cancelled answers, and cancelled prompts."""

WORDS = "a shelf of blue jars from the village below the hill where nobody sells anything "


class Bare:
    """The bare library in a child process (llama_bare.py)."""

    def __init__(self, runtime: Runtime, model: str, weights: int, adapter: str | None) -> None:
        given = [runtime, model, str(threads(weights)), *([adapter] if adapter else [])]
        self._child = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.llama_bare", *given],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.resident = 0
        self.bytes = int(self._reply()["bytes"])

    def seconds(self, prompt: list[int], tokens: int) -> float:
        """Return the seconds that a prompt and an answer of `tokens` take."""
        if self._child.stdin is None:
            raise AssertionError("the child was started with a pipe")
        self._child.stdin.write(json.dumps({"prompt": prompt, "tokens": tokens}) + "\n")
        self._child.stdin.flush()
        reply = self._reply()
        self.resident = reply["resident"]
        return float(reply["seconds"])

    def close(self) -> None:
        """Kill the child."""
        self._child.kill()
        self._child.wait()

    def _reply(self) -> dict[str, Any]:
        if self._child.stdout is None:
            raise AssertionError("the child was started with a pipe")
        line = self._child.stdout.readline()
        if not line:
            raise SystemExit("The bare library's process exited unexpectedly.")
        found: dict[str, Any] = json.loads(line)
        return found


class Engines:
    """An engine for the base and for each adapter, on one host."""

    def __init__(self, model: str, adapters: list[str], runtime: Runtime) -> None:
        self.host = LlamaHost(model, "auto", runtime)
        rows = [LlamaConfig(model=model, adapter=one) for one in (None, *adapters)]
        self.adapter = Path(adapters[0]).resolve() if adapters else Path()
        self.rows = [LlamaEngine("base", row, self.host) for row in rows]

    async def seconds(
        self,
        row: int,
        question: str,
        tokens: int,
        history: tuple[Message, ...] = (),
        record: Product | None = None,
    ) -> tuple[float, Tokens]:
        """Return the seconds of an answer of at most `tokens`, and its token counts."""
        mode = Mode.GROUNDED if record else Mode.MEMORY
        messages = chat_messages(question, record, mode, history)
        request = Request(question, Mode.MEMORY, messages, Decision(Status.NONE), max_tokens=tokens)
        started, counted = time.perf_counter(), Tokens(0, 0)
        async with aclosing(self.rows[row].stream(request)) as chunks:
            async for chunk in chunks:
                counted = chunk.tokens or counted
        return time.perf_counter() - started, counted

    async def cancel_after(self, question: str, count: int) -> None:
        """Ask, and cancel after `count` chunks; 0 lets the answer finish."""
        messages = chat_messages(question, None, Mode.MEMORY, ())
        request = Request(question, Mode.MEMORY, messages, Decision(Status.NONE), max_tokens=LONG)
        async with aclosing(self.rows[0].stream(request)) as chunks:
            async for _ in chunks:
                count -= 1
                if not count:
                    return

    def resident(self) -> int:
        """Return the worker's memory in bytes."""
        status = Path(f"/proc/{self.host.pid}/status").read_text(encoding="ascii")
        return int(status.partition("VmRSS:")[2].split()[0]) * 1024


def question(number: int, words: int) -> str:
    """Return a question with a unique beginning, so that no cached prefix matches."""
    return f"{number} " + " ".join((WORDS * (words // 10 + 1)).split()[:words])


async def decoding(engines: Engines, bare: Bare, row: int, pairs: int) -> tuple[float, float]:
    """Return the tokens written per second by engine and library, in the median pair."""
    ours, theirs = list[float](), list[float]()
    # A trained model ends an answer early, except about a long record.
    lines = paths.sample_source().read_text(encoding="utf-8").splitlines()
    records = [
        Product(str(n), one["title"], one["content"])
        for n, one in enumerate(map(json.loads, lines))
    ]
    long_ones = iter([one for one in records if len(one.description) > LONG_RECORD])
    while pairs:
        record = next(long_ones)
        await engines.seconds(row, record.title, SHORT, record=record)
        short, _ = await engines.seconds(row, record.title, SHORT, record=record)
        long, counted = await engines.seconds(row, record.title, LONG, record=record)
        if counted.completion < LONG:
            continue
        pairs -= 1
        ours.append(long - short)
        # Of the same length: a GPU's libraries prepare for each new length.
        prompt = [3] * counted.prompt
        theirs.append(-bare.seconds(prompt, SHORT) + bare.seconds(prompt, LONG))
    more = LONG - SHORT
    return more / statistics.median(ours), more / statistics.median(theirs)


async def prefilling(
    engines: Engines, bare: Bare, words: tuple[int, int], pairs: int
) -> tuple[float, float]:
    """Return the tokens read per second by engine and library, in the median pair."""
    ours, theirs = list[float](), list[float]()
    more = 0
    # One more round than counts in the median, for the warm-up of each length.
    for number in range(pairs + 1):
        short, few = await engines.seconds(0, question(5000 + 2 * number, words[0]), SHORT)
        long, many = await engines.seconds(0, question(5001 + 2 * number, words[1]), SHORT)
        more = many.prompt - few.prompt
        ours.append(long - short)
        theirs.append(
            -bare.seconds([3] * few.prompt, SHORT) + bare.seconds([3] * many.prompt, SHORT)
        )
    return more / statistics.median(ours), more / statistics.median(theirs)


async def fifth_turn(engines: Engines) -> tuple[float, float]:
    """Return the seconds to the first token of a fifth turn, with the cache and without."""
    history: list[Message] = []
    for turn in range(4):
        asked = question(9000 + turn, 30)
        await engines.seconds(0, asked, SHORT, tuple(history))
        history += [Message(Role.USER, asked), Message(Role.ASSISTANT, question(turn, 20))]
    cached, uncached = list[float](), list[float]()
    for _ in range(2):
        await engines.seconds(0, question(9004, 30), SHORT, tuple(history[:-2]))
        cached.append((await engines.seconds(0, question(9005, 30), SHORT, tuple(history)))[0])
        await engines.seconds(0, question(1, 3), SHORT)
        uncached.append((await engines.seconds(0, question(9005, 30), SHORT, tuple(history)))[0])
    return min(cached), min(uncached)


async def cancelling(engines: Engines, words: int, written: int) -> float:
    """Return the median seconds that a question waits for a cancelled one.

    The cancelled question has `words`; it stops after `written` chunks, or at 0 while it is read.
    """
    whole, _ = await engines.seconds(0, question(7000, words), SHORT)
    waits = []
    for number in range(BREAKS):
        await engines.seconds(0, question(7100 + number, 3), SHORT)
        alone, _ = await engines.seconds(0, question(7200 + number, 3), SHORT)
        asking = asyncio.create_task(engines.cancel_after(question(7300 + number, words), written))
        if written:
            await asking
        else:
            await asyncio.sleep(whole / 2)
            asking.cancel()
            await asyncio.wait({asking})
        after, _ = await engines.seconds(0, question(7400 + number, 3), SHORT)
        waits.append(max(after - alone, 0.0))
    return statistics.median(waits)


async def stalls(work: Callable[[], Any]) -> list[float]:
    """Return how late the event loop was while `work` ran, in seconds, sorted."""
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


def print_row(name: str, ours: float, theirs: float, unit: str = "tokens/s") -> None:
    """Print a row of the table."""
    print(f"{name:34} {ours:9.1f} {theirs:9.1f} {unit:10} {ours / theirs:.2f}")


async def measure(model: str, adapters: list[str], runtime: Runtime, pairs: int) -> None:
    """Measure everything, and print a line for each."""
    engines = Engines(model, adapters, runtime)
    began, before = time.perf_counter(), gpu_used()
    late = await stalls(lambda: engines.seconds(0, "hello", SHORT))
    our_start = time.perf_counter() - began
    _, hello = await engines.seconds(0, "hello", SHORT)
    print(f"{'loading: event loop late by, p99':34} {late[int(len(late) * 0.99)] * 1000:9.1f} ms")
    files = find_model(model, "base")
    file, bytes_read = str(files.folder), files.weight_bytes
    if runtime == "llama.cpp":
        from engine.backends.llama import converted

        found = converted.model_file(files, "auto", lambda _progress: None)
        file, bytes_read = str(found), found.stat().st_size
    ours_on_gpu = gpu_used() - before
    began, before = time.perf_counter(), gpu_used()
    bare = Bare(runtime, file, files.weight_bytes, None)
    bare.seconds([3] * hello.prompt, SHORT)
    bytes_read = bare.bytes or bytes_read
    print(f"{runtime}, {bytes_read / 1e6:.0f} MB of weights{'':12} ours    theirs")
    print_row("start to a first token", our_start, time.perf_counter() - began, "s")
    if ours_on_gpu:
        print_row("memory of the GPU", ours_on_gpu / 1e6, (gpu_used() - before) / 1e6, "MB")
    words = SMALL_WORDS if files.weight_bytes < SMALL_BYTES else CPU_WORDS
    words = GPU_WORDS if ours_on_gpu else words
    ours, theirs = await decoding(engines, bare, 0, pairs)
    print_row("writing, base", ours, theirs)
    limit = bandwidth() / bytes_read
    print(f"{'  of what memory allows':34} {limit:9.1f} tokens/s {ours / limit:.2f}")
    print_row("reading, base", *await prefilling(engines, bare, words, pairs))
    print_row("memory, base", engines.resident() / 1e6, bare.resident / 1e6, "MB")
    if not ours_on_gpu:
        print(f"{'  of the file':34} {engines.resident() / bytes_read:9.2f}")
    bare.close()
    cached, uncached = await fifth_turn(engines)
    print_row("fifth turn: cached, uncached", cached * 1000, uncached * 1000, "ms")
    fits = files.config.max_position_embeddings > 2 * CANCELLED_WORDS
    cut = CANCELLED_WORDS if fits else words[1]
    writing, reading = await cancelling(engines, 40, 3), await cancelling(engines, cut, 0)
    print(f"{'wait after a cancelled answer':34} {writing * 1000:9.1f} ms")
    print(f"{'wait after a cancelled prompt':34} {reading * 1000:9.1f} ms")
    if adapters:
        await measure_adapters(engines, file, adapters, runtime, pairs)
    late = await stalls(lambda: engines.seconds(0, "again", LONG))
    print(f"{'answering: event loop late by, p99':34} {late[int(len(late) * 0.99)] * 1000:9.1f} ms")
    await engines.host.close()


async def measure_adapters(
    engines: Engines, file: str, adapters: list[str], runtime: Runtime, pairs: int
) -> None:
    """Measure an adapter's speed, the memory of all, and the switch from base to adapter."""
    alone = engines.resident()
    for row in range(1, len(adapters) + 1):
        await engines.seconds(row, "hello", SHORT)
    print(f"{f'memory with {len(adapters)} adapters / base':34} {engines.resident() / alone:9.2f}")
    adapter = adapters[0]
    model = find_model(engines.host.model, "base")
    if runtime == "llama.cpp":
        from engine.backends.llama import converted

        adapter = str(converted.adapter_file(engines.adapter, model))
    bare = Bare(runtime, file, model.weight_bytes, adapter)
    print_row("writing, adapter", *await decoding(engines, bare, 1, pairs))
    bare.close()
    switches = []
    for _ in range(5):
        await engines.seconds(0, "hello", SHORT)
        same, _ = await engines.seconds(0, "other", SHORT)
        other, _ = await engines.seconds(1, "other", SHORT)
        switches.append(max(other - same, 0.0))
    print(
        f"{'switch of adapters, with the prompt':34} {statistics.median(switches) * 1000:9.1f} ms"
    )


def main() -> None:
    """Measure the model on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--adapter", action="append", default=[])
    parser.add_argument("--runtime", choices=("llama.cpp", "transformers"))
    parser.add_argument("--pairs", type=int, default=5)
    given = parser.parse_args()
    runtime = given.runtime or resolve_runtime("auto")
    asyncio.run(measure(given.model, given.adapter, runtime, given.pairs))


if __name__ == "__main__":
    main()
