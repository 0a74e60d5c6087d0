"""A conversation as tokens for a runtime, or a sentence about why it cannot be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from jinja2 import TemplateError

from engine.core.errors import EngineFailed
from engine.core.i18n import tr
from engine.core.text import one_line
from engine.core.types import Message

if TYPE_CHECKING:
    from engine.backends.llama.tokens import PromptTokens


def encode(tokens: PromptTokens, rows: int, messages: Sequence[Message]) -> list[int]:
    """The tokens of `messages`, ready to be answered by a model with `rows` tokens.

    Raises EngineFailed if the model's template or its tokenizer does not fit.
    """
    try:
        encoded = tokens.encode(messages, ask=True)
    except TemplateError as error:
        raise EngineFailed(
            tr("The model's chat template does not take this conversation: {error}.").format(
                error=one_line(str(error), 200).rstrip(".")
            ),
            tr("Begin a new conversation, or put another chat_template.jinja beside the model."),
        ) from error
    if max(encoded) >= rows:
        raise EngineFailed(
            tr(
                "The tokenizer does not fit the model: it gives token {encoded}, the model "
                "has {rows}."
            ).format(encoded=max(encoded), rows=rows),
            tr("Put the tokenizer that belongs to the model into its folder."),
        )
    return encoded


def common(before: Sequence[int], now: Sequence[int]) -> int:
    """How many tokens two prompts begin with alike, at most all but the last of `now`."""
    most = min(len(before), len(now) - 1)
    return next((place for place in range(most) if before[place] != now[place]), max(most, 0))
