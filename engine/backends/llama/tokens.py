"""Turn a prompt's messages into a Llama's tokens, for the chat and for training alike.

An adapter answers wrongly if it is asked with other tokens than it learned, so there is one way,
for every runtime. Heavy: imports tokenizers and jinja2.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
from jinja2 import TemplateError
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from engine.backends.llama.chat_template import render_chat
from engine.backends.llama.weights import unusable_model
from engine.core.errors import EngineFailed, EngineUnavailable, PromptTooLong
from engine.core.files import UNDECODABLE, read_file
from engine.core.i18n import tr, tr_n
from engine.core.process import install_command
from engine.core.text import one_line
from engine.core.types import Message, Role
from engine.prompts import LLAMA2_TEMPLATE

_FILE, _CONFIG = "tokenizer.json", "tokenizer_config.json"
_SPECIAL_TOKENS, _TEMPLATE = "special_tokens_map.json", "chat_template.jinja"
_MAX_FILE = 100_000_000
"""Bytes; Llama 3's tokenizer.json has 17 million."""

_LLAMA_CLASS = "LlamaTokenizer"
_LLAMA_TOKENS = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
_FLAGS = ("lstrip", "rstrip", "single_word", "normalized")


@dataclass(frozen=True, slots=True)
class ModelTokenizer:
    """A model's tokenizer, the special tokens that it names, and its chat template or Llama 2's."""

    backend: Tokenizer
    named: dict[str, str]
    """Tokens by their names in the files: `bos_token`, `eos_token`, …"""
    extra: tuple[str, ...]
    """Special tokens without a name."""
    template: str

    def token_id(self, name: str) -> int | None:
        """Return the id of the token that has that name, as `eos_token`, or None."""
        return self.backend.token_to_id(self.named[name]) if name in self.named else None

    @property
    def all_special_ids(self) -> set[int]:
        """The ids of all special tokens, named or not."""
        found = (self.backend.token_to_id(token) for token in (*self.named.values(), *self.extra))
        return {number for number in found if number is not None}

    @property
    def vocab_size(self) -> int:
        """The number of tokens without those that were added."""
        return self.backend.get_vocab_size(with_added_tokens=False)

    def get_added_vocab(self) -> dict[str, int]:
        """The ids of the added tokens by their text."""
        found = self.backend.get_added_tokens_decoder()
        return {token.content: number for number, token in found.items()}

    def encode(self, text: str) -> list[int]:
        """Return the tokens of a text, without any that it does not have."""
        return self.backend.encode(text, add_special_tokens=False).ids

    def encode_plain(self, text: str) -> list[int]:
        """Return the tokens of a text without the special ones that it names.

        llama.cpp ends the process if a grammar asks for the token that ends an answer.
        """
        special = self.all_special_ids
        return [token for token in self.encode(text) if token not in special]

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of tokens, without the special ones."""
        return self.backend.decode(list(tokens), skip_special_tokens=True)

    def encode_chat(self, messages: Sequence[Message], *, ask: bool) -> list[int]:
        """Encode a conversation with one BOS; with `ask`, up to where the model answers.

        The system message moves into the first question if the template rejects it. Raises
        jinja2's TemplateError if the template rejects the conversation.
        """
        try:
            text = render_chat(self.template, messages, self.named, ask=ask)
        except TemplateError:
            text = render_chat(self.template, _without_system(messages), self.named, ask=ask)
        return self.encode(text)  # the template writes the one BOS

    def encode_question(self, messages: Sequence[Message], rows: int) -> list[int]:
        """Encode a conversation for a model with `rows` embeddings. Raises EngineFailed."""
        try:
            tokens = self.encode_chat(messages, ask=True)
        except TemplateError as error:
            reason = one_line(str(error), 200).rstrip(".")
            told = tr("The model's chat template rejects this conversation: {error}.", error=reason)
            remedy = tr(
                "Start a new conversation, or replace chat_template.jinja in the model's folder."
            )
            raise EngineFailed(told, remedy) from error
        if max(tokens, default=0) >= rows:
            told = tr(
                "The tokenizer does not match the model: token {token} is outside its vocabulary "
                "of {rows}.",
                token=max(tokens),
                rows=rows,
            )
            raise EngineFailed(told, wrong_tokenizer_remedy())
        return tokens

    def encode_record(self, text: str, rows: int) -> list[int]:
        """Encode a text as a model with `rows` embeddings would answer it; empty if it cannot."""
        tokens = self.encode(text)
        end = self.token_id("eos_token")
        tokens += [end] if tokens and end is not None else []
        return tokens if max(tokens, default=0) < rows else []


def read_tokenizer(folder: Path) -> ModelTokenizer:
    """Load the tokenizer in a model's folder. Raises EngineUnavailable if it cannot be read."""
    if not (folder / _FILE).exists():
        return _read_sentencepiece(folder)
    try:
        return _read_json(folder)
    except Exception as error:  # the libraries' many readers raise errors of every kind
        raise _unreadable(folder, error) from error


