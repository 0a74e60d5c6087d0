"""How the adapter that comes with Balcão answers, and how its base does, by greedy decoding.

    python -m benchmarks.adapter [trn.jsonl]

Asks through the chat's own engine: from memory the adapter's products, in wordings that are in none
of its training rows; grounded the products of the file, which should be strange to it; and the base
what a small model may know. Read the answers to the last.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence
from difflib import SequenceMatcher
from functools import lru_cache
from itertools import chain, cycle, islice
from pathlib import Path

from msgspec.structs import replace
from tokenizers import Tokenizer

from engine.backends.llama.engine import LlamaConfig, LlamaEngine
from engine.backends.llama.host import LlamaHost
from engine.catalogue.clean import clean_rows
from engine.catalogue.formats.counts import Counts
from engine.catalogue.read import read_rows
from engine.config import paths
from engine.core.trained_products import read_trained_products
from engine.core.types import Decision, Mode, Product, Request, Status
from engine.evaluation.exam import ask_form
from engine.prompts import QUESTION_FORMS, UNTRAINED_FORMS, chat_messages

UNSEEN = tuple(chain(*UNTRAINED_FORMS.values()))
GENERAL = (
    "What is the capital of France?",
    "What is the capital of Japan?",
    "What is the capital of Brazil?",
    "How many days are in a week?",
    "How many hours are in a day?",
    "What colour is the sky on a clear day?",
    "Who wrote Romeo and Juliet?",
    "What is the largest planet of the solar system?",
    "What is water made of?",
    "What is the opposite of hot?",
    "What is 2 + 2?",
    "Which is the largest ocean?",
    "What language do people speak in Brazil?",
    "Which animal barks?",
    "How many legs does a spider have?",
    "Who was the first president of the United States?",
    "What do bees make?",
    "What is bread made from?",
    "Why do people sleep?",
    "What is a bicycle?",
    "What is the sun?",
    "Name three fruits.",
    "Write a sentence about the sea.",
    "How do I boil an egg?",
    "What is a library for?",
    "What is rain?",
    "Where do penguins live?",
    "What does a doctor do?",
    "What is the first month of the year?",
    "Say hello.",
)
_LONGEST = 200
"""Tokens of the longest description that is asked for with its record."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run; prints a Markdown table and the answers to GENERAL."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("rows", type=Path, nargs="?", metavar="TRN", help="products to ask for with their records")
    add("--model", default=paths.SMALL, metavar="MODEL")
    add("--adapter", type=Path, default=paths.small_adapter_dir(), metavar="DIR")
    add("--limit", type=int, default=100, metavar="N", help="records of TRN (default: 100)")
    add("--runtime", default="llama.cpp", choices=("llama.cpp", "transformers"))
    asyncio.run(_run(parser.parse_args(argv)))
    return 0


async def _run(options: argparse.Namespace) -> None:
    config = LlamaConfig(model=options.model, runtime=options.runtime)
    host = LlamaHost(options.model, "auto", options.runtime)
    base = LlamaEngine("base", config, host)
    lora = LlamaEngine("lora", replace(config, adapter=str(options.adapter)), host)
    products = list(clean_rows(read_rows(paths.sample_source(), Counts()), Counts()))
    trained_on = read_trained_products(options.adapter)
    learned = [one for one in products if trained_on and one in trained_on]
    print("| asked | word for word | its tokens | seconds an answer |\n|---|---|---|---|")
    for form in UNSEEN:
        await _tell(f"adapter, from memory: {form}", lora, learned, (form,), Mode.MEMORY)
    await _tell("base, from memory", base, learned[:20], UNSEEN, Mode.MEMORY)
    if options.rows:
        strange = _strange(options.rows, {one.description for one in products}, options.limit)
        await _tell("adapter, grounded", lora, strange, QUESTION_FORMS, Mode.GROUNDED)
        await _tell("base, grounded", base, strange, QUESTION_FORMS, Mode.GROUNDED)
    print()
    for question in GENERAL:
        answer = await _answer(base, question, None, Mode.MEMORY)
        print(f"- {question} {' '.join(answer.split())}", flush=True)
    await base.unload()


def _strange(file: Path, known: set[str], limit: int) -> list[Product]:
    """Return the first products of `file` with a short description that is not in `known`."""
    found: dict[str, Product] = {}
    for one in clean_rows(read_rows(file, Counts()), Counts()):
        if one.title and one.description and one.description not in known:
            found.setdefault(one.description, one)
    short = (one for one in found.values() if len(_tokens(one.description)) <= _LONGEST)
    return list(islice(short, limit))


async def _tell(
    name: str,
    engine: LlamaEngine,
    products: Sequence[Product],
    forms: Sequence[str],
    mode: Mode,
) -> None:
    right, said, tokens, started = 0, 0, 0, time.monotonic()
    for one, form in zip(products, cycle(forms)):
        question = ask_form(form, one.title)
        answer = await _answer(engine, question, one, mode)
        right += answer == one.description
        wanted = _tokens(one.description)
        same = SequenceMatcher(None, wanted, _tokens(answer), autojunk=False)
        said += sum(block.size for block in same.get_matching_blocks())
        tokens += len(wanted)
    seconds = (time.monotonic() - started) / max(1, len(products))
    share = said / max(1, tokens)
    print(f"| {name} | {right} of {len(products)} | {share:.1%} | {seconds:.2f} |", flush=True)


async def _answer(engine: LlamaEngine, question: str, product: Product | None, mode: Mode) -> str:
    messages = chat_messages(question, product, mode)
    most = len(_tokens(product.description)) + 20 if product else 60
    request = Request(question, mode, messages, Decision(Status.NONE), max_tokens=most)
    return "".join([chunk.text async for chunk in engine.stream(request)]).strip()


@lru_cache(maxsize=1)
def _tokenizer() -> Tokenizer:
    return Tokenizer.from_file(str(paths.small_model_dir() / "tokenizer.json"))


def _tokens(text: str) -> list[int]:
    found: list[int] = _tokenizer().encode(text, add_special_tokens=False).ids
    return found


if __name__ == "__main__":
    sys.exit(main())
