"""From a prompt's messages to a Llama's tokens: the one place, for chat and for training alike.

What differs here between the two is what an adapter answers wrongly later, so neither has its own.
Imports transformers: imported late.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import TemplateError
from transformers import (  # noqa: TID253 - this module is imported lazily
    AutoTokenizer,
    LlamaTokenizer,
    PreTrainedTokenizerFast,
)

from engine.core.types import Message, Role
from engine.prompts import LLAMA2_TEMPLATE


def read_tokenizer(folder: Path) -> Any:  # noqa: ANN401 - untyped library
    """The tokenizer in a model's folder, from this disk alone. Raises whatever its readers do."""
    return _tokenizer_class(folder).from_pretrained(
        folder, local_files_only=True, trust_remote_code=False
    )


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
