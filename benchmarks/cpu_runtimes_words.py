"""Prompts of the sample catalogue, and how alike two libraries answer them. For cpu_runtimes.py."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from engine.backends.llama.tokens import PromptTokens, read_tokenizer
from engine.config import paths
from engine.core.types import Mode
from engine.prompts import QUESTION_FORMS, chat_messages
from tools.make_demo_model import read_products

END = 2
"""The token that ends an answer, of every Llama 2."""


def prompts_of(model: Path, count: int) -> list[list[int]]:
    """The tokens of that many questions: every other one with its record, the rest without."""
    tokens = PromptTokens(read_tokenizer(model))
    products = [one for one in read_products(paths.sample_source()) if one.description]
    chosen = products[:: max(1, len(products) // count)][:count]
    return [
        tokens.encode(
            chat_messages(
                QUESTION_FORMS[1].format(title=one.title),
                one,
                Mode.GROUNDED if number % 2 else Mode.MEMORY,
            ),
            ask=True,
        )
        for number, one in enumerate(chosen)
    ]


def compare(
    said: Sequence[list[int]], expected: Sequence[list[int]], margins: Sequence[list[float]]
) -> str:
    """How many answers are the same token for token, up to their end.

    Of the others: after how many tokens they part, and how close the expected token and the next
    likely one were there.
    """
    parted = []
    for ours, theirs, margin in zip(said, expected, margins, strict=True):
        first, second = ended(ours), ended(theirs)
        if first != second:
            pairs = enumerate(zip(first, second, strict=False))
            shorter = min(len(first), len(second))
            at = next((at for at, (one, other) in pairs if one != other), shorter)
            parted.append(f"{at} ({margin[at]:.4f})")
    where = f"; the others part after {', '.join(parted)}" if parted else ""
    return f"{len(said) - len(parted)} of {len(said)} token for token{where}"


def ended(tokens: list[int]) -> list[int]:
    """An answer up to its end."""
    return tokens[: tokens.index(END)] if END in tokens else tokens
