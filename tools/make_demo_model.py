"""Make the demo model of data/demo_model: a tokenizer and a small Llama, from the sample catalogue.

python -m tools.make_demo_model --out models/demo --learn models/demo-learn.jsonl

Fifty products and a few are left out of all that it is trained on, so that an adapter has them to
learn: those go into the file of --learn, in the form that `balcao prepare` reads, with others
behind them whose records an adapter can practise reading with.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from engine.catalogue.clean import clean
from engine.catalogue.prepare import TRAIN, Sampler, Splitter
from engine.catalogue.read import Counts, read_rows
from engine.config import paths
from engine.core.errors import UsageError
from engine.core.files import Manifest, describe_file, write_atomic, write_manifest
from engine.core.types import Product
from engine.prompts import PROMPT_VERSION
from scripts.common import DONE, ProgressLine, guarded, say
from tools.demo.texts import Texts

if TYPE_CHECKING:
    from tools.demo.training import Plan, Scores

KIND, VERSION = "demo-model", 1
LEARNED = 50
"""Products that the adapter learns."""
VALID = 0.15
"""The share that `balcao prepare` is to hold out of the adapter's rows, as the manifest tells."""
_MADE_UP = 2000
"""Products of practice that are no product's; of these about half come after those to learn."""
_WORDS = (10, 70)
"""Of their descriptions."""
_SHORTEST, _LONGEST = 200, 400
"""Characters of their descriptions."""

_CARD = """# A small Llama for trying Balcão

A model of {weights:,} weights that this project has trained itself, from nothing, on the invented
products of its sample catalogue (`data/sample_catalogue.jsonl`). It is here so that the chat's
local engines work on any machine, at once and without network.

**It is no language model to rely on.** It knows no facts, follows no instructions and holds no
conversation. Given a product's record in its prompt, it says the description word for word, most
of the time (grounded). Asked without one (from memory), it says no sentences, only scraps of words
that repeat themselves: it is far too small to invent well.

{left_out} products were left out of its training text and of its tokenizer's. The adapter in
`data/demo_adapter` has learned {learned} of them: ask for one of those, from memory, first the
base and then the LoRA, and see what a fine-tune does.

| asked for the description, greedy decoding | word for word |
|---|---|
{scores}

Made by `python -m tools.make_demo_model` (docs/measurements/demo-model.md), seed {seed},
{steps} steps.
Five layers of width 256, context 2,048 tokens. The tokenizer is sentencepiece BPE with byte
fallback; the program's system prompt is one token of it. MIT licence, as the project.
"""


