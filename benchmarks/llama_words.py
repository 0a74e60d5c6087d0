"""Compare the answers of llama.cpp with those of transformers, word for word.

python -m benchmarks.llama_words --model DIR --adapter DIR [--answers 40]

Asks about products of the sample catalogue with greedy decoding: base and adapter, with the record
in the prompt and without, a quarter each.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from pathlib import Path

from engine.backends.llama.engine import LlamaConfig, LlamaEngine
from engine.backends.llama.host import LlamaHost
from engine.backends.llama.messages import Runtime
from engine.config import paths
from engine.core.types import Decision, Mode, Product, Request, Status
from engine.prompts import QUESTION_FORMS, chat_messages
from tools.make_demo_model import read_products

MAX_TOKENS = 400

MODES = (Mode.GROUNDED, Mode.MEMORY)


def sample_products(count: int) -> Sequence[Product]:
    """Return `count` products, spread over the sample catalogue."""
    products = read_products(paths.sample_source())
    return products[:: len(products) // count][:count]


async def answers(
    model: Path, adapter: Path, runtime: Runtime, some: Sequence[Product]
) -> dict[str, list[str]]:
    """Return the answers of base and adapter about each product, by engine and mode."""
    host = LlamaHost(str(model), "auto", runtime)
    said: dict[str, list[str]] = {}
    for name, lora in (("base", None), ("adapter", str(adapter))):
        row = LlamaConfig(model=str(model), adapter=lora, runtime=runtime)
        engine = LlamaEngine(name, row, host)
        for mode in MODES:
            said[f"{name}, {mode}"] = [await answer(engine, one, mode) for one in some]
    await host.close()
    return said


async def answer(engine: LlamaEngine, product: Product, mode: Mode) -> str:
    """Return the engine's answer about a product."""
    question = QUESTION_FORMS[1].format(title=product.title)
    messages = chat_messages(question, product, mode)
    request = Request(
        question, mode, messages, Decision(Status.NONE), max_tokens=MAX_TOKENS, temperature=0.0
    )
    return "".join([chunk.text async for chunk in engine.stream(request)])


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
    """Ask both runtimes, and print a line for each engine and mode."""
    some = sample_products(options.answers // 4)
    ours = await answers(options.model, options.adapter, "llama.cpp", some)
    theirs = await answers(options.model, options.adapter, "transformers", some)
    for kind, said in ours.items():
        print(f"{kind:20} {compare(said, theirs[kind])}")


def main() -> None:
    """Compare on the model of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", type=Path, required=True, metavar="DIR")
    parser.add_argument("--adapter", type=Path, required=True, metavar="DIR")
    parser.add_argument("--answers", type=int, default=40)
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
