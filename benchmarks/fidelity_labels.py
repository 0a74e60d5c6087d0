"""Stream answers that are nonsense, another product's or cut, and count the right labels.

.venv/bin/python -m benchmarks.fidelity_labels
.venv/bin/python -m benchmarks.fidelity_labels --rows data/sample_catalogue.jsonl --count 200

Each answer goes through the chat's own code over an index of the rows, from an engine that says it
word by word, from memory. Right is: nonsense scores at most 5 %; another product's description, or
the first words of it, is given to a product with that text; a beginning of the right description
is an excerpt. Prints the processor time that measuring and looking up take, and its share of the
time in which a model would have said the words at --rate words a second.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, closing
from pathlib import Path
from typing import NamedTuple

from engine.backends.base import Engine
from engine.backends.registry import Registry
from engine.catalogue.catalogue import Catalogue
from engine.catalogue.index import build_catalogue
from engine.chat.answer import PendingAnswer
from engine.chat.wording import drawn_share, faithfulness, wrong_product
from engine.config.settings import load
from engine.core.types import Answer, Answered, Availability, Chunk, Mode, Request, StopReason

_ROWS = Path("data/sample_catalogue.jsonl")
_LEAST_WORDS = 10
_FUNCTION_WORDS = "the of and a to in is for that it with de que o e do da em um não os".split()  # noqa: SIM905
_LETTERS = "abcdefghilmnoprstuv 0123456789"
_NONSENSE = 0.05


class Case(NamedTuple):
    """What a model says of a product, and whose description it is."""

    kind: str
    title: str
    record: str
    said: str
    cut: bool = False
    other: str = ""


class _Saying(Engine):
    """Say what it is told to."""

    kind = "catalogue"

    def __init__(self, original: Engine) -> None:
        super().__init__("base", original.config)
        self.case: Case | None = None

    def availability(self) -> Availability:
        return Availability(ready=True)

    async def stream(self, request: Request) -> AsyncGenerator[Chunk]:
        del request
        case = self.case or Case("", "", "", "")
        for word in case.said.split(" "):
            yield Chunk(f"{word} ")
        yield Chunk(stop_reason=StopReason.LENGTH if case.cut else StopReason.COMPLETE)


class _OneEngine(Registry):
    def __init__(self) -> None:
        super().__init__(load(Path("none"), {}))
        self.saying = _Saying(super().get("catalogue"))

    def get(self, engine_id: str) -> Engine:
        del engine_id
        return self.saying


def nonsense(record: str, rng: random.Random) -> str:
    """Say something that has words or letters of a record at most."""
    words = record.split()
    length = rng.randint(3, 80)
    kinds = (
        " ".join([rng.choice(words)] * length),
        " ".join(rng.choices(_FUNCTION_WORDS, k=length)),
        "".join(rng.choices(_LETTERS, k=length * 5)),
        " ".join(word[::-1] for word in words),
        " ".join(rng.choice(words)[:3] + rng.choice(words)[-3:] for _ in range(length)),
        f"A {rng.choice('0123456789') * length}",
        " ".join(rng.sample(words, len(words))),
    )
    return rng.choice(kinds)


def cases(products: Sequence[tuple[str, str]], count: int, rng: random.Random) -> list[Case]:
    """Make `count` cases of each kind."""
    made = []
    for _ in range(count):
        (title, record), (_, other) = rng.sample(products, 2)
        while other.split() == record.split():
            other = rng.choice(products)[1]
        made.append(Case("nonsense", title, record, nonsense(record, rng)))
        made.append(Case("other product", title, record, other, other=other))
        words = other.split()
        part = " ".join(words[: max(_LEAST_WORDS, len(words) // 2)])
        made.append(Case("part of another", title, record, part, cut=True, other=other))
        cut = record[: rng.randrange(1, len(record) - 2)].rstrip()
        made.append(Case("cut answer", title, record, cut, cut=True))
    return made


def is_right(case: Case, answer: Answer) -> bool:
    """Return whether the line below an answer says what it is."""
    words, bar = faithfulness(answer), drawn_share(answer)
    if case.kind == "nonsense":
        return (answer.fidelity or 0.0) <= _NONSENSE and not wrong_product(answer)
    if case.other:
        named = answer.described.description if answer.described else ""
        return case.said in named and "word for word" not in words
    return words == "excerpt, word for word" and bar is None


async def _say(case: Case, registry: _OneEngine, catalogue: Catalogue) -> tuple[Answer, float]:
    registry.saying.case = case
    pending = PendingAnswer(registry, catalogue, case.title, "base", Mode.MEMORY)
    ended = time.process_time()
    async with aclosing(pending.events()) as events:
        async for event in events:
            if isinstance(event, Answered):
                return event.answer, time.process_time() - ended
            ended = time.process_time()
    raise AssertionError("an answer always ends in Answered")


async def _run(catalogue: Catalogue, made: Sequence[Case], rate: float, *, show: bool) -> None:
    registry = _OneEngine()
    right, asked = Counter[str](), Counter[str]()
    seconds: dict[str, list[float]] = {}
    shares: dict[str, list[float]] = {}
    for case in made:
        answer, took = await _say(case, registry, catalogue)
        good = is_right(case, answer)
        asked[case.kind] += 1
        right[case.kind] += good
        seconds.setdefault(case.kind, []).append(took)
        shares.setdefault(case.kind, []).append(took * rate / len(case.said.split()))
        if show and not good:
            print(f"{case.kind}: {faithfulness(answer)}, {wrong_product(answer)}")
            print(f"   {case.said[:300]}\n   {case.record[:300]}")
    for kind, count in asked.items():
        median, longest = statistics.median(seconds[kind]), max(seconds[kind])
        share = statistics.median(shares[kind])
        print(f"{kind:16}{right[kind]:5} of {count} right", end="")
        print(f"  {median * 1000:.1f} ms, at most {longest * 1000:.1f}; {share:.2%} of a stream")


def main() -> None:
    """Index the rows, stream the answers, count."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=Path, default=_ROWS, metavar="FILE")
    parser.add_argument("--count", type=int, default=200, help="cases of each kind")
    parser.add_argument("--rate", type=float, default=20.0, help="words a second of a model")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--show", action="store_true", help="print the wrong ones")
    options = parser.parse_args()
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        index = Path(folder) / "index"
        build_catalogue(options.rows, index, meaning=False)
        with closing(Catalogue.open(index)) as catalogue:
            products = _products(options.rows, catalogue)
            made = cases(products, options.count, rng)
            asyncio.run(_run(catalogue, made, options.rate, show=options.show))


def _products(rows: Path, catalogue: Catalogue) -> list[tuple[str, str]]:
    """Return titles that find one product, and its description, if that has a few words."""
    with rows.open(encoding="utf-8") as lines:
        titles = [json.loads(line)["title"] for line in lines]
    decisions = [(title, catalogue.find(title).product) for title in dict.fromkeys(titles)]
    found = [(title, product.description) for title, product in decisions if product]
    return [one for one in found if len(one[1].split()) > _LEAST_WORDS]


if __name__ == "__main__":
    main()
