"""One library that runs a Llama on a CPU, in a process of its own, for cpu_runtimes.py.

PYTHON -m benchmarks.cpu_runtimes_child JOB   (a line of JSON; the answer is one too, on stdout)
"""

from __future__ import annotations

import json
import random
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.cpu_runtimes_libraries import LIBRARIES, Library, Torch

SWITCHES = 5
SHORT = 8
"""Tokens of the prompt before and after a switch."""


def prompt_of(number: int, length: int, vocabulary: int) -> list[int]:
    """Random tokens, others for each number, so that nothing kept of one serves another."""
    return random.Random(number).choices(range(300, vocabulary), k=length)


def timed(library: Library, prompt: list[int], tokens: int) -> tuple[float, float]:
    """Seconds until the first token, and from the first to the last."""
    ticks: list[float] = []
    started = time.perf_counter()
    library.write(prompt, tokens, lambda: ticks.append(time.perf_counter()))
    if len(ticks) != tokens:
        raise SystemExit(f"{len(ticks)} tokens came in place of {tokens}")
    return ticks[0] - started, ticks[-1] - ticks[0]


def speeds(library: Library, job: dict[str, Any]) -> dict[str, float]:
    """What is read and written a second, and what a switch costs; the best of the rounds."""
    length, tokens, vocabulary = job["length"], job["tokens"], job["vocabulary"]
    started = time.perf_counter()
    timed(library, prompt_of(0, length, vocabulary), 3)
    found = {"first_answer": time.perf_counter() - started}
    rounds = [
        timed(library, prompt_of(number, length, vocabulary), tokens)
        for number in range(1, job["rounds"] + 1)
    ]
    found["reading"] = length / min(first for first, _ in rounds)
    found["writing"] = (tokens - 1) / min(rest for _, rest in rounds)
    if job["adapter"]:
        found["switch"] = _switch(library, vocabulary)
    return found


def _switch(library: Library, vocabulary: int) -> float:
    """Seconds that a first token takes longer after the other one of base and adapter; median."""

    def first(number: int, *, adapter: bool) -> float:
        started = time.perf_counter()
        library.use(adapter=adapter)
        timed(library, prompt_of(number, SHORT, vocabulary), 1)
        return time.perf_counter() - started

    longer = []
    for number in range(100, 100 + 10 * SWITCHES, 10):
        first(number, adapter=False)
        if number == 100:  # Whatever is made at the first switch alone.
            first(number + 1, adapter=True)
            first(number + 2, adapter=False)
        first(number + 3, adapter=False)
        after = first(number + 4, adapter=True)
        longer.append(after - first(number + 5, adapter=True))
    return statistics.median(longer)


def memory() -> dict[str, int]:
    """The most that was resident, and what is now; bytes."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return {
        name: int(status.partition(f"{field}:")[2].split()[0]) * 1024
        for name, field in (("peak", "VmHWM"), ("resident", "VmRSS"))
    }


def main(job: dict[str, Any]) -> dict[str, Any]:
    """Load, and measure or write what is asked for."""
    started = time.perf_counter()
    library = LIBRARIES[job["library"]](job)
    loaded = {"load": time.perf_counter() - started}
    if job["adapter"]:
        library.use(adapter=True)
    if "prompts" not in job:
        return loaded | speeds(library, job) | memory()
    said: dict[str, Any] = {}
    for name in ("adapter", "base", "again"):
        library.use(adapter=name != "base")
        said[name] = [library.write(one, job["tokens"], lambda: None) for one in job["prompts"]]
        if isinstance(library, Torch):
            pairs = zip(job["prompts"], said[name], strict=True)
            said[f"{name} margins"] = [library.margins(*pair) for pair in pairs]
    return loaded | said


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))), flush=True)
