"""Tokenize rows for training: exactly the tokens that the chat's prompt has, then the answer.

The chat and this module share `ModelTokenizer` for the prompt; the answer's tokens are whatever the
template puts after it. So a template needs no marks for the assistant's text. Heavy.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import TemplateError

from engine.backends.llama.tokens import read_tokenizer, transformers_tokenizer
from engine.core.errors import EngineUnavailable, UsageError
from engine.core.text import one_line
from engine.core.types import Message
from engine.training.data import as_messages
from engine.training.openai.plan import TrainingRow


@dataclass(frozen=True, slots=True)
class TokenizedAnswer:
    """An answer to learn: the tokens of its prompt, those of the answer and its end, both texts."""

    prompt: list[int]
    completion: list[int]
    answer: str
    question: str

    @property
    def length(self) -> int:
        """The number of tokens."""
        return len(self.prompt) + len(self.completion)


@dataclass(slots=True)
class TokenizedRows:
    """The answers of a file, and the number left out for each reason."""

    limit: int
    answers: list[TokenizedAnswer] = field(default_factory=list)
    too_long: int = 0
    first_too_long: int = 0
    """The line of the first row that is too long, or 0."""
    altered: int = 0
    """Answers that the tokenizer does not reproduce exactly."""
    lines_left_out: set[int] = field(default_factory=set)

    @property
    def tokens(self) -> int:
        """The number of tokens in an epoch."""
        return sum(one.length for one in self.answers)

    @property
    def longest(self) -> int:
        """The number of tokens of the longest answer with its prompt."""
        return max((one.length for one in self.answers), default=0)

    @property
    def left_out(self) -> str:
        """Explain which answers were left out; empty if all fit."""
        parts = []
        if self.too_long:
            parts.append(
                f"{self.too_long:,} longer than {self.limit:,} tokens with the question"
                f" (the first in line {self.first_too_long})"
            )
        if self.altered:
            parts.append(f"{self.altered:,} that the tokenizer does not reproduce exactly")
        return f"answers left out: {'; '.join(parts)}" if parts else ""

    def some(self, count: int) -> list[TokenizedAnswer]:
        """Return up to `count` answers, spread evenly over all."""
        count = min(count, len(self.answers))
        return [self.answers[turn * len(self.answers) // count] for turn in range(count)]


class Encoder:
    """A base model's tokenizer and chat template."""

    def __init__(self, folder: Path) -> None:
        """Raise UsageError if the tokenizer cannot be used."""
        try:
            self.tokenizer = read_tokenizer(folder)
        except EngineUnavailable as error:
            raise UsageError(error.message, error.remedy) from error
        self._folder = folder
        self.template = self.tokenizer.template
        end = self.tokenizer.token_id("eos_token")
        if end is None:
            raise UsageError(f"The tokenizer in {folder} does not name an end-of-text token.")
        self._end = end

    def encode(self, rows: Sequence[TrainingRow], limit: int) -> TokenizedRows:
        """Tokenize every answer of `rows`; leave out those longer than `limit` tokens.

        A conversation with several answers gives several examples, as the chat would ask for them.
        """
        found = TokenizedRows(limit)
        for line, row in enumerate(rows, 1):
            for place, message in enumerate(row.messages):
                if message.role != "assistant" or message.weight == 0 or not place:
                    continue
                answer = self._tokenize(as_messages(row.messages[: place + 1]))
                if answer.length > limit:
                    found.too_long += 1
                    found.lines_left_out.add(line)
                    found.first_too_long = found.first_too_long or line
                elif self.decode(answer.completion).split() != answer.answer.split():
                    found.altered += 1
                    found.lines_left_out.add(line)
                else:
                    found.answers.append(answer)
        return found

    def for_trainer(self) -> Any:  # noqa: ANN401 - untyped library
        """Return the same tokenizer as the trainers know it."""
        return transformers_tokenizer(self._folder)

    def prompt_tokens(self, messages: Sequence[Message]) -> list[int]:
        """Return the tokens of the chat's prompt. Raise UsageError if the template rejects it."""
        return self._tokens(messages, ask=True)

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of an answer without its end token."""
        return self.tokenizer.decode(tokens).strip()

    def shown(self, tokens: Sequence[int]) -> str:
        """Return the text of tokens, with the special ones."""
        return self.tokenizer.backend.decode(list(tokens), skip_special_tokens=False)

    def _tokenize(self, messages: list[Message]) -> TokenizedAnswer:
        *asked, answer = messages
        prompt = self._tokens(asked, ask=True)
        whole = self._tokens(messages, ask=False)
        if whole[: len(prompt)] == prompt:
            completion = whole[len(prompt) :]
        else:
            # The template renders earlier turns differently: take the answer alone.
            completion = self.tokenizer.encode(answer.content)
        return TokenizedAnswer(prompt, self._ended(completion), answer.content, asked[-1].content)

    def _ended(self, tokens: list[int]) -> list[int]:
        """Cut `tokens` after the first that ends a turn, or append the tokenizer's own end."""
        special = self.tokenizer.all_special_ids - {self.tokenizer.token_id("unk_token")}
        for place, token in enumerate(tokens):
            if token in special and place:
                return tokens[: place + 1]
        return [*tokens, self._end]

    def _tokens(self, messages: Sequence[Message], *, ask: bool) -> list[int]:
        try:
            return self.tokenizer.encode_chat(messages, ask=ask)
        except TemplateError as error:
            raise UsageError(
                "The model's chat template rejects these rows:"
                f" {one_line(str(error), 200).rstrip('.')}.",
                "Put another chat_template.jinja into the model's folder.",
            ) from error
