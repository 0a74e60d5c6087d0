"""Turn a prompt's messages into a Llama's tokens, for the chat and for training alike.

An adapter answers wrongly if it is asked with other tokens than it learned, so there is one way.
Heavy: imports transformers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from jinja2 import TemplateError
from transformers import AutoTokenizer, LlamaTokenizer, PreTrainedTokenizerFast

from engine.backends.llama.weights import unusable_model
from engine.core.errors import EngineFailed
from engine.core.files import UNDECODABLE, read_file
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
        reason = tr("its tokenizer is unreadable ({error})", error=one_line(str(error), 200))
        raise unusable_model(folder, reason, wrong_tokenizer_remedy()) from error


def wrong_tokenizer_remedy() -> str:
    """Return the remedy for a tokenizer that is unreadable or does not match."""
    return tr("Copy the model's own tokenizer into its folder.")


def _tokenizer_class(folder: Path) -> Any:  # noqa: ANN401 - untyped library
    # AutoTokenizer guesses a different tokenization if the config names no class.
    config = folder / "tokenizer_config.json"
    if config.exists() and b'"tokenizer_class"' in read_file(config):
        return AutoTokenizer
    return PreTrainedTokenizerFast if (folder / "tokenizer.json").exists() else LlamaTokenizer


class PromptTokens:
    """A tokenizer and its chat template: the model's own, otherwise Llama 2's."""

    def __init__(self, tokenizer: Any) -> None:  # noqa: ANN401 - untyped library
        self.tokenizer = tokenizer
        self.template: str = tokenizer.chat_template or LLAMA2_TEMPLATE

    def encode(self, messages: Sequence[Message], *, ask: bool) -> list[int]:
        """Encode a conversation with one BOS; with `ask`, up to where the model answers.

        The system message moves into the first question if the template rejects it. Raises
        jinja2's TemplateError if the template rejects the conversation.
        """
        try:
            return self._apply(messages, ask=ask)
        except TemplateError:
            return self._apply(_without_system(messages), ask=ask)

    def encode_question(self, messages: Sequence[Message], rows: int) -> list[int]:
        """Encode a conversation for a model with `rows` embeddings. Raises EngineFailed."""
        try:
            tokens = self.encode(messages, ask=True)
        except TemplateError as error:
            reason = one_line(str(error), 200).rstrip(".")
            told = tr("The model's chat template rejects this conversation: {error}.", error=reason)
            remedy = tr(
                "Start a new conversation, or replace chat_template.jinja in the model's folder."
            )
            raise EngineFailed(told, remedy) from error
        if max(tokens) >= rows:
            told = tr(
                "The tokenizer does not match the model: token {token} is outside its vocabulary "
                "of {rows}.",
                token=max(tokens),
                rows=rows,
            )
            raise EngineFailed(told, wrong_tokenizer_remedy())
        return tokens

    def decode(self, tokens: Sequence[int]) -> str:
        """Decode tokens into text, without the special ones."""
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
    question = Message(others[0].role, f"{first.content}\n\n{others[0].content}")
    return [question, *others[1:]]


class _TokenizerModel(msgspec.Struct, frozen=True):
    vocab: dict[str, int]
    merges: list[tuple[str, str]]
    byte_fallback: bool = False


class _AddedToken(msgspec.Struct, frozen=True):
    id: int
    content: str
    special: bool


class _TokenizerFile(msgspec.Struct, frozen=True):
    """The part of a `tokenizer.json` that a GGUF file has too."""

    model: _TokenizerModel
    added_tokens: list[_AddedToken]


_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED, _BYTE = range(1, 7)
"""llama.cpp's types of tokens."""
_BYTE_TOKEN = re.compile("<0x[0-9A-F]{2}>")


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """A tokenizer's tokens as a GGUF file has them: `model` is "gpt2" or "llama"."""

    model: str
    tokens: list[str]
    types: list[int]
    merges: list[str] | None
    """The pairs that "gpt2" merges, best first."""
    scores: list[float] | None
    """How early "llama" merges into each token."""
    ids: dict[str, int]
    """The numbers of bos, eos, unk and pad, as far as the tokenizer has them."""


