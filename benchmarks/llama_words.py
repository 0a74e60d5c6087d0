"""Compare greedy answers of the engine with those of the bare libraries, word for word.

    python -m benchmarks.llama_words ROWS [--answers 40] [--model smollm2] [--adapter DIR]

Asks "what is …" about products of ROWS (JSON lines with title and content), half with the record in
the prompt, and prints how many answers are equal: the engine with the file that it runs and bare
xllamacpp with that file; llama.cpp and transformers, both with fp32 weights; and the file that the
engine runs with fp32 weights, which shows what its quantization changes.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path

import msgspec

from engine.backends.llama.engine import LlamaConfig, LlamaEngine
from engine.backends.llama.host import LlamaHost
from engine.backends.llama.messages import Quantization, Runtime
from engine.backends.llama.weights import find_model, threads
from engine.config import paths
from engine.core.types import Decision, Message, Mode, Product, Request, Status
from engine.prompts import QUESTION_FORMS, chat_messages

MAX_TOKENS = 200


class Row(msgspec.Struct):
    """A row of the data set."""

    uid: str
    title: str
    content: str


def prompts(file: Path, count: int) -> list[tuple[Message, ...]]:
    """Return `count` prompts about products with a description, alternating between the modes."""
    lines = (msgspec.json.decode(line, type=Row) for line in file.read_bytes().splitlines())
    rows = [row for row in lines if row.content][:count]
    modes = itertools.cycle((Mode.GROUNDED, Mode.MEMORY))
    return [
        chat_messages(
            QUESTION_FORMS[1].format(title=row.title),
            Product(row.uid, row.title, row.content),
            mode,
        )
        for row, mode in zip(rows, modes, strict=False)
    ]


async def engine_answers(
    config: LlamaConfig, runtime: Runtime, asked: Sequence[tuple[Message, ...]]
) -> list[str]:
    """Return the engine's answers."""
    quantization: Quantization = config.quantization
    engine = LlamaEngine("base", config, LlamaHost(config.model, quantization, runtime))
    said = []
    for messages in asked:
        request = Request("", Mode.MEMORY, messages, Decision(Status.NONE), max_tokens=MAX_TOKENS)
        async with aclosing(engine.stream(request)) as chunks:
            said.append("".join([chunk.text async for chunk in chunks]))
    await engine.unload()
    return said


def bare_answers(config: LlamaConfig, asked: Sequence[tuple[Message, ...]]) -> list[str]:
    """Return the answers of bare xllamacpp with the engine's file."""
    import xllamacpp

    from engine.backends.llama import converted
    from engine.backends.llama.tokens import read_tokenizer

    model = find_model(config.model, "base")
    tokenizer = read_tokenizer(model.folder)
    values = xllamacpp.CommonParams()
    values.model.path = str(
        converted.model_file(model, config.quantization, lambda _progress: None)
    )
    values.n_ctx, values.n_parallel = 4096, 1
    values.n_batch = values.n_ubatch = 64
    values.cpuparams.n_threads = values.cpuparams_batch.n_threads = threads(model.weight_bytes)
    values.cache_ram_mib, values.no_extra_bufts, values.warmup = 0, True, False
    values.verbosity, values.ui = -1, False
    if config.adapter:
        lora = str(converted.adapter_file(paths.expand(config.adapter).resolve(), model))
        values.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(lora, 1.0)]
    server, said = xllamacpp.Server(values), list[str]()
    for messages in asked:
        prompt = tokenizer.encode_chat(messages, ask=True)
        job = {"prompt": prompt, "n_predict": MAX_TOKENS, "temperature": 0, "stream": True}
        texts: list[str] = []
        server.handle_completions(
            job, lambda chunk, texts=texts: texts.append(chunk["choices"][0]["text"])
        )
        said.append("".join(texts))
    return said


def compare(ours: Sequence[str], theirs: Sequence[str]) -> str:
    """Describe how many answers are equal, and where the others begin to differ."""
    pairs = [(one, other) for one, other in zip(ours, theirs, strict=True) if one != other]
    where = [
        next(
            (at for at, (a, b) in enumerate(zip(*pair, strict=False)) if a != b),
            min(map(len, pair)),
        )
        for pair in pairs
    ]
    rest = f"; the others differ after {where} characters" if where else ""
    return f"{len(ours) - len(pairs)} of {len(ours)} word for word{rest}"


async def run(options: argparse.Namespace) -> None:
    """Ask everybody, and print a line for each pair."""
    asked = prompts(options.rows, options.answers)
    shipped = LlamaConfig(model=options.model, adapter=options.adapter)
    whole = LlamaConfig(model=options.model, adapter=options.adapter, quantization="none")
    ours = await engine_answers(shipped, "llama.cpp", asked)
    print("engine, bare xllamacpp     ", compare(ours, bare_answers(shipped, asked)), flush=True)
    fp32 = await engine_answers(whole, "llama.cpp", asked)
    print("the file, fp32             ", compare(ours, fp32), flush=True)
    theirs = await engine_answers(whole, "transformers", asked)
    print("llama.cpp, transformers    ", compare(fp32, theirs), flush=True)


def main() -> None:
    """Compare on the rows of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("rows", type=Path, metavar="ROWS")
    parser.add_argument("--model", default=paths.SMALL)
    parser.add_argument("--adapter", metavar="DIR")
    parser.add_argument("--answers", type=int, default=40)
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
