"""Make the files of a model's folder from a GGUF file: config, tokenizer, template and weights.

Heavy: imports numpy, gguf and tokenizers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import prod
from mmap import ACCESS_READ, mmap
from pathlib import Path
from struct import calcsize, unpack_from
from typing import Annotated, Any

import gguf
import msgspec
import numpy as np
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

from engine.backends.llama import weights
from engine.core.errors import EngineUnavailable
from engine.core.files import (
    atomic_file,
    check_space,
    encode_json,
    folder_lock,
    locked,
    open_file,
    reading,
    write_atomic,
    writing,
)
from engine.core.i18n import tr
from engine.core.text import byte_count, one_line
from engine.core.types import Progress

Array = np.ndarray[Any, Any]

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_TEXT, _ARRAY = 8, 9
_CODES = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
"""struct's codes for the format's numbers of types."""
_ALIGNMENT = 32
_MAX_VALUES = 4_000_000
"""Values in the metadata; Llama 3's file has 0.6 million."""

_CONTROL, _USER_DEFINED = gguf.TokenType.CONTROL, gguf.TokenType.USER_DEFINED
_SPECIAL = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}
"""The format's names of the special tokens, by transformers' names."""

_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False)
_PRE_TOKENIZERS = {
    "gpt-2": _BYTES,
    "smollm": pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), _BYTES]),
    "llama-bpe": pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_LLAMA3), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    ),
}

_LAYER = re.compile(r"blk\.(\d+)\.(\w+)\.weight")
_OUTER_NAMES = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
_LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_Id = Annotated[int, msgspec.Meta(ge=0)]
_FP32_BYTES = 4
_WORD = 8


def unpack(gguf_file: Path, folder: Path) -> None:
    """Write the config and tokenizer files of a Llama's folder. Raises EngineUnavailable."""
    with _explain(gguf_file):
        reader = _Reader(gguf_file)
        config = _config(reader)
        tokenizer = _tokenizer(reader)
        if tokenizer.get_vocab_size() > config["vocab_size"]:
            raise _Unusable(tr("it has more tokens than embeddings"))
        generation, tokenizer_config = _generation_config(reader), _tokenizer_config(reader)
        template = reader.get("tokenizer.chat_template", str, "")
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / weights.CONFIG, encode_json(config, indent=2))
        write_atomic(folder / "generation_config.json", encode_json(generation, indent=2))
        write_atomic(folder / "tokenizer.json", tokenizer.to_str(pretty=True).encode())
        write_atomic(folder / "tokenizer_config.json", encode_json(tokenizer_config, indent=2))
        if template:
            write_atomic(folder / "chat_template.jinja", template.encode())


def with_safetensors(
    model: weights.ModelFiles, show: Callable[[Progress], None]
) -> weights.ModelFiles:
    """Return the model with safetensors; write those of a GGUF file, once. See `exact_weights`."""
    if model.weights or model.gguf is None:
        return model
    return replace(model, weights=(exact_weights(model.gguf, model.folder, show),))


def exact_weights(gguf_file: Path, folder: Path, show: Callable[[Progress], None]) -> Path:
    """Write the exact values of a GGUF file's weights as fp32 safetensors, unless they are there.

    One tensor at a time is in memory. Raises EngineUnavailable.
    """
    out = folder / "model.safetensors"
    with locked(folder_lock(folder)):  # another process may be writing it
        if not out.exists():
            _write_weights(gguf_file, out, show)
    return out


@dataclass(frozen=True, slots=True)
class _Tensor:
    """A tensor in a GGUF file. `shape` begins with the rows, as numpy's does."""

    shape: tuple[int, ...]
    kind: gguf.GGMLQuantizationType
    start: int

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """The shape in bytes."""
        shape: tuple[int, ...] = gguf.quant_shape_to_byte_shape(self.shape, self.kind)
        return shape

    @property
    def size(self) -> int:
        """The number of values."""
        return prod(self.shape)


