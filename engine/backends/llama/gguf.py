"""Writes a Llama's safetensors as a GGUF file, for llama.cpp. Imported late: numpy and gguf.

Weights go from disk to disk as their bytes, a tensor at a time, so memory does not hold the model.
The file has no vocabulary: tokens are made in prompt_tokens_runtime, for this runtime as for all.
Names and metadata are those of llama.cpp's own converter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import pi
from pathlib import Path
from typing import Any

import gguf  # noqa: TID253 - this module is imported lazily
import numpy as np  # noqa: TID253 - this module is imported lazily

from engine.backends.llama.weights import ModelFiles, RopeConfig, Tensor, read_header
from engine.core.errors import EngineUnavailable
from engine.core.i18n import tr

Array = np.ndarray[Any, Any]

_STORED = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16}
"""How each of the format's types is read; numpy has no bf16, whose bytes are taken as they are."""

_FP32 = gguf.GGMLQuantizationType.F32
_QUERY_OR_KEY = {"self_attn.q_proj": "q", "self_attn.k_proj": "k"}


@dataclass(frozen=True, slots=True)
class _Source:
    """One tensor on disk: where it lies, and what it is to be called."""

    file: Path
    start: int
    tensor: Tensor
    name: str
    heads: int
    """Heads whose rows are to be put in llama.cpp's order; 0 leaves them."""


def write_model(
    model: ModelFiles, file: Path, *, full: bool, show: Callable[[float], None]
) -> None:
    """Write `model` to `file`: matrices in their own precision or, if `full`, in fp32.

    `show` is told the share that is done. Raises EngineUnavailable for a model that llama.cpp does
    not run as it stands, OSError when the disk is full.
    """
    sources = list(_sources(model))
    writer = gguf.GGUFWriter(file, gguf.MODEL_ARCH_NAMES[gguf.MODEL_ARCH.LLAMA])
    try:
        _describe(writer, model)
        factors = _rope_factors(writer, model)
        for source in sources:
            kind = _kind(source.tensor, full=full)
            size = np.prod(source.tensor.shape) * (4 if kind is _FP32 else 2)
            writer.add_tensor_info(
                source.name, source.tensor.shape, np.dtype(np.uint16), int(size), raw_dtype=kind
            )
        if factors is not None:
            writer.add_tensor_info(
                "rope_freqs.weight", factors.shape, factors.dtype, factors.nbytes
            )
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for number, source in enumerate(sources, 1):
            writer.write_tensor_data(_values(source, full=full))
            show(number / len(sources))
        if factors is not None:
            writer.write_tensor_data(factors)
    finally:
        writer.close()


def reordered(rows: Array, heads: int) -> Array:
    """A query's or key's rows from transformers' order (halves) to llama.cpp's (pairs).

    `rows` is (heads x head size, …). The method is `permute` of llama.cpp's converter.
    """
    half = rows.shape[0] // heads // 2
    split = rows.reshape(heads, 2, half, *rows.shape[1:])
    return np.ascontiguousarray(split.swapaxes(1, 2).reshape(rows.shape))


def heads_of(name: str, model: ModelFiles) -> int:
    """How many heads the rows of that tensor belong to; 0 if they are no query's or key's."""
    config = model.config
    for part, which in _QUERY_OR_KEY.items():
        if f".{part}." in name:
            keys = config.num_key_value_heads or config.num_attention_heads
            return config.num_attention_heads if which == "q" else keys
    return 0


def _sources(model: ModelFiles) -> Iterator[_Source]:
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, model.config.num_hidden_layers)
    for file in model.weights:
        tensors = read_header(file)
        start = file.stat().st_size - max(one.data_offsets[1] for one in tensors.values())
        for name, tensor in tensors.items():
            if name.endswith("rotary_emb.inv_freq"):
                continue
            known = names.get_name(name, try_suffixes=(".weight", ".bias"))
            if known is None or tensor.dtype not in _STORED:
                raise EngineUnavailable(
                    tr("llama.cpp cannot take the model in {folder}: {name} ({dtype}).").format(
                        folder=model.folder, name=name, dtype=tensor.dtype
                    ),
                    tr("Set `runtime` to transformers for this engine."),
                )
            yield _Source(file, start, tensor, known, heads_of(name, model))


def _describe(writer: Any, model: ModelFiles) -> None:  # noqa: ANN401 - untyped library
    config = model.config
    head = config.head_dim or config.hidden_size // config.num_attention_heads
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads or config.num_attention_heads)
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_rope_dimension_count(head)
    writer.add_rope_freq_base(config.rope.rope_theta)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("none")


def _rope_factors(writer: Any, model: ModelFiles) -> Array | None:  # noqa: ANN401 - as above
    """What each frequency is divided by, where the model stretches its context as Llama 3 does."""
    rope = model.config.rope
    match rope.rope_type:
        case "default":
            return None
        case "linear":
            writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
            writer.add_rope_scaling_factor(rope.factor)
            return None
        case "llama3":
            config = model.config
            head = config.head_dim or config.hidden_size // config.num_attention_heads
            return llama3_factors(rope, head)
        case other:
            raise EngineUnavailable(
                tr(
                    "The model in {folder} stretches its context by “{other}”, which is not "
                    "translated for llama.cpp."
                ).format(folder=model.folder, other=other),
                tr("Set `runtime` to transformers for this engine."),
            )


def llama3_factors(rope: RopeConfig, head: int) -> Array:
    """Llama 3's divisors of the frequencies, (head size / 2,), by its own published formula."""
    waves = 2 * pi * rope.rope_theta ** (np.arange(0, head, 2, dtype=np.float64) / head)
    longest = rope.original_max_position_embeddings / rope.low_freq_factor
    shortest = rope.original_max_position_embeddings / rope.high_freq_factor
    smooth = (rope.original_max_position_embeddings / waves - rope.low_freq_factor) / (
        rope.high_freq_factor - rope.low_freq_factor
    )
    between = 1 / ((1 - smooth) / rope.factor + smooth)
    factors = np.where(waves > longest, rope.factor, np.where(waves < shortest, 1.0, between))
    return factors.astype(np.float32)


def _kind(tensor: Tensor, *, full: bool) -> gguf.GGMLQuantizationType:
    # Vectors (norms) are fp32 by llama.cpp's own rule.
    if full or len(tensor.shape) == 1 or tensor.dtype == "F32":
        return _FP32
    return gguf.GGMLQuantizationType[tensor.dtype]


def _values(source: _Source, *, full: bool) -> Array:
    tensor = source.tensor
    values: Array = np.memmap(
        source.file,
        dtype=_STORED[tensor.dtype],
        mode="r",
        offset=source.start + tensor.data_offsets[0],
        shape=tensor.shape,
    )
    if _kind(tensor, full=full) is _FP32:
        values = as_float32(values, tensor.dtype)
    return reordered(values, source.heads) if source.heads else values


def as_float32(values: Array, dtype: str) -> Array:
    """Values of a safetensors type as fp32; bf16 is fp32's upper half."""
    if dtype == "BF16":
        return (values.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return values.astype(np.float32)


def read_tensor(file: Path, tensor: Tensor, start: int) -> Array:
    """One tensor of a safetensors file as fp32; `start` is where the file's values begin."""
    stored: Array = np.memmap(
        file,
        dtype=_STORED[tensor.dtype],
        mode="r",
        offset=start + tensor.data_offsets[0],
        shape=tensor.shape,
    )
    return as_float32(stored, tensor.dtype)
