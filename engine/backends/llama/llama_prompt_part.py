"""Makes a conversation fit a model's context, by leaving out its oldest turns.

Pure Python; llama_runtime gives it the tokenizer's chat template as a function.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from engine.core.errors import EngineFailed
from engine.core.i18n import tr, tr_n
from engine.core.types import Message, Role

Encode = Callable[[Sequence[Message]], list[int]]


@dataclass(frozen=True, slots=True)
class Fitted:
    """A prompt that fits: its tokens, how many more the answer may have, turns left out."""

    tokens: list[int]
    room: int
    dropped: int

    @property
    def notice(self) -> str:
        """A sentence for the person about what was left out, or nothing."""
        if not self.dropped:
            return ""
        return tr_n(
            "The oldest turn no longer fits the model's context and was left out.",
            "The oldest {count} turns no longer fit the model's context and were left out.",
            self.dropped,
        ).format(count=self.dropped)


def fit(messages: Sequence[Message], encode: Encode, context: int, max_tokens: int) -> Fitted:
    """The prompt's tokens for the longest end of the conversation that leaves room to answer.

    `context` and `max_tokens` are in tokens. The answer is to have `max_tokens`, or half of a
    context that is smaller than that; the last question is kept even where it leaves less. Raises
    EngineFailed if not even the last question fits.
    """
    wanted = min(max_tokens, context // 2)
    system, turns = _split(messages)
    dropped = 0
    tokens = encode(messages)
    while len(tokens) + wanted > context and len(turns) > 1:
        turns = turns[1:]
        dropped += 1
        tokens = encode([*system, *(message for turn in turns for message in turn)])
    if len(tokens) >= context:
        raise EngineFailed(
            tr(
                "The question and what goes with it take {count:,} tokens, more than the "
                "{context:,} that the model can read."
            ).format(count=len(tokens), context=context),
            tr(
                "Shorten it (from memory it goes without the record), or choose a model with a "
                "longer context."
            ),
        )
    return Fitted(tokens, min(max_tokens, context - len(tokens)), dropped)


def _split(messages: Sequence[Message]) -> tuple[list[Message], list[list[Message]]]:
    """The system message, and turns that begin with a user's message each."""
    system = [message for message in messages[:1] if message.role is Role.SYSTEM]
    turns: list[list[Message]] = []
    for message in messages[len(system) :]:
        if message.role is Role.USER or not turns:
            turns.append([])
        turns[-1].append(message)
    return system, turns
