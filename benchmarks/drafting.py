"""How much faster a Llama answers with drafts from the record, and whether it says the same.

    python -m benchmarks.drafting ROWS [--runtime transformers|llama.cpp] [--answers 6]

Asks about products of ROWS, which the adapter should not know, with their records and from memory;
from memory about products that it has learned; and the base what a small model may know, in one
conversation. Each question is asked twice in the same run, with drafts and without, in turns. A
rate counts the tokens after the first, and the ratio by CPU is the one to read on a busy machine.
"Same" answers have the same text and number of tokens. Of others, the largest difference between
the logarithms of the probabilities of the first two tokens that differ is printed.
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
from engine.backends.llama.messages import Ask, Done, Open, Runtime
from engine.backends.llama.tokens import common_prefix, fit
from engine.backends.llama.weights import find_model
from engine.catalogue.clean import clean_rows
from engine.catalogue.formats.counts import Counts
from engine.catalogue.read import read_rows
from engine.config import paths
from engine.core.trained_products import read_trained_products
from engine.core.types import Message, Mode, Product, Role
from engine.prompts import QUESTION_FORMS, chat_messages

RUNTIMES: tuple[Runtime, ...] = ("transformers", "llama.cpp")
LONGEST = 900
"""Characters of the longest description that is asked for."""
REMEMBERED = 6
"""Messages of the free conversation that a question comes after."""
REPLIES = ("That is well known.", "It depends on the place.", "Many people ask me this.")
"""The earlier answers of the conversation, which must be the same with drafts and without."""

Answered = tuple[Done, str, tuple[float, float]]
"""The end of an answer, its text, and the seconds after its first token, by clock and by CPU."""
Answer = Callable[[Ask], Answered]
Gap = Callable[[Ask, str, str], float | None]
"""Returns how far apart two different answers were where they part."""


@dataclass
class Total:
    """The answers of one mode: tokens after the first and their seconds, alone and with drafts."""

    answers: int = 0
    same: int = 0
    drafted: int = 0
    accepted: int = 0
    tokens: list[int] = field(default_factory=lambda: [0, 0])
    seconds: list[float] = field(default_factory=lambda: [0.0, 0.0])
    cpu: list[float] = field(default_factory=lambda: [0.0, 0.0])
    gaps: list[float] = field(default_factory=list)

    def row(self, name: str) -> str:
        """Return a row of the table."""
        alone, ours = self._rates(self.seconds)
        of_cpu, ours_of_cpu = self._rates(self.cpu)
        share = f"{self.accepted} of {self.drafted}" if self.drafted else "none"
        ratios = f"{ours / alone:.2f} | {ours_of_cpu / of_cpu:.2f}"
        same = f"{self.same} of {self.answers}"
        if self.gaps:
            same += f", else {max(self.gaps):.4f} apart"
        return f"| {name} | {alone:.1f} | {ours:.1f} | {ratios} | {same} | {share} |"

    def _rates(self, seconds: Sequence[float]) -> tuple[float, ...]:
        pairs = zip(self.tokens, seconds, strict=True)
        return tuple(max(tokens, 1) / max(spent, 1e-9) for tokens, spent in pairs)


def main(argv: Sequence[str] | None = None) -> int:
    """Run; prints a Markdown table for each runtime."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("rows", type=Path, metavar="ROWS", help="products that the adapter does not know")
    add("--runtime", action="append", choices=RUNTIMES, help="default: both")
    add("--model", default=paths.SMALL, metavar="MODEL")
    add("--adapter", type=Path, default=paths.small_adapter_dir(), metavar="DIR")
    add("--answers", type=int, default=6, metavar="N", help="of each kind (default: 6)")
    add("--tokens", type=int, default=120, metavar="N", help="of an answer (default: 120)")
    add("--only", action="append", metavar="TEXT", help="kinds with this in their names")
    options = parser.parse_args(argv)
    for runtime in options.runtime or RUNTIMES:
        alone, drafting, gap = load(runtime, options)
        print(f"\n{runtime}, {options.model}, at most {options.tokens} tokens\n")
        print("| asked | tokens/s alone | with drafts | ratio | by CPU | same answers | accepted |")
        print("|---|---|---|---|---|---|---|", flush=True)
        for name, asked in kinds(options):
            if any(one in name for one in options.only or [""]):
                print(compare(asked, alone, drafting, gap).row(name), flush=True)
    return 0


def load(runtime: Runtime, options: argparse.Namespace) -> tuple[Answer, Answer, Gap]:
    """Load the model; return what answers without drafts, with them, and compares answers."""
    model = find_model(options.model, "base")
    adapters = (str(options.adapter),)
    asked = Open(str(model.folder), "auto", model.weight_bytes, runtime, adapters)
    if runtime == "transformers":
        from engine.backends.llama.transformers import TransformersRuntime

        one = TransformersRuntime(asked)
        return answerer(one, drafts=False), answerer(one, drafts=True), gap_finder(one)
    from engine.backends.llama import llama_cpp

    count = llama_cpp._free_threads(model.weight_bytes)  # noqa: SLF001
    # Each server would count the free cores when it starts, and might find another number.
    llama_cpp._free_threads = lambda weight_bytes: count  # noqa: ARG005, SLF001
    drafting = llama_cpp.LlamaCppRuntime(asked, lambda _progress: None)
    # The setting is for a whole server: the other one has its own.
    llama_cpp._GUESSED = 0  # noqa: SLF001 - for this comparison only
    alone = llama_cpp.LlamaCppRuntime(asked, lambda _progress: None)
    return answerer(alone, drafts=False), answerer(drafting, drafts=True), gap_finder(alone)