class _Reader:
    """Read the values and the list of tensors that a GGUF file begins with.

    The library's reader takes twenty times as long, and never ends on some damaged files. Raises
    _Unusable.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._place, self._count = 0, 0
        with open_file(file) as stream, mmap(stream.fileno(), 0, access=ACCESS_READ) as data:
            self._data = data
            if self._take(len(_MAGIC)) != _MAGIC or self._number("I") not in _VERSIONS:
                raise _Unusable(tr("it is not a GGUF file of a known version"))
            tensors, values = self._number("Q"), self._number("Q")
            self.values = dict(self._named_value() for _ in self._counted(values))
            infos = [self._tensor() for _ in self._counted(tensors)]
            alignment = self.get("general.alignment", int, _ALIGNMENT)
            start = -(-self._place // alignment) * alignment
            self.tensors = {name: replace(one, start=one.start + start) for name, one in infos}
            ends = (one.start + prod(one.stored_shape) for one in self.tensors.values())
            if max(ends, default=0) > len(data):
                raise _Unusable(tr("it is truncated"))

    def get(self, name: str, kind: Any, default: Any = ...) -> Any:  # noqa: ANN401 - generic
        """Return a value as `kind`. Raises _Unusable if it is missing without a default."""
        if name not in self.values and default is ...:
            raise _Unusable(tr("{name} is missing", name=name))
        return msgspec.convert(self.values[name], kind) if name in self.values else default

    def special_id(self, name: str) -> int | None:
        """Return the id of a special token, or None."""
        found: int | None = self.get(f"tokenizer.ggml.{_SPECIAL[name]}_token_id", _Id, None)
        return found

    def stored(self, tensor: _Tensor) -> Array:
        """Return a tensor as it is stored, in bytes."""
        return np.memmap(self.file, np.uint8, "r", tensor.start, tensor.stored_shape)

    def _take(self, size: int) -> bytes:
        start, self._place = self._place, self._place + size
        if self._place > len(self._data):
            raise _Unusable(tr("it is truncated"))
        return self._data[start : self._place]

    def _number(self, code: str) -> Any:  # noqa: ANN401 - a number or bool
        return self._numbers(code, 1)[0]

    def _numbers(self, code: str, count: int) -> tuple[Any, ...]:
        return unpack_from(f"<{count}{code}", self._take(count * calcsize(f"<{code}")))

    def _text(self) -> str:
        return self._take(self._number("Q")).decode()

    def _counted(self, count: int) -> range:
        self._count += count
        if self._count > _MAX_VALUES:
            raise _Unusable(tr("its metadata is too large"))
        return range(count)

    def _named_value(self) -> tuple[str, Any]:
        return self._text(), self._value(self._number("I"))

    def _value(self, kind: int) -> Any:  # noqa: ANN401 - of the kind that the file says
        if kind == _TEXT:
            return self._text()
        if kind != _ARRAY:
            return self._number(_CODES[kind])
        item, count = self._number("I"), self._number("Q")
        counted = self._counted(count)
        return (
            [self._text() for _ in counted] if item == _TEXT else self._numbers(_CODES[item], count)
        )

    def _tensor(self) -> tuple[str, _Tensor]:
        name = self._text()
        shape = self._numbers("Q", self._number("I"))
        kind = gguf.GGMLQuantizationType(self._number("I"))
        return name, _Tensor(shape[::-1], kind, self._number("Q"))


class _Unusable(Exception):
    """Why a GGUF file cannot be used, as a part of a sentence."""


@contextmanager
def _explain(file: Path) -> Iterator[None]:
    """Raise EngineUnavailable if the block cannot use a GGUF file."""
    try:
        with reading(file, EngineUnavailable):
            yield
    except EngineUnavailable:
        raise
    except Exception as error:  # damaged values break the libraries in every way
        reason = one_line(str(error), 200) if isinstance(error, _Unusable) else tr("it is damaged")
        raise EngineUnavailable(
            tr("Cannot use {file}: {reason}.", file=file, reason=reason),
            tr("Copy or download it again."),
        ) from error


def _unsupported(what: str) -> _Unusable:
    return _Unusable(tr("{what} is not supported", what=what))


def _config(reader: _Reader) -> dict[str, Any]:
    get = reader.get
    if (kind := get("general.architecture", str)) != "llama":
        raise _Unusable(tr("it is a “{kind}” model, not a Llama", kind=kind))
    if (scaling := get("llama.rope.scaling.type", str, "none")) != "none":
        raise _unsupported(f"llama.rope.scaling.type {scaling}")
    if "rope_freqs.weight" in reader.tensors:
        raise _unsupported("rope_freqs.weight")
    embedding = reader.tensors.get("token_embd.weight")
    if embedding is None:
        raise _Unusable(tr("{name} is missing", name="token_embd.weight"))
    heads = get("llama.attention.head_count", int)
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "dtype": "float32",
        "hidden_act": "silu",
        "hidden_size": get("llama.embedding_length", int),
        "intermediate_size": get("llama.feed_forward_length", int),
        "num_attention_heads": heads,
        "num_key_value_heads": get("llama.attention.head_count_kv", int, heads),
        "num_hidden_layers": get("llama.block_count", int),
        "vocab_size": embedding.shape[0],
        "max_position_embeddings": get("llama.context_length", int),
        "rms_norm_eps": _shortest(get("llama.attention.layer_norm_rms_epsilon", float)),
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": _shortest(get("llama.rope.freq_base", float, 10_000.0)),
        },
        "tie_word_embeddings": "output.weight" not in reader.tensors,
        "bos_token_id": reader.special_id("bos"),
        "eos_token_id": reader.special_id("eos"),
        "pad_token_id": reader.special_id("pad"),
    }
    checked = msgspec.convert(config, weights.Hyperparameters)
    default = checked.hidden_size // checked.num_attention_heads
    return config | {"head_dim": get("llama.attention.key_length", int, default)}


def _generation_config(reader: _Reader) -> dict[str, Any]:
    ends = {reader.special_id("eos"), reader.get("tokenizer.ggml.eot_token_id", _Id, None)}
    found = sorted(end for end in ends if end is not None)
    return {
        "bos_token_id": reader.special_id("bos"),
        "eos_token_id": found[0] if len(found) == 1 else found or None,
        "pad_token_id": reader.special_id("pad"),
    }


def _tokenizer_config(reader: _Reader) -> dict[str, Any]:
    tokens = reader.get("tokenizer.ggml.tokens", list[str])
    ids = {f"{name}_token": reader.special_id(name) for name in _SPECIAL}
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        **{name: tokens[number] for name, number in ids.items() if number is not None},
    }


def _shortest(value: float) -> float:
    """Return a 32-bit number with the fewest digits that name it."""
    return float(str(np.float32(value)))


def _tokenizer(reader: _Reader) -> Tokenizer:
    model = reader.get("tokenizer.ggml.model", str)
    name = reader.get("tokenizer.ggml.pre", str, "default")
    if model != "gpt2" or name not in _PRE_TOKENIZERS:
        raise _unsupported(tr("its tokenizer ({model}, {name})", model=model, name=name))
    tokens = reader.get("tokenizer.ggml.tokens", list[str])
    vocabulary = {token: number for number, token in enumerate(tokens)}
    types = reader.get("tokenizer.ggml.token_type", list[int])
    if len(vocabulary) != len(tokens) or len(types) != len(tokens):
        raise _Unusable(tr("its list of tokens is invalid"))
    merges = [_pair(merge) for merge in reader.get("tokenizer.ggml.merges", list[str])]
    # Llama 3 looks a whole word up before it merges.
    whole = name == "llama-bpe"
    made = Tokenizer(models.BPE(vocabulary, merges, ignore_merges=whole))
    made.pre_tokenizer = _PRE_TOKENIZERS[name]
    made.decoder = decoders.ByteLevel()
    made.add_tokens(
        [
            AddedToken(token, normalized=False, special=kind == _CONTROL)
            for token, kind in zip(tokens, types, strict=True)
            if kind in (_CONTROL, _USER_DEFINED)
        ]
    )
    return made


def _pair(merge: str) -> tuple[str, str]:
    left, right = merge.split(" ")
    return left, right


def _write_weights(file: Path, out: Path, show: Callable[[Progress], None]) -> None:
    with _explain(file):
        reader = _Reader(file)
        config = msgspec.convert(_config(reader), weights.Hyperparameters)
        tensors = _by_name(reader, config.num_hidden_layers)
    total = sum(tensor.size for tensor in tensors.values()) * _FP32_BYTES
    purpose = tr("the model's weights in 32 bits")
    check_space(out, total, purpose, EngineUnavailable)
    label = tr("preparing the weights ({size}, once)", size=byte_count(total))
    done = 0
    with writing(out), atomic_file(out) as stream:
        stream.write(_header({name: tensor.shape for name, tensor in tensors.items()}))
        for name, tensor in tensors.items():
            show(Progress(label, done / max(total, 1)))
            with _explain(file):
                values = gguf.quants.dequantize(reader.stored(tensor), tensor.kind)
                ordered = _in_halves(values, _heads(name, config))
            stream.write(ordered.astype("<f4").tobytes())
            done += tensor.size * _FP32_BYTES


def _by_name(reader: _Reader, layers: int) -> dict[str, _Tensor]:
    """Return the tensors by transformers' names. Raises _Unusable if it lacks or has others."""
    found = {_name(name): tensor for name, tensor in reader.tensors.items()}
    expected = {name for name in _OUTER_NAMES.values() if name != "lm_head.weight"} | {
        f"model.layers.{layer}.{part}.weight"
        for layer in range(layers)
        for part in _LAYER_NAMES.values()
    }
    if missing := expected - found.keys():
        raise _Unusable(tr("{name} is missing", name=min(missing)))
    if others := found.keys() - expected - {"lm_head.weight"}:
        raise _unsupported(min(others))
    return found


