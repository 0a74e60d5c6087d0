"""How much faster a Llama answers with drafts from the record, and whether it says the same.

    python -m benchmarks.drafting ROWS [--runtime transformers|llama.cpp] [--answers 40]

Asks about products of ROWS, which the adapter should not know, with their records and from memory;
from memory about products that it has learned; and the base what a small model may know, in one
conversation. Each question is asked twice in the same run, with drafts and without, in turns. A
rate counts the tokens after the first. "Same" answers have the same text and number of tokens.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain, cycle, islice
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from benchmarks.adapter import GENERAL, UNSEEN
from engine.backends.llama.messages import Ask, Done, Open
from engine.backends.llama.weights import find_model
from engine.catalogue.clean import clean_rows
from engine.catalogue.formats.counts import Counts
from engine.catalogue.read import read_rows
from engine.config import paths
from engine.core.trained_products import read_trained_products
from engine.core.types import Message, Mode, Product, Role
from engine.prompts import QUESTION_FORMS, chat_messages

LONGEST = 900
"""Characters of the longest description that is asked for."""
MAX_TOKENS = 250
REMEMBERED = 6
"""Messages of the free conversation that a question comes after."""
REPLIES = ("That is well known.", "It depends on the place.", "Many people ask me this.")
"""The earlier answers of the conversation, which must be the same with drafts and without."""

Answer = Callable[[Ask], tuple[Done, str, float]]
"""Returns the end of an answer, its text and the seconds after its first token."""


@dataclass
class Total:
    """The answers of one mode: tokens after the first and their seconds, alone and with drafts."""

    answers: int = 0
    same: int = 0
    drafted: int = 0
    accepted: int = 0
    tokens: list[int] = field(default_factory=lambda: [0, 0])
    seconds: list[float] = field(default_factory=lambda: [0.0, 0.0])

    def row(self, name: str) -> str:
        """Return a row of the table."""
        alone, ours = (
            tokens / max(seconds, 1e-9)
            for tokens, seconds in zip(self.tokens, self.seconds, strict=True)
        )
        share = f"{self.accepted} of {self.drafted}" if self.drafted else "none"
        rates = f"{alone:.1f} | {ours:.1f} | {ours / max(alone, 1e-9):.2f}"
        return f"| {name} | {rates} | {self.same} of {self.answers} | {share} |"


def main(argv: Sequence[str] | None = None) -> int:
    """Run; prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("rows", type=Path, metavar="ROWS", help="products that the adapter does not know")
    add("--runtime", default="transformers", choices=("transformers", "llama.cpp"))
    add("--model", default=paths.SMALL, metavar="MODEL")
    add("--adapter", type=Path, default=paths.small_adapter_dir(), metavar="DIR")
    add("--answers", type=int, default=40, metavar="N", help="of each kind (default: 40)")
    options = parser.parse_args(argv)
    alone, drafting = runtimes(options)
    print(f"{options.runtime}, {options.model}\n")
    print("| asked | tokens/s alone | with drafts | ratio | same answers | accepted |")
    print("|---|---|---|---|---|---|", flush=True)
    for name, asked in kinds(options):
        print(compare(asked, alone, drafting).row(name), flush=True)
    return 0


def runtimes(options: argparse.Namespace) -> tuple[Answer, Answer]:
    """Load the model; return what answers without drafts and with them."""
    model = find_model(options.model, "base")
    adapters = (str(options.adapter),)
    asked = Open(str(model.folder), "auto", model.weight_bytes, options.runtime, adapters)
    if options.runtime == "transformers":
        from engine.backends.llama.transformers import TransformersRuntime

        one = TransformersRuntime(asked)
        return answerer(one, drafts=False), answerer(one, drafts=True)
    from engine.backends.llama import llama_cpp

    drafting = llama_cpp.LlamaCppRuntime(asked, lambda _progress: None)
    # The setting is for a whole server: the other one has its own.
    llama_cpp._GUESSED = 0  # noqa: SLF001 - for this comparison only
    alone = llama_cpp.LlamaCppRuntime(asked, lambda _progress: None)
    return answerer(alone, drafts=False), answerer(drafting, drafts=True)