def answerer(runtime: Any, *, drafts: bool) -> Answer:  # noqa: ANN401 - either runtime
    """Return a function that asks a runtime, with the drafts of the questions or without."""

    def answer(ask: Ask) -> Answered:
        said, began = list[str](), list[float]()

        def emit(text: str) -> None:
            if not began:
                began.extend((time.perf_counter(), time.process_time()))
            said.append(text)

        done = runtime.answer(ask if drafts else replace(ask, draft=""), emit, lambda: False)
        ended = time.perf_counter(), time.process_time()
        clock, cpu = began or ended
        return done, "".join(said), (ended[0] - clock, ended[1] - cpu)

    return answer


def gap_finder(runtime: Any) -> Gap:  # noqa: ANN401 - either runtime
    """Return a function that compares two answers to a question in the model's eyes."""
    encode = runtime._tokenizer.encode_plain  # noqa: SLF001

    def gap(ask: Ask, one: str, other: str) -> float | None:
        answers = encode(one), encode(other)
        same = common_prefix(*answers)
        if same == min(map(len, answers)):
            return None  # one goes on: llama.cpp rates no token that ends an answer
        prompt = fit(ask.messages, runtime._encode, 1 << 13, ask.max_tokens).tokens  # noqa: SLF001
        known = [*prompt, *answers[0][:same]]
        scores = [runtime.score(known, [it[same]], ask.adapter) for it in answers]
        return float(abs(scores[0] - scores[1]))

    return gap


def compare(asked: Iterable[Ask], alone: Answer, drafting: Answer, gap: Gap) -> Total:
    """Ask each question twice, in turns."""
    total = Total()
    for ask in asked:
        order = (0, 1) if total.answers % 2 else (1, 0)
        found: dict[int, Answered] = {}
        for way in order:
            found[way] = (alone, drafting)[way](ask)
            done, _, (seconds, cpu) = found[way]
            total.tokens[way] += max(done.completion - 1, 0)
            total.seconds[way] += seconds
            total.cpu[way] += cpu
        (plain, text, _), (drafted, other, _) = found[0], found[1]
        same = (text, plain.completion) == (other, drafted.completion)
        if not same:
            apart = gap(ask, text, other)
            total.gaps += [] if apart is None else [apart]
        total.answers += 1
        total.same += same
        total.drafted += drafted.drafted
        total.accepted += drafted.accepted
        print(f"\r{total.same} of {total.answers} the same", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return total


def kinds(options: argparse.Namespace) -> Iterable[tuple[str, Iterable[Ask]]]:
    """Yield each kind of question with its questions."""
    products = list(clean_rows(read_rows(paths.sample_source(), Counts()), Counts()))
    trained = read_trained_products(options.adapter)
    learned = [one for one in products if trained and one in trained]
    strange = strangers(options.rows, {one.description for one in products}, options.answers)
    table = (
        ("adapter, grounded", strange, Mode.GROUNDED, True),
        ("base, grounded", strange, Mode.GROUNDED, False),
        ("adapter, learned, from memory", learned[: options.answers], Mode.MEMORY, True),
        ("adapter, unknown, from memory", strange, Mode.MEMORY, True),
        ("base, sample titles, from memory", products[: options.answers], Mode.MEMORY, False),
    )
    for name, chosen, mode, adapted in table:
        adapter = str(options.adapter) if adapted else None
        yield name, about(chosen, mode, adapter, options.tokens)
    yield "base, free conversation", talk(options.answers)


def strangers(file: Path, known: set[str], limit: int) -> list[Product]:
    """Return the first products of `file` with a short description that is not in `known`."""
    found: dict[str, Product] = {}
    for one in clean_rows(read_rows(file, Counts()), Counts()):
        if one.title and one.description not in known and 0 < len(one.description) <= LONGEST:
            found.setdefault(one.description, one)
    return list(islice(found.values(), limit))


def about(
    products: Sequence[Product], mode: Mode, adapter: str | None, tokens: int
) -> Iterable[Ask]:
    """Yield a question about each product, with its record as the draft."""
    forms = QUESTION_FORMS[1:] if mode is Mode.GROUNDED else UNSEEN
    for one, form in zip(products, cycle(forms)):
        question = form.format(title=one.title, lower=one.title.lower())
        messages = chat_messages(question, one, mode)
        yield Ask(messages, tokens, 0.0, adapter=adapter, draft=one.description)


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
