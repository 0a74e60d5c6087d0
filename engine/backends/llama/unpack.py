"""Make the files of smollm2's folder from its GGUF file: config, tokenizer, template and weights.

Heavy: imports numpy, gguf and tokenizers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import msgspec
import numpy as np
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from engine.backends.llama import weights
from engine.core.errors import EngineUnavailable
from engine.core.files import (
    atomic_file,
    check_space,
    encode_json,
    folder_lock,
    locked,
    write_atomic,
    writing,
)
from engine.core.i18n import tr
from engine.core.text import byte_count, one_line
from engine.core.types import Progress

Array = np.ndarray[Any, Any]
Show = Callable[[Progress], None]

_SPECIAL = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}
"""The format's names of the special tokens, by transformers' names."""

_OUTER = ("model.embed_tokens", "model.norm", "lm_head")
_ATTENTION = [f"self_attn.{part}_proj" for part in "qkvo"]
_MLP = [f"mlp.{part}_proj" for part in ("gate", "up", "down")]
_LAYER = ("input_layernorm", *_ATTENTION, "post_attention_layernorm", *_MLP)
_FP32_BYTES = 4
_WORD = 8


def unpack(gguf_file: Path, folder: Path) -> None:
    """Write smollm2's config and tokenizer files. Raises EngineUnavailable for a broken file.

    The caller compares the checksum, so what only other files have is not refused.
    """
    with _explain(gguf_file):
        reader = _Reader(gguf_file)
        tokens = reader.value("tokenizer.ggml.tokens")
        ids = {
            name: reader.value(f"tokenizer.ggml.{known}_token_id")
            for name, known in _SPECIAL.items()
        }
        ends = {f"{name}_token_id": ids[name] for name in ("bos", "eos", "pad")}
        tokenizer_config = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "clean_up_tokenization_spaces": False,
            **{f"{name}_token": tokens[number] for name, number in ids.items()},
        }
        files = {
            weights.CONFIG: encode_json(_config(reader) | ends, indent=2),
            "generation_config.json": encode_json(ends, indent=2),
            "tokenizer.json": _tokenizer(reader, tokens).to_str(pretty=True).encode(),
            "tokenizer_config.json": encode_json(tokenizer_config, indent=2),
            "chat_template.jinja": reader.value("tokenizer.chat_template").encode(),
        }
    with writing(folder):
        for name, content in files.items():
            write_atomic(folder / name, content)


def with_safetensors(model: weights.ModelFiles, show: Show) -> weights.ModelFiles:
    """Return the model with safetensors; write the exact values of a GGUF file as fp32, once.

    One tensor at a time is in memory. Raises EngineUnavailable.
    """
    if model.weights or model.gguf is None:
        return model
    out = model.folder / "model.safetensors"
    with locked(folder_lock(model.folder)):  # another process may be writing it
        if not out.exists():
            _write_weights(model.gguf, model.config, out, show)
    return replace(model, weights=(out,))


def heads_of(name: str, config: weights.Hyperparameters) -> int:
    """Return the heads whose rows llama.cpp has in another order; 0 for any other tensor."""
    if ".self_attn.q_proj." in name:
        return config.num_attention_heads
    return config.key_value_heads if ".self_attn.k_proj." in name else 0


def reorder(rows: Array, heads: int, parts: int) -> Array:
    """Take each head's rows in turn from its `parts` equal parts: the method of llama.cpp.

    2 parts make llama.cpp's pairs of transformers' halves; half as many as a head has rows undo it.
    """
    split = rows.reshape(heads, parts, -1, *rows.shape[1:])
    return np.ascontiguousarray(split.swapaxes(1, 2).reshape(rows.shape))


class _Reader(gguf.GGUFReader):  # type: ignore[misc]
    """The library's reader, five times as fast, for the byte order of this machine."""

    def value(self, name: str) -> Any:  # noqa: ANN401 - of the kind that the file says
        return self.fields[name].contents()

    def _get(self, offset: int, dtype: Any, count: int = 1, **_: Any) -> Array:  # noqa: ANN401
        return np.frombuffer(self.data, dtype, int(count), offset)