def transformers_tokenizer(folder: Path) -> Any:  # noqa: ANN401 - untyped library
    """Load the tokenizer in a model's folder with transformers, for libraries that want it so.

    Raises EngineUnavailable if it cannot be read.
    """
    from transformers import AutoTokenizer, LlamaTokenizer, PreTrainedTokenizerFast

    kind: Any = PreTrainedTokenizerFast if (folder / _FILE).exists() else LlamaTokenizer
    try:
        if _read_config(folder / _CONFIG).get("tokenizer_class"):
            kind = AutoTokenizer
        # AutoTokenizer guesses a different tokenization if the config names no class.
        return kind.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # as above
        raise _unreadable(folder, error) from error


def from_transformers(tokenizer: Any) -> ModelTokenizer:  # noqa: ANN401 - untyped library
    """Return the same tokenizer without transformers around it."""
    named = dict(tokenizer.special_tokens_map)
    extra = tuple(str(token) for token in tokenizer.extra_special_tokens)
    return ModelTokenizer(
        tokenizer.backend_tokenizer, named, extra, _default_template(tokenizer.chat_template)
    )


def wrong_tokenizer_remedy() -> str:
    """Return the remedy for a tokenizer that is unreadable or does not match."""
    return tr("Copy the model's own tokenizer into its folder.")


def _unreadable(folder: Path, error: Exception) -> EngineUnavailable:
    reason = tr("its tokenizer is unreadable ({error})", error=one_line(str(error), 200))
    return unusable_model(folder, reason, wrong_tokenizer_remedy())


def _read_sentencepiece(folder: Path) -> ModelTokenizer:
    if not (find_spec("transformers") and find_spec("sentencepiece")):
        reason = tr("transformers and sentencepiece, which read its tokenizer, are not installed")
        remedy = tr("Run: {command}", command=install_command("gpu"))
        raise unusable_model(folder, reason, remedy)
    return from_transformers(transformers_tokenizer(folder))


def _read_json(folder: Path) -> ModelTokenizer:
    """Load tokenizer.json as transformers 5 does: with the tokens that the other files name."""
    content = read_file(folder / _FILE, _MAX_FILE)
    backend = Tokenizer.from_buffer(content)
    config = _read_config(folder / _CONFIG)
    added = config.get("added_tokens_decoder")
    if added is None:
        config |= _read_config(folder / _SPECIAL_TOKENS)
        decoder = backend.get_added_tokens_decoder()
        tokens = [decoder[number] for number in sorted(decoder)]
    else:
        tokens = [_added_token(added[number]) for number in sorted(added, key=int)]
    kind = str(config.get("tokenizer_class") or "").removesuffix("Fast")
    if kind == _LLAMA_CLASS and b'"ByteLevel"' not in content:
        config = _LLAMA_TOKENS | config
        backend = _with_metaspace(content, config)
    named = {name: value for name, value in config.items() if _names_token(name, value)}
    extra = config.get("extra_special_tokens") or config.get("additional_special_tokens") or []
    if isinstance(extra, dict):
        named, extra = named | extra, []
    known = {token.content for token in tokens}
    others = [_added_token(value) for value in (*named.values(), *extra)]
    backend.add_tokens([*tokens, *(token for token in others if token.content not in known)])
    backend.no_truncation()
    backend.no_padding()
    backend.encode_special_tokens = bool(config.get("split_special_tokens"))
    return ModelTokenizer(
        backend,
        {name: _added_token(value).content for name, value in named.items()},
        tuple(_added_token(value).content for value in extra),
        _read_template(folder) or _default_template(config.get("chat_template")),
    )


def _read_config(file: Path) -> dict[str, Any]:
    return msgspec.json.decode(read_file(file), type=dict[str, Any]) if file.exists() else {}


def _names_token(name: str, value: object) -> bool:
    is_token = isinstance(value, str) or (isinstance(value, dict) and "content" in value)
    return name.endswith("_token") and is_token


def _added_token(value: str | Mapping[str, Any]) -> AddedToken:
    if isinstance(value, str):
        return AddedToken(value, special=True)
    flags = {flag: value[flag] for flag in _FLAGS if flag in value}
    return AddedToken(value["content"], special=value.get("special", True), **flags)


class _Model(msgspec.Struct, frozen=True):
    vocab: dict[str, int]
    merges: list[str | tuple[str, str]]
    byte_fallback: bool = False

    @property
    def pairs(self) -> list[tuple[str, str]]:
        found = (merge.split(" ") if isinstance(merge, str) else merge for merge in self.merges)
        return [(left, right) for left, right in found]


