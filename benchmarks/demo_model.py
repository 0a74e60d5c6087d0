"""How the demo model and its adapter answer: word for word or not, in many wordings.

python benchmarks/demo_model.py [--grounded] [--model DIR] [--adapter DIR]

Asks through the chat's own engine, from memory and grounded, by greedy decoding. The wordings under
UNSEEN are in neither the model's nor the adapter's training rows. "Learned" are the products that
the adapter was to learn, "held out" those that were neither in its rows nor in the model's; "read
by the base" are products that the model was trained on, and that are in none of the adapter's rows.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from engine.backends.llama.engine import LlamaConfig, LlamaEngine
from engine.backends.llama.host import LlamaHost
from engine.catalogue.prepare import TRAIN, Splitter, encode
from engine.config import paths
from engine.core.types import Decision, Mode, Product, Request, Status
from engine.prompts import QUESTION_FORMS, chat_messages
from tools.make_demo_model import VALID, choose, practice, read_products

UNSEEN = (
    "Could you read me what is written about {title}?",
    "I was wondering about {title}",
    "Any information on {title}?",
    "{title} – what is that?",
    "how about {lower}",
    "someone asked me for {lower} today",
    "Pode descrever {title}?",
    "Gostaria de saber mais sobre {title}.",
    "Que informação há sobre {title}?",
    "o que você sabe de {lower}?",
)
TRAINED = (QUESTION_FORMS[1],)
_READ = 40


def main(argv: Sequence[str] | None = None) -> int:
    """Run; prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--source", type=Path, default=paths.sample_source(), metavar="FILE", help="the products")
    add("--model", type=Path, default=paths.demo_model_dir(), metavar="DIR")
    add("--adapter", type=Path, default=paths.demo_adapter_dir(), metavar="DIR")
    add("--limit", type=int, default=None, metavar="N", help="products of each kind")
    add("--grounded", action="store_true", help="also ask with the record given")
    add("--trained-only", action="store_true", help="leave the unseen wordings out")
    asyncio.run(_run(parser.parse_args(argv)))
    return 0


async def _run(options: argparse.Namespace) -> None:
    splitter = Splitter(VALID, 0.0, 0)
    products = read_products(options.source)
    left_out = choose(products)
    learned = [one for one in left_out if splitter.split(encode(one.description)) == TRAIN]
    held_out = [one for one in left_out if one not in learned]
    in_rows = {one.uid for one in (*left_out, *practice(products, left_out))}
    read = [one for one in products if one.uid not in in_rows][:_READ]
    learned, held_out, read = (some[: options.limit] for some in (learned, held_out, read))
    host = LlamaHost(str(options.model), "none")
    base = LlamaEngine("base", LlamaConfig(model=str(options.model)), host)
    row = LlamaConfig(model=str(options.model), adapter=str(options.adapter))
    lora = LlamaEngine("lora", row, host)
    print("| asked | engine | word for word | seconds an answer |\n|---|---|---|---|")
    for form in TRAINED if options.trained_only else (*TRAINED, *UNSEEN):
        await _tell("lora, learned", lora, learned, form, Mode.MEMORY)
    await _tell("lora, held out", lora, held_out, TRAINED[0], Mode.MEMORY)
    await _tell("base, learned", base, learned, TRAINED[0], Mode.MEMORY)
    if options.grounded:
        for name, some in (
            ("learned", learned),
            ("held out", held_out),
            ("read by the base", read),
        ):
            await _tell(f"base, {name}", base, some, TRAINED[0], Mode.GROUNDED)
            await _tell(f"lora, {name}", lora, some, TRAINED[0], Mode.GROUNDED)
    await base.unload()


async def _tell(
    name: str, engine: LlamaEngine, products: Sequence[Product], form: str, mode: Mode
) -> None:
    right, started = 0, time.monotonic()
    for one in products:
        question = form.format(title=one.title, lower=one.title.lower())
        right += await _answer(engine, question, one, mode) == one.description
    seconds = (time.monotonic() - started) / max(1, len(products))
    print(f"| {form} | {name}, {mode} | {right} of {len(products)} | {seconds:.2f} |", flush=True)


async def _answer(engine: LlamaEngine, question: str, product: Product, mode: Mode) -> str:
    messages = chat_messages(question, product, mode)
    request = Request(question, mode, messages, Decision(Status.NONE), max_tokens=1024)
    return "".join([chunk.text async for chunk in engine.stream(request)]).strip()


if __name__ == "__main__":
    sys.exit(main())
