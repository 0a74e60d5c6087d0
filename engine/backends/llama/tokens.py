"""From a prompt's messages to a Llama's tokens: the one place, for chat and for training alike.

What differs here between the two is what an adapter answers wrongly later, so neither has its own.
Imports transformers: imported late.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import TemplateError
from transformers import (
    AutoTokenizer,
    LlamaTokenizer,
    PreTrainedTokenizerFast,
)

from engine.core.errors import EngineFailed, EngineUnavailable
from engine.core.i18n import tr, tr_n
from engine.core.text import one_line
from engine.core.types import Message, Role
from engine.prompts import LLAMA2_TEMPLATE


def read_tokenizer(folder: Path) -> Any:  # noqa: ANN401 - untyped library
    """Load the tokenizer in a model's folder. Raises EngineUnavailable if it cannot be read."""
    try:
        return _tokenizer_class(folder).from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # the libraries' many readers raise errors of every kind
        raise EngineUnavailable(
            tr(
                "The tokenizer in {folder} cannot be read: {error}.",
                folder=folder,
                error=one_line(str(error), 200),
            ),
            tr("Put the tokenizer that belongs to the model into its folder."),
        ) from error


class PromptTokens:
    """A tokenizer with the chat template that it goes by: the model's own, else Llama 2's."""

    def __init__(self, tokenizer: Any) -> None:  # noqa: ANN401 - untyped library
        self.tokenizer = tokenizer
        self.template: str = tokenizer.chat_template or LLAMA2_TEMPLATE

    def encode(self, messages: Sequence[Message], *, ask: bool) -> list[int]:
        """The tokens of a conversation, one BOS; with `ask`, ready for the model to answer.

        A template that takes no system message gets it in front of the first question. Raises
        jinja2's TemplateError if it does not take the conversation at all.
        """
        try:
            return self._apply(messages, ask=ask)
        except TemplateError:
            return self._apply(_without_system(messages), ask=ask)

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of tokens, the special ones left out."""
        text: str = self.tokenizer.decode(
            list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text

    def _apply(self, messages: Sequence[Message], *, ask: bool) -> list[int]:
        turns = [{"role": message.role.value, "content": message.content} for message in messages]
        encoded = self.tokenizer.apply_chat_template(
            turns,
            chat_template=self.template,
            tokenize=True,  # rendering first and tokenizing then would give two BOS
            add_generation_prompt=ask,
            return_dict=True,
        )
        tokens: list[int] = encoded["input_ids"]
        return tokens


def _without_system(messages: Sequence[Message]) -> list[Message]:
    first, *others = messages
    if first.role is not Role.SYSTEM or not others:
        return list(messages)
    asked = Message(others[0].role, f"{first.content}\n\n{others[0].content}")
    return [asked, *others[1:]]


def _tokenizer_class(folder: Path) -> Any:  # noqa: ANN401 - untyped library
    """AutoTokenizer guesses another tokenization where no class is named (251 of 251 strings)."""
    config = folder / "tokenizer_config.json"
    if config.exists() and b'"tokenizer_class"' in config.read_bytes():
        return AutoTokenizer
    return PreTrainedTokenizerFast if (folder / "tokenizer.json").exists() else LlamaTokenizer


def encode(tokens: PromptTokens, rows: int, messages: Sequence[Message]) -> list[int]:
    """The tokens of `messages`, ready to be answered by a model with `rows` tokens.

    Raises EngineFailed if the model's template or its tokenizer does not fit.
    """
    try:
        encoded = tokens.encode(messages, ask=True)
    except TemplateError as error:
        raise EngineFailed(
            tr(
                "The model's chat template does not take this conversation: {error}.",
                error=one_line(str(error), 200).rstrip("."),
            ),
            tr("Begin a new conversation, or put another chat_template.jinja beside the model."),
        ) from error
    if max(encoded) >= rows:
        raise EngineFailed(
            tr(
                "The tokenizer does not fit the model: it gives token {encoded}, the model "
                "has {rows}.",
                encoded=max(encoded),
                rows=rows,
            ),
            tr("Put the tokenizer that belongs to the model into its folder."),
        )
    return encoded


def common(before: Sequence[int], now: Sequence[int]) -> int:
    """How many tokens two prompts begin with alike, at most all but the last of `now`."""
    most = min(len(before), len(now) - 1)
    return next((place for place in range(most) if before[place] != now[place]), max(most, 0))


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
            count=self.dropped,
        )


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
                "{context:,} that the model can read.",
                count=len(tokens),
                context=context,
            ),
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