def read_vocabulary(folder: Path, rows: int) -> Vocabulary:
    """Return the vocabulary of a model with `rows` embeddings. Raises EngineUnavailable."""
    tokenizer = read_tokenizer(folder)
    names = {"bos": tokenizer.bos_token_id, "eos": tokenizer.eos_token_id}
    names |= {"unk": tokenizer.unk_token_id, "pad": tokenizer.pad_token_id}
    ids = {name: number for name, number in names.items() if number is not None}
    try:
        found = msgspec.json.decode(tokenizer.backend_tokenizer.to_str(), type=_TokenizerFile)
    except UNDECODABLE as error:
        reason = tr("llama.cpp does not support its tokenizer")
        raise unusable_model(folder, reason, wrong_tokenizer_remedy()) from error
    numbers = found.model.vocab | {token.content: token.id for token in found.added_tokens}
    if max(numbers.values()) >= rows:
        size = max(numbers.values()) + 1
        reason = tr("its tokenizer has {size} tokens, its weights {rows}", size=size, rows=rows)
        raise unusable_model(folder, reason, wrong_tokenizer_remedy())
    tokens = [f"[UNUSED{number}]" for number in range(rows)]
    types = [_UNUSED] * rows
    for token, number in numbers.items():
        tokens[number] = token
        types[number] = _NORMAL
    _set_types(types, found, ids.get("unk"))
    if not found.model.byte_fallback:
        merges = [" ".join(pair) for pair in found.model.merges]
        return Vocabulary("gpt2", tokens, types, merges, None, ids)
    ranks = {left + right: rank for rank, (left, right) in enumerate(found.model.merges, 1)}
    scores = [-float(ranks.get(token, 0)) for token in tokens]
    return Vocabulary("llama", tokens, types, None, scores, ids)


def _set_types(types: list[int], found: _TokenizerFile, unknown: int | None) -> None:
    if found.model.byte_fallback:
        for token, number in found.model.vocab.items():
            if _BYTE_TOKEN.fullmatch(token):
                types[number] = _BYTE
    for added in found.added_tokens:
        types[added.id] = _CONTROL if added.special else _USER_DEFINED
    if found.model.byte_fallback and unknown is not None:
        types[unknown] = _UNKNOWN


def common_prefix(before: Sequence[int], now: Sequence[int]) -> int:
    """Count the tokens that two prompts begin with alike, at most all but the last of `now`."""
    most = min(len(before), len(now) - 1)
    return next((place for place in range(most) if before[place] != now[place]), max(most, 0))


Encode = Callable[[Sequence[Message]], list[int]]


@dataclass(frozen=True, slots=True)
class FittedPrompt:
    """A prompt that fits the context: its tokens, the answer's limit, the turns left out."""

    tokens: list[int]
    max_new_tokens: int
    dropped: int

    @property
    def notice(self) -> str:
        """A sentence about turns that were left out, or empty."""
        if not self.dropped:
            return ""
        return tr_n(
            "The oldest turn no longer fits the model's context and was left out.",
            "The oldest {count} turns no longer fit the model's context and were left out.",
            self.dropped,
            count=self.dropped,
        )


def fit(messages: Sequence[Message], encode: Encode, context: int, max_tokens: int) -> FittedPrompt:
    """Drop the oldest turns until `context` tokens hold the prompt and an answer.

    The answer gets `max_tokens`, or half of a smaller context; the last question stays even if it
    leaves less. Raises EngineFailed if the last question alone does not fit.
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
                "The question with its record takes {count:,} tokens, more than the {context:,} "
                "that the model can read.",
                count=len(tokens),
                context=context,
            ),
            tr(
                "Shorten the question, ask from memory (without the record), or choose a model "
                "with a longer context."
            ),
        )
    return FittedPrompt(tokens, min(max_tokens, context - len(tokens)), dropped)


def _split(messages: Sequence[Message]) -> tuple[list[Message], list[list[Message]]]:
    system = [message for message in messages[:1] if message.role is Role.SYSTEM]
    turns: list[list[Message]] = []
    for message in messages[len(system) :]:
        if message.role is Role.USER or not turns:
            turns.append([])
        turns[-1].append(message)
    return system, turns