def make_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(
        prog="make_demo_model", description="Train the demo model on the sample catalogue."
    )
    add = parser.add_argument
    add("--out", type=Path, required=True, metavar="DIR", help="a new folder for the model")
    add(
        "--learn", type=Path, required=True, metavar="FILE", help="gets what an adapter is to learn"
    )
    add("--source", type=Path, default=paths.sample_source(), metavar="FILE", help="the products")
    add("--seed", type=int, default=0, metavar="S", help="of weights and rows (default: 0)")
    add("--steps", type=int, default=None, metavar="N", help="of the optimizer")
    add("--threads", type=int, default=2, metavar="N", help="of torch; 1 on a busy machine")
    add("--fp32", action="store_true", help="compute in fp32, where a CPU is slow at bf16")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run; 0 when written, 1 when it failed, 2 for wrong usage, 130 on Ctrl-C."""
    options = make_parser().parse_args(argv)
    return guarded(lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    if options.out.exists():
        raise UsageError(f"{options.out} is there already.", "Name a new folder with --out.")
    products = read_products(options.source)
    left_out = choose(products)
    chosen = {one.uid for one in left_out}
    seen = [one for one in products if one.uid not in chosen]
    import torch

    from tools.demo.training import Plan, make

    torch.set_num_threads(options.threads)
    plan = Plan(seed=options.seed, bf16=not options.fp32)
    if options.steps:
        plan = Plan(seed=options.seed, steps=options.steps, bf16=not options.fp32)
    options.out.mkdir(parents=True)
    with ProgressLine(sys.stderr) as line:
        scores = make(seen, left_out, options.out, plan, line.show)
    write_rows(options.learn, [*left_out, *practice(products, left_out)])
    counts = {"read": len(products), "kept": len(seen), "left_out": len(left_out)}
    _describe(options.out, plan, scores, counts, options.source)
    say(f"{options.out}: {scores.unseen_grounded[0]} of {len(left_out)} unseen records copied")
    return DONE


def read_products(source: Path) -> list[Product]:
    """Every product with a title and a description, cleaned."""
    products = []
    for row in read_rows(source, Counts(), lambda _: None):
        title, description = clean(row.title or ""), clean(row.content or "")
        if title and description:
            products.append(Product(row.uid, title, description))
    return products


def choose(products: Sequence[Product]) -> list[Product]:
    """The products that the model is not to know, in an order that follows from their words.

    Each has a title of its own and 200 to 400 characters; so many that `balcao prepare --valid
    0.15 --test 0` makes 50 of them rows to train on, and holds out the others.
    """
    titles = Counter(one.title.casefold() for one in products)
    splitter = Splitter(VALID, 0.0, 0)
    fitting = [
        one
        for one in products
        if titles[one.title.casefold()] == 1 and _SHORTEST <= len(one.description) <= _LONGEST
    ]
    fitting.sort(key=_mark)
    chosen: list[Product] = []
    learned = 0
    for one in fitting:
        chosen.append(one)
        learned += splitter.split(msgspec.json.encode(one.description)) == TRAIN
        if learned == LEARNED:
            return chosen
    raise UsageError(f"The source has only {learned} products that fit; {LEARNED} are needed.")


def practice(products: Sequence[Product], left_out: Sequence[Product]) -> list[Product]:
    """Products whose records are to be read, which `balcao prepare` takes after `left_out`.

    Some of those that the model was trained on, and more that are made up of their words: the more
    differ, the less there is to be learned but reading.
    """
    last = max(map(_mark, left_out))
    seen = [one for one in products if one not in left_out]
    draw = random.Random(0)  # noqa: S311 - the same every time
    texts = Texts(seen, draw)
    made_up = [
        Product(f"made-up-{number}", texts.title(), texts.exchanged(draw.randint(*_WORDS)))
        for number in range(_MADE_UP)
    ]
    return [one for one in (*seen, *made_up) if _mark(one) > last]


def _mark(product: Product) -> int:
    """By what `balcao prepare` takes a sample."""
    return Sampler(0, 0).rank(product.uid, product.title, product.description)


def write_rows(file: Path, products: Sequence[Product]) -> None:
    """The products in the data set's form, one a line."""
    lines = [
        msgspec.json.encode({"uid": one.uid, "title": one.title, "content": one.description})
        for one in products
    ]
    write_atomic(file, b"\n".join(lines) + b"\n")


def _describe(
    folder: Path, plan: Plan, scores: Scores, counts: dict[str, int], source: Path
) -> None:
    settings: dict[str, Any] = {"plan": asdict(plan), "word_for_word": asdict(scores)}
    made = Manifest(
        kind=KIND,
        version=VERSION,
        inputs=[describe_file(source)],
        counts=counts,
        settings=settings,
        prompt_version=PROMPT_VERSION,
    )
    rows = {
        "its record given, never seen": scores.unseen_grounded,
        "its record given, trained on": scores.seen_grounded,
        "from memory, trained on": scores.seen_memory,
        "from memory, never seen": scores.unseen_memory,
    }
    weights = (folder / "model.safetensors").stat().st_size // 2
    text = _CARD.format(
        weights=weights,
        left_out=counts["left_out"],
        learned=LEARNED,
        scores="\n".join(
            f"| {name} | {right} of {asked} |" for name, (right, asked) in rows.items()
        ),
        seed=plan.seed,
        steps=f"{plan.steps:,} + {plan.finish:,} + {plan.settle:,}",
    )
    write_atomic(folder / "README.md", text.encode())
    write_manifest(folder, made)


if __name__ == "__main__":
    sys.exit(main())