def answerer(runtime: Any, *, drafts: bool) -> Answer:  # noqa: ANN401 - either runtime
    """Return a function that asks a runtime, with the drafts of the questions or without."""

    def answer(ask: Ask) -> tuple[Done, str, float]:
        said, began = list[str](), 0.0

        def emit(text: str) -> None:
            nonlocal began
            began = began or time.perf_counter()
            said.append(text)

        done = runtime.answer(ask if drafts else replace(ask, draft=""), emit, lambda: False)
        ended = time.perf_counter()
        return done, "".join(said), ended - (began or ended)

    return answer


def compare(asked: Iterable[Ask], alone: Answer, drafting: Answer) -> Total:
    """Ask each question twice, in turns."""
    total = Total()
    for ask in asked:
        order = (0, 1) if total.answers % 2 else (1, 0)
        found: dict[int, tuple[Done, str, float]] = {}
        for way in order:
            found[way] = (alone, drafting)[way](ask)
            done, _, seconds = found[way]
            total.tokens[way] += max(done.completion - 1, 0)
            total.seconds[way] += seconds
        (plain, text, _), (drafted, same, _) = found[0], found[1]
        total.answers += 1
        total.same += (text, plain.completion) == (same, drafted.completion)
        total.drafted += drafted.drafted
        total.accepted += drafted.accepted
    return total


def kinds(options: argparse.Namespace) -> Iterable[tuple[str, Iterable[Ask]]]:
    """Yield each kind of question with its questions."""
    products = list(clean_rows(read_rows(paths.sample_source(), Counts()), Counts()))
    trained = read_trained_products(options.adapter)
    learned = [one for one in products if trained and one in trained]
    strange = strangers(options.rows, {one.description for one in products}, options.answers)
    lora, forms = str(options.adapter), QUESTION_FORMS[1:]
    yield "adapter, grounded", about(strange, forms, Mode.GROUNDED, lora)
    yield "base, grounded", about(strange, forms, Mode.GROUNDED, None)
    yield (
        "adapter, learned, from memory",
        about(learned[: options.answers], UNSEEN, Mode.MEMORY, lora),
    )
    yield "adapter, unknown, from memory", about(strange, UNSEEN, Mode.MEMORY, lora)
    yield "base, unknown, from memory", about(strange, UNSEEN, Mode.MEMORY, None)
    yield "base, free conversation", talk(options.answers)


def strangers(file: Path, known: set[str], limit: int) -> list[Product]:
    """Return the first products of `file` with a short description that is not in `known`."""
    found: dict[str, Product] = {}
    for one in clean_rows(read_rows(file, Counts()), Counts()):
        if one.title and one.description not in known and 0 < len(one.description) <= LONGEST:
            found.setdefault(one.description, one)
    return list(islice(found.values(), limit))


def about(
    products: Sequence[Product], forms: Sequence[str], mode: Mode, adapter: str | None
) -> Iterable[Ask]:
    """Yield a question about each product, with its record as the draft."""
    for one, form in zip(products, cycle(forms)):
        question = form.format(title=one.title, lower=one.title.lower())
        messages = chat_messages(question, one, mode)
        yield Ask(messages, MAX_TOKENS, 0.0, adapter=adapter, draft=one.description)


def talk(limit: int) -> Iterable[Ask]:
    """Yield the questions of a conversation about no product."""
    history: list[Message] = []
    for question in islice(chain(GENERAL, GENERAL), limit):
        yield Ask(chat_messages(question, None, Mode.MEMORY, history[-REMEMBERED:]), 60, 0.0)
        history += [
            Message(Role.USER, question),
            Message(Role.ASSISTANT, REPLIES[len(history) // 2 % len(REPLIES)]),
        ]


if __name__ == "__main__":
    sys.exit(main())
