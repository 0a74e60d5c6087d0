"""What asking a remote engine may cost: an estimate by characters, before anything is sent.

Source of the prices: secondary sources that agree with one another (price comparisons of March and
April 2026, read in November 2026); no primary source confirmed them. The bill is the last word.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from engine.backends.openai.lifetimes_part import base_model
from engine.core.types import Mode, Product
from engine.evaluation.asked_part import Asked
from engine.evaluation.questions import Group, Question
from engine.prompts import chat_messages

_CHARACTERS = 4
"""Of English, for a token: the usual rule."""
_PER_MESSAGE = 4
"""Tokens around a message, by OpenAI's guide to counting."""
_UNKNOWN_ANSWER = 400
"""Characters of an answer about an invented title: the middle length of a description."""

_USD_PER_MILLION = {
    "gpt-4o-mini": (0.15, 0.60),
    "gpt-4o": (2.50, 10.00),
    "gpt-4.1": (2.00, 8.00),
    "gpt-4.1-mini": (0.40, 1.60),
    "gpt-4.1-nano": (0.10, 0.40),
    "ft:gpt-4o-mini": (0.30, 1.20),
}
"""US dollars for a million tokens, sent and received. Of fine-tuned models only one is known."""


class Cost(Struct, frozen=True):
    """An estimate: questions that are sent, tokens sent and received, US dollars where known."""

    calls: int
    sent: int
    received: int
    usd: float | None


def estimate(
    asked: Asked, questions: Iterable[Question], price: tuple[float, float] | None = None
) -> Cost:
    """What asking these `questions` may cost. `price` (USD a million tokens) is over the table.

    Grounded, an invented title is answered by the counter, and nothing is sent.
    """
    grounded = asked.mode is Mode.GROUNDED
    sendable = [one for one in questions if not (grounded and one.group is Group.INVENTED)]
    sent = sum(_prompt(asked, one) for one in sendable)
    most = int(asked.made_of.get("max_tokens") or 0)
    received = sum(_answer(one, most) for one in sendable)
    known = price or _price(str(asked.made_of.get("model", "")), str(asked.made_of.get("server")))
    usd = (sent * known[0] + received * known[1]) / 1_000_000 if known else None
    return Cost(len(sendable), sent, received, usd)


def _price(model: str, server: str) -> tuple[float, float] | None:
    """Only OpenAI's own are known."""
    if server != "OpenAI":
        return None
    tuned = "ft:" if model.startswith("ft:") else ""
    return _USD_PER_MILLION.get(tuned + base_model(model))


def _prompt(asked: Asked, question: Question) -> int:
    product = Product("", question.title, question.record)
    system = str(asked.made_of.get("system_prompt") or "")
    messages = chat_messages(question.question, product, asked.mode, system=system)
    return sum(_tokens(len(message.content)) + _PER_MESSAGE for message in messages)


def _answer(question: Question, most: int) -> int:
    tokens = _tokens(len(question.record) or _UNKNOWN_ANSWER)
    return min(tokens, most) if most else tokens


def _tokens(characters: int) -> int:
    return -(-characters // _CHARACTERS)