def _name(name: str) -> str:
    match = _LAYER.fullmatch(name)
    if match and match[2] in _LAYER_NAMES:
        return f"model.layers.{match[1]}.{_LAYER_NAMES[match[2]]}.weight"
    return _OUTER_NAMES.get(name, name)


def _header(shapes: Mapping[str, tuple[int, ...]]) -> bytes:
    """Return the start of a safetensors file of fp32 tensors in that order."""
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    start = 0
    for name, shape in shapes.items():
        end = start + prod(shape) * _FP32_BYTES
        entries[name] = {"dtype": "F32", "shape": shape, "data_offsets": [start, end]}
        start = end
    header = msgspec.json.encode(entries)
    header += b" " * (-len(header) % _WORD)
    return len(header).to_bytes(_WORD, "little") + header


def _heads(name: str, config: weights.Hyperparameters) -> int:
    """Return the heads whose rows llama.cpp has in another order; 0 for any other tensor."""
    if name.endswith("self_attn.q_proj.weight"):
        return config.num_attention_heads
    return config.key_value_heads if name.endswith("self_attn.k_proj.weight") else 0


def _in_halves(values: Array, heads: int) -> Array:
    """Reorder a query's or key's rows from llama.cpp's pairs to transformers' halves."""
    if not heads:
        return values
    split = values.reshape(heads, -1, 2, *values.shape[1:])
    return split.swapaxes(1, 2).reshape(values.shape)