class _ModelFile(msgspec.Struct, frozen=True):
    """The part of a `tokenizer.json` that its backend does not tell."""

    model: _Model


def _with_metaspace(content: bytes, config: Mapping[str, Any]) -> Tokenizer:
    """Return a tokenizer of that vocabulary with the parts that LlamaTokenizer has."""
    model = msgspec.json.decode(content, type=_ModelFile).model
    made = Tokenizer(models.BPE(model.vocab, model.pairs, fuse_unk=True, byte_fallback=True))
    prefixed = config.get("add_prefix_space") in (None, True)
    scheme = ("always" if config.get("legacy") else "first") if prefixed else "never"
    made.pre_tokenizer = pre_tokenizers.Metaspace("▁", scheme, split=False)
    parts = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    made.decoder = decoders.Sequence([*parts, decoders.Strip(" ", 1)] if prefixed else parts)
    return made


def _read_template(folder: Path) -> str:
    file = folder / _TEMPLATE
    return read_file(file).decode() if file.exists() else ""


def _default_template(found: object) -> str:
    """Return the template named "default" of several, the only one, or Llama 2's."""
    if isinstance(found, list):
        found = {one["name"]: one["template"] for one in found}
    if isinstance(found, dict):
        found = found["default"]
    return str(found or LLAMA2_TEMPLATE)


def _without_system(messages: Sequence[Message]) -> list[Message]:
    first, *others = messages
    if first.role is not Role.SYSTEM or not others:
        return list(messages)
    question = Message(others[0].role, f"{first.content}\n\n{others[0].content}")
    return [question, *others[1:]]


_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED, _BYTE = range(1, 7)
"""llama.cpp's types of tokens."""
_BYTE_TOKEN = re.compile("<0x[0-9A-F]{2}>")


def read_vocabulary(folder: Path, rows: int) -> dict[str, Any]:
    """Return what a GGUF file of `rows` embeddings says of the tokenizer, by gguf's names.

    Raises EngineUnavailable.
    """
    tokenizer = read_tokenizer(folder)
    try:
        model = msgspec.json.decode(tokenizer.backend.to_str(), type=_ModelFile).model
    except UNDECODABLE as error:
        reason = tr("llama.cpp does not support its tokenizer")
        raise unusable_model(folder, reason, wrong_tokenizer_remedy()) from error
    numbers = tokenizer.backend.get_vocab()
    if max(numbers.values()) >= rows:
        size = max(numbers.values()) + 1
        reason = tr("its tokenizer has {size} tokens, its weights {rows}", size=size, rows=rows)
        raise unusable_model(folder, reason, wrong_tokenizer_remedy())
    tokens, types = [f"[UNUSED{number}]" for number in range(rows)], [_UNUSED] * rows
    for token, number in numbers.items():
        tokens[number] = token
        types[number] = _BYTE if model.byte_fallback and _BYTE_TOKEN.fullmatch(token) else _NORMAL
    for number, added in tokenizer.backend.get_added_tokens_decoder().items():
        types[number] = _CONTROL if added.special else _USER_DEFINED
    ids = {name: tokenizer.token_id(f"{name}_token") for name in ("bos", "eos", "unk", "pad")}
    found: dict[str, Any] = {"token_list": tokens, "token_types": types}
    found |= {f"{name}_token_id": token for name, token in ids.items() if token is not None}
    if not model.byte_fallback:
        merges = [" ".join(pair) for pair in model.pairs]
        splits = _splits_of(tokenizer.backend)
        return found | {"tokenizer_model": "gpt2", "tokenizer_pre": splits, "token_merges": merges}
    if (unknown := ids["unk"]) is not None:
        types[unknown] = _UNKNOWN
    ranks = {left + right: rank for rank, (left, right) in enumerate(model.pairs, 1)}
    scores = [-float(ranks.get(token, 0)) for token in tokens]
    return found | {"tokenizer_model": "llama", "tokenizer_pre": "default", "token_scores": scores}


def _splits_of(backend: Tokenizer) -> str:
    """Return llama.cpp's name for how a text is split before the merges."""
    parts = str(backend.pre_tokenizer)
    if "individual_digits=True" in parts:
        return "smollm"
    return "llama-bpe" if r"\p{N}{1,3}" in parts else "gpt-2"


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
            "{count} earlier question was left out (context limit).",
            "{count} earlier questions were left out (context limit).",
            self.dropped,
            count=self.dropped,
        )


def fit(messages: Sequence[Message], encode: Encode, context: int, max_tokens: int) -> FittedPrompt:
    """Drop the oldest turns until `context` tokens hold the prompt and an answer.

    The answer gets `max_tokens`, or half of a smaller context; the last question stays even if it
    leaves less. Raises PromptTooLong if the last question alone does not fit.
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
        raise PromptTooLong(
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
