"""Switch between base and adapter in a conversation: seconds to the first word, beside xllamacpp.

    python -m benchmarks.llama_switch --adapter DIR [--model smollm2] [--turns 8]

Every turn asks the base and the adapter in turn, with the conversation so far; the bare library, in
this process, gets the same tokens, slots and adapters. Also prints whether a switch loaded
anything, and the memory of the engine's process.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections.abc import Sequence
from contextlib import aclosing
from typing import Any

import xllamacpp

from engine.backends.llama import converted
from engine.backends.llama.engine import LlamaConfig, LlamaEngine
from engine.backends.llama.tokens import read_tokenizer
from engine.backends.llama.weights import find_model, threads
from engine.config import paths
from engine.core.types import Decision, Message, Mode, Request, Role, Status
from engine.prompts import chat_messages

QUESTIONS = ("Which colours does it come in?", "How long is it?", "And who made it?", "Is it new?")
ANSWER_TOKENS = 24


class Bare:
    """xllamacpp with a slot for the base and one for the adapter."""

    def __init__(self, file: str, lora: str, count: int) -> None:
        values = xllamacpp.CommonParams()
        values.model.path = file
        values.n_parallel, values.n_ctx = 2, 8192
        values.n_batch = values.n_ubatch = 64
        values.cpuparams.n_threads = values.cpuparams_batch.n_threads = count
        values.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(lora, 0.0)]
        values.lora_init_without_apply = True
        values.cache_ram_mib, values.no_extra_bufts, values.warmup = 0, True, False
        values.verbosity, values.ui = -1, False
        self._server = xllamacpp.Server(values)

    def first(self, prompt: list[int], slot: int) -> float:
        """Return the seconds to the first text of an answer."""
        began, came = time.perf_counter(), list[float]()

        def show(chunk: dict[str, Any]) -> None:
            if chunk["choices"][0]["text"]:
                came.append(time.perf_counter() - began)

        lora = [{"id": 0, "scale": float(slot)}]
        job = {"prompt": prompt, "n_predict": ANSWER_TOKENS, "temperature": 0, "stream": True}
        self._server.handle_completions(job | {"id_slot": slot, "lora": lora}, show)
        return came[0]


async def ask(engine: LlamaEngine, messages: tuple[Message, ...]) -> tuple[float, str]:
    """Return the seconds to the first text of an answer, and all of it."""
    request = Request("", Mode.MEMORY, messages, Decision(Status.NONE), max_tokens=ANSWER_TOKENS)
    began, first, said = time.perf_counter(), 0.0, ""
    async with aclosing(engine.stream(request)) as chunks:
        async for chunk in chunks:
            if chunk.text and not said:
                first = time.perf_counter() - began
            said += chunk.text
    return first, said


async def measure(options: argparse.Namespace) -> None:
    """Hold the conversation and print the table."""
    shared: dict[str, Any] = {}
    configs = (
        LlamaConfig(model=options.model, runtime="llama.cpp"),
        LlamaConfig(model=options.model, runtime="llama.cpp", adapter=options.adapter),
    )
    engines = [LlamaEngine.create(str(n), one, shared) for n, one in enumerate(configs)]
    async with aclosing(engines[0].load()) as steps:
        async for _ in steps:
            pass
    (host,) = shared[LlamaEngine.kind].values()
    process = host.pid
    model = find_model(options.model, "base")
    file = converted.model_file(model, "auto", lambda _progress: None)
    lora = converted.adapter_file(paths.expand(options.adapter).resolve(), model)
    bare = Bare(str(file), str(lora), threads(model.weight_bytes))
    tokenizer = read_tokenizer(model.folder)
    rows: list[tuple[float, float]] = []
    history: list[Message] = []
    for turn in range(options.turns):
        question = f"{turn}: {QUESTIONS[turn % len(QUESTIONS)]}"
        messages = chat_messages(question, None, Mode.MEMORY, history)
        for slot, engine in enumerate(engines):
            ours, said = await ask(engine, messages)
            rows.append((ours, bare.first(tokenizer.encode_chat(messages, ask=True), slot)))
        history += [Message(Role.USER, question), Message(Role.ASSISTANT, said or "-")]
    print(f"a switch loaded anything: {'yes' if host.pid != process else 'no'}")
    _report("first turn (all is read)", rows[:2])
    _report("later turns", rows[2:])
    print(f"memory of the engine's process: {(host.memory() or 0) / 1e6:.0f} MB")
    await engines[0].unload()


def _report(name: str, rows: Sequence[tuple[float, float]]) -> None:
    ours, theirs = (statistics.median(column) for column in zip(*rows, strict=True))
    print(f"{name:26} ours {ours:.3f} s, xllamacpp {theirs:.3f} s, {ours / theirs:.2f}")


def main() -> None:
    """Measure the model and adapter of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default=paths.SMALL)
    parser.add_argument("--adapter", required=True, metavar="DIR")
    parser.add_argument("--turns", type=int, default=8)
    asyncio.run(measure(parser.parse_args()))


if __name__ == "__main__":
    main()