@contextmanager
def _explain(file: Path) -> Iterator[None]:
    """Raise EngineUnavailable if the block cannot use a GGUF file."""
    try:
        yield
    except Exception as error:  # another model or damaged values break the libraries in every way
        words = {"file": file.name, "error": one_line(str(error), 200)}
        reason = tr("{file} is damaged or not supported ({error})", **words)
        raise weights.unusable_model(file.parent, reason) from error


def _config(reader: _Reader) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "dtype": "float32",
        "hidden_act": "silu",
        "hidden_size": reader.value("llama.embedding_length"),
        "intermediate_size": reader.value("llama.feed_forward_length"),
        "num_attention_heads": reader.value("llama.attention.head_count"),
        "num_key_value_heads": reader.value("llama.attention.head_count_kv"),
        "num_hidden_layers": reader.value("llama.block_count"),
        "vocab_size": reader.value("llama.vocab_size"),
        "max_position_embeddings": reader.value("llama.context_length"),
        "rms_norm_eps": round(reader.value("llama.attention.layer_norm_rms_epsilon"), 12),
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": reader.value("llama.rope.freq_base"),
        },
        "tie_word_embeddings": True,
        "head_dim": reader.value("llama.rope.dimension_count"),
    }


def _tokenizer(reader: _Reader, tokens: list[str]) -> Tokenizer:
    vocabulary = {token: number for number, token in enumerate(tokens)}
    pairs = (merge.split(" ") for merge in reader.value("tokenizer.ggml.merges"))
    made = Tokenizer(models.BPE(vocabulary, [(left, right) for left, right in pairs]))
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    made.decoder = decoders.ByteLevel()
    types = zip(tokens, reader.value("tokenizer.ggml.token_type"), strict=True)
    made.add_tokens(
        [
            AddedToken(token, normalized=False, special=kind == gguf.TokenType.CONTROL)
            for token, kind in types
            if kind != gguf.TokenType.NORMAL
        ]
    )
    return made


def _write_weights(file: Path, config: weights.Hyperparameters, out: Path, show: Show) -> None:
    with _explain(file):
        tensors = _by_name(_Reader(file), config.num_hidden_layers)
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    total = 0
    for name, tensor in tensors.items():
        start, total = total, total + tensor.n_elements * _FP32_BYTES
        header[name] = weights.Tensor("F32", tuple(tensor.shape.tolist()[::-1]), (start, total))
    purpose = tr("the model's weights in 32 bits")
    check_space(out, total, purpose, EngineUnavailable)
    label = tr("preparing the weights ({size}, once)", size=byte_count(total))
    encoded = msgspec.json.encode(header)
    encoded += b" " * (-len(encoded) % _WORD)
    with writing(out), atomic_file(out) as stream:
        stream.write(len(encoded).to_bytes(_WORD, "little") + encoded)
        for name, tensor in tensors.items():
            show(Progress(label, header[name].data_offsets[0] / total))
            with _explain(file):
                values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
            if heads := heads_of(name, config):
                values = reorder(values, heads, len(values) // heads // 2)
            stream.write(values.astype("<f4").tobytes())


def _by_name(reader: _Reader, layers: int) -> dict[str, Any]:
    """Return the tensors by transformers' names. Raises KeyError if it lacks or has others."""
    known = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, layers)
    inner = [f"model.layers.{layer}.{part}" for layer in range(layers) for part in _LAYER]
    names = {f"{known.get_name(name)}.weight": f"{name}.weight" for name in (*_OUTER, *inner)}
    found = {names[tensor.name]: tensor for tensor in reader.tensors}
    if missing := set(names.values()) - {*found, "lm_head.weight"}:
        raise KeyError(min(missing))
    return found
