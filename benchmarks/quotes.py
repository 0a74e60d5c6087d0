"""Ask follow-up questions in each mode, and count the answers that have what was asked for.

    python -m benchmarks.quotes [--questions FILE] [--engines catalogue,base:quote,base:grounded]

Before each question the catalogue has described its product. Prints a row for each engine and mode:
answers to the questions that have one, in the answer or in sentences that it marks as a guess; and
of the questions without an answer, those that are told so.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

from engine.backends.registry import Registry
from engine.catalogue.catalogue import Retriever
from engine.chat.answer import PendingAnswer
from engine.chat.open import open_catalogue
from engine.config import settings
from engine.core.types import Answer, Answered, Mode, Turn

QUESTIONS = Path(__file__).with_name("questions_quotes.jsonl")
ENGINES = "catalogue,base:quote,base:grounded,lora:grounded"


async def main() -> None:
    """Ask, judge and count; prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--questions", type=Path, default=QUESTIONS, metavar="FILE")
    parser.add_argument("--engines", default=ENGINES, metavar="ID:MODE,…")
    options = parser.parse_args()
    questions = [json.loads(line) for line in options.questions.read_text("utf-8").splitlines()]
    chosen = settings.load()
    registry = Registry(chosen)
    print("| engine and mode | right | as a guess | told so | false answers | model asked |")
    print("|---|---|---|---|---|---|", flush=True)
    with closing(open_catalogue(chosen)) as catalogue:
        for name in options.engines.split(","):
            counts = Counter[str]()
            for question in questions:
                answer = await _ask(registry, catalogue, question, name)
                counts[_judge(question, answer)] += 1
                counts["asked"] += answer.tokens is not None
            known = sum(question["answer"] is not None for question in questions)
            print(
                f"| {name} | {counts['right']} of {known} | {counts['guess']} |"
                f" {counts['told']} of {len(questions) - known} | {counts['false']} |"
                f" {counts['asked']} |",
                flush=True,
            )
    await registry.close()


async def _ask(
    registry: Registry, catalogue: Retriever, question: dict[str, Any], name: str
) -> Answer:
    engine, _, mode = name.partition(":")
    first = PendingAnswer(registry, catalogue, question["uid"], "catalogue", Mode.GROUNDED)
    turn = Turn(question["uid"], await _answered(first))
    asked = question["question"]
    pending = PendingAnswer(
        registry, catalogue, asked, engine, Mode(mode or "grounded"), [turn], sampling=_LIMIT
    )
    return await _answered(pending)


_LIMIT = {"max_tokens": 80}


async def _answered(pending: PendingAnswer) -> Answer:
    async for event in pending.events():
        if isinstance(event, Answered):
            return event.answer
    raise AssertionError("an answer always ends in Answered")


def _judge(question: dict[str, Any], answer: Answer) -> str:
    expected = question["answer"]
    accepted = [expected] if isinstance(expected, str) else expected or []
    has_answer = any(one.casefold() in answer.text.casefold() for one in accepted)
    if has_answer:
        return "guess" if answer.by_counter else "right"
    if not answer.by_counter:
        return "false"
    return "told" if expected is None else "missed"


if __name__ == "__main__":
    asyncio.run(main())
