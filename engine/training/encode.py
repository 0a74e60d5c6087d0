"""Turns rows into tokens for training: the very tokens that the chat asks with, then the answer.

The prompt's tokens come from prompt_tokens_runtime, as the chat's do (a test holds the two
together); the answer's tokens are what the template puts after them. So no template needs marks
for the assistant's words, and none can be cut. Imports transformers: imported late.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import TemplateError

from engine.backends.llama.tokens import PromptTokens, read_tokenizer
from engine.core.errors import EngineUnavailable, UsageError
from engine.core.text import one_line
from engine.core.types import Message, Role
from engine.training.data import Row, as_messages


@dataclass(frozen=True, slots=True)
class Example:
    """One answer to learn: the tokens of the prompt, of the answer with its end, and both texts."""

    prompt: list[int]
    completion: list[int]
    answer: str
    question: str

    @property
    def length(self) -> int:
        """Tokens."""
        return len(self.prompt) + len(self.completion)


@dataclass(slots=True)
class Encoded:
    """The examples of a file, and what was left out, by reason."""

    examples: list[Example] = field(default_factory=list)
    too_long: int = 0
    first_too_long: int = 0
    """The line of the first row that is too long; 0 if there is none."""
    unsayable: int = 0
    """Answers that the tokenizer cannot give back as they are."""

    @property
    def tokens(self) -> int:
        """All tokens of one epoch."""
        return sum(example.length for example in self.examples)

    @property
    def longest(self) -> int:
        """Tokens of the longest example."""
        return max((example.length for example in self.examples), default=0)


class Encoder:
    """A base model's tokenizer and chat template."""

    def __init__(self, folder: Path) -> None:
        """Raises UsageError if the tokenizer cannot be read."""
        try:
            self.tokenizer: Any = read_tokenizer(folder)
        except EngineUnavailable as error:
            raise UsageError(error.message, error.remedy) from error
        self._prompt = PromptTokens(self.tokenizer)
        if self.tokenizer.eos_token_id is None:
            raise UsageError(f"The tokenizer in {folder} names no token that ends a text.")

    def encode(self, rows: Sequence[Row], limit: int) -> Encoded:
        """Every answer of `rows` as an example; one longer than `limit` tokens is left out whole.

        A conversation with several answers gives an example for each, since the chat asks so too.
        """
        found = Encoded()
        for line, row in enumerate(rows, 1):
            for place, message in enumerate(row.messages):
                if message.role != Role.ASSISTANT or not message.weight or not place:
                    continue
                example = self._example(as_messages(row.messages[: place + 1]))
                if example.length > limit:
                    found.too_long += 1
                    found.first_too_long = found.first_too_long or line
                elif self.text(example.completion).split() != example.answer.split():
                    found.unsayable += 1
                else:
                    found.examples.append(example)
        return found

    def prompt_tokens(self, messages: Sequence[Message]) -> list[int]:
        """The tokens that the chat asks with. Raises UsageError if the template refuses them."""
        return self._tokens(messages, ask=True)

    @property
    def template(self) -> str:
        """The chat template in force."""
        return self._prompt.template

    def text(self, tokens: Sequence[int]) -> str:
        """The text of an answer, without its end."""
        return self._prompt.decode(tokens).strip()

    def _example(self, messages: list[Message]) -> Example:
        *asked, answer = messages
        prompt = self._tokens(asked, ask=True)
        whole = self._tokens(messages, ask=False)
        if whole[: len(prompt)] == prompt:
            completion = whole[len(prompt) :]
        else:
            # The template words the past otherwise than the present: take the answer alone.
            completion = self.tokenizer(answer.content, add_special_tokens=False)["input_ids"]
        return Example(prompt, self._ended(completion), answer.content, asked[-1].content)

    def _ended(self, tokens: list[int]) -> list[int]:
        """`tokens` up to the first that ends a turn; the tokenizer's own end if there is none."""
        special = {self.tokenizer.eos_token_id, *self.tokenizer.all_special_ids}
        special.discard(self.tokenizer.unk_token_id)
        for place, token in enumerate(tokens):
            if token in special and place:
                return tokens[: place + 1]
        return [*tokens, self.tokenizer.eos_token_id]

    def _tokens(self, messages: Sequence[Message], *, ask: bool) -> list[int]:
        try:
            return self._prompt.encode(messages, ask=ask)
        except TemplateError as error:
            raise UsageError(
                "The model's chat template does not take these rows:"
                f" {one_line(str(error), 200).rstrip('.')}.",
                "Put another chat_template.jinja beside the model.",
            ) from error
