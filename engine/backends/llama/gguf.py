"""Convert a Llama and its adapters to GGUF files for llama.cpp.

Weights are copied a tensor at a time, so the model is never in memory as a whole. Names and
metadata are those of llama.cpp's own converter. tokens.py makes the tokens of every prompt, so the
vocabulary only serves to write answers. Heavy: imports numpy and gguf.
"""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from math import pi, sqrt
from pathlib import Path
from typing import Any

import gguf
import msgspec
import numpy as np

from engine.backends.llama import weights
from engine.backends.llama.adapters import ADAPTER_CONFIG, ADAPTER_WEIGHTS, unusable_adapter
from engine.backends.llama.tokens import ModelTokenizer, read_tokenizer, read_vocabulary
from engine.backends.llama.unpack import Array, Show, heads_of, reorder
from engine.config import paths
from engine.core.errors import EngineUnavailable
from engine.core.i18n import tr
from engine.core.types import Message, Progress, Role

_STORED = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16}
"""numpy's types for those of safetensors; bf16, which it lacks, is read as integers."""

_ARCHITECTURE = gguf.MODEL_ARCH_NAMES[gguf.MODEL_ARCH.LLAMA]
_FP32 = gguf.GGMLQuantizationType.F32
_LORA = re.compile(r"(?:base_model\.model\.)?(model\.layers\.\d+\.[\w.]+)\.lora_([AB])\.weight")

_Type = gguf.GGMLQuantizationType
_AnyType = Any
"""A `_Type`: the library is untyped."""


@dataclass(frozen=True, slots=True)
class _Source:
    """A tensor on disk and its name in the GGUF file."""

    file: Path
    start: int
    """Where the values of all tensors begin in the file."""
    tensor: weights.Tensor
    name: str
    heads: int
    """Heads whose rows need llama.cpp's order; 0 for any other tensor."""


def write_model(
    model: weights.ModelFiles, file: Path, precision: str, show: Show, title: str = ""
) -> None:
    """Write `model` to `file` in `precision`: a quantization or "fp32".

    With a title, the file is for other programs too, which write the prompt by its chat template.
    """
    layers = model.config.num_hidden_layers
    sources = [(one, _kind(one, precision, layers)) for one in _sources(model)]
    with closing(gguf.GGUFWriter(file, _ARCHITECTURE)) as writer:
        _add_metadata(writer, model)
        if title:
            _add_chat(writer, read_tokenizer(model.folder), title)
        for name, value in read_vocabulary(model.folder, model.config.vocab_size).items():
            getattr(writer, f"add_{name}")(value)
        factors = _add_rope_scaling(writer, model)
        for source, kind in sources:
            shape, size = source.tensor.shape, _stored_bytes(source.tensor.shape, kind)
            writer.add_tensor_info(source.name, shape, np.dtype(np.uint16), size, raw_dtype=kind)
        if factors is not None:
            writer.add_tensor_info(
                "rope_freqs.weight", factors.shape, factors.dtype, factors.nbytes
            )
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for number, (source, kind) in enumerate(sources, 1):
            writer.write_tensor_data(_values(source, kind))
            show(Progress(tr("converting for llama.cpp, once"), number / len(sources)))
        if factors is not None:
            writer.write_tensor_data(factors)


def _sources(model: weights.ModelFiles) -> Iterator[_Source]:
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, model.config.num_hidden_layers)
    for file in model.weights:
        tensors = weights.read_header(file)
        start = _values_start(file, tensors)
        for name, tensor in tensors.items():
            if name.endswith("rotary_emb.inv_freq"):
                continue
            known = names.get_name(name, try_suffixes=(".weight", ".bias"))
            if known is None or tensor.dtype not in _STORED:
                what = {"name": name, "dtype": tensor.dtype}
                reason = tr("llama.cpp does not support its tensor {name} ({dtype})", **what)
                raise weights.unusable_model(model.folder, reason, _use_transformers())
            yield _Source(file, start, tensor, known, heads_of(name, model.config))


def _add_metadata(writer: Any, model: weights.ModelFiles) -> None:  # noqa: ANN401 - untyped library
    config = model.config
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.key_value_heads)
    writer.add_key_length(config.head_size)
    writer.add_value_length(config.head_size)
    writer.add_rope_dimension_count(config.head_size)
    writer.add_rope_freq_base(config.rope.rope_theta)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)


def _add_chat(writer: Any, tokenizer: ModelTokenizer, title: str) -> None:  # noqa: ANN401 - as above
    writer.add_name(title)
    writer.add_chat_template(tokenizer.template)
    asked = tokenizer.encode_chat([Message(Role.USER, title)], ask=True)
    writer.add_add_bos_token(asked[0] == tokenizer.token_id("bos_token"))
    # Whether a space goes before a text after BOS, as llama.cpp by itself would do for some.
    tokens = tokenizer.encode(f"{tokenizer.named.get('bos_token', '')}a")
    spaced = any("▁" in (tokenizer.backend.id_to_token(token) or "") for token in tokens)
    writer.add_add_space_prefix(spaced)


def _add_rope_scaling(writer: Any, model: weights.ModelFiles) -> Array | None:  # noqa: ANN401 - untyped library
    """Add how the model extends its context; return Llama 3's divisors of the frequencies."""
    rope = model.config.rope
    match rope.rope_type or rope.type:
        case "default":
            return None
        case "linear":
            writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
            writer.add_rope_scaling_factor(rope.factor)
            return None
        case "llama3":
            return _llama3_factors(rope, model.config.head_size)
        case other:
            reason = tr("its position scaling “{method}” cannot be converted", method=other)
            raise weights.unusable_model(model.folder, reason, _use_transformers())


def _llama3_factors(rope: weights.RopeConfig, head_size: int) -> Array:
    """Return (head size / 2,) divisors, by the formula that Llama 3 published."""
    waves = 2 * pi * rope.rope_theta ** (np.arange(0, head_size, 2, dtype=np.float64) / head_size)
    longest = rope.original_max_position_embeddings / rope.low_freq_factor
    shortest = rope.original_max_position_embeddings / rope.high_freq_factor
    smooth = (rope.original_max_position_embeddings / waves - rope.low_freq_factor) / (
        rope.high_freq_factor - rope.low_freq_factor
    )
    between = 1 / ((1 - smooth) / rope.factor + smooth)
    factors = np.where(waves > longest, rope.factor, np.where(waves < shortest, 1.0, between))
    return factors.astype(np.float32)


def _kind(source: _Source, precision: str, layers: int) -> _AnyType:
    """Return how a tensor is stored; 4 bits as llama.cpp's Q4_K_M mixes them."""
    shape, stored = source.tensor.shape, _Type[source.tensor.dtype]
    # llama.cpp wants vectors (norms) in fp32.
    if precision == "fp32" or len(shape) == 1:
        return _FP32
    if precision == "none":
        return stored
    if precision == "int8":
        kind = _Type.Q8_0
    else:
        kind = _Type.Q6_K if _needs_more_bits(source.name, layers) else _Type.Q4_K
    block, _ = gguf.GGML_QUANT_SIZES[kind]
    if shape[-1] % block:
        kind = _Type.Q8_0
    return stored if shape[-1] % gguf.GGML_QUANT_SIZES[kind][0] else kind


def _needs_more_bits(name: str, layers: int) -> bool:
    """Check for the tensors that Q4_K_M keeps in 6 bits: the output's, and some of two kinds."""
    if name in ("output.weight", "token_embd.weight"):
        return True
    part = re.fullmatch(r"blk\.(\d+)\.(?:attn_v|ffn_down)\.weight", name)
    if part is None:
        return False
    layer, eighth = int(part[1]), layers // 8
    return layer < eighth or layer >= layers - eighth or (layer - eighth) % 3 == 2  # noqa: PLR2004


def _stored_bytes(shape: tuple[int, ...], kind: _AnyType) -> int:
    block, size = gguf.GGML_QUANT_SIZES[kind]
    stored: int = int(np.prod(shape, dtype=np.int64)) // block * size
    return stored


def _values(source: _Source, kind: _AnyType) -> Array:
    """Return a tensor as it is stored, as (rows, columns) or, quantized, as (rows, bytes)."""
    values = _map_values(source.file, source.start, source.tensor)
    if kind.name != source.tensor.dtype:
        values = _as_float32(values, source.tensor.dtype)
    values = reorder(values, source.heads, 2) if source.heads else values
    if kind is _Type.Q8_0:
        values = gguf.quants.quantize(values, kind)
    return _quantize(values, kind) if kind in (_Type.Q4_K, _Type.Q6_K) else values


def _quantize(values: Array, kind: _AnyType) -> Array:
    """Quantize (rows, columns) fp32 values on all cores, by llama.cpp's own function."""
    quantize, values = _ggml_quantizer(), np.ascontiguousarray(values)
    rows, columns = values.shape
    out = np.empty((rows, _stored_bytes((columns,), kind)), np.uint8)

    def part(start: int) -> None:
        count = min(step, rows - start)
        source, target = values[start:].ctypes.data, out[start:].ctypes.data
        quantize(kind.value, source, target, 0, count, columns, None)

    step = max(1, rows // (4 * (os.cpu_count() or 1)))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(part, range(0, rows, step)))
    return out


@cache
def _ggml_quantizer() -> Callable[..., int]:
    # xllamacpp has no quantizer of its own, but its library exports the function.
    spec = find_spec("xllamacpp")
    folder = Path(spec.origin).parent if spec and spec.origin else Path()
    try:
        library = ctypes.CDLL(str(next(folder.glob("xllamacpp*.*"))))
        quantize: Callable[..., int] = library.ggml_quantize_chunk
    except (OSError, AttributeError, StopIteration) as error:
        raise EngineUnavailable(
            tr("llama.cpp cannot quantize to 4 bits on this machine."),
            tr(
                "Set `quantization` to int8 or none for this engine, in {file}.",
                file=paths.settings_name(),
            ),
        ) from error
    sizes, pointer = [ctypes.c_int64] * 3, ctypes.c_void_p
    quantize.argtypes = [ctypes.c_int, pointer, pointer, *sizes, pointer]  # type: ignore[attr-defined]
    quantize.restype = ctypes.c_size_t  # type: ignore[attr-defined]
    return quantize


def _values_start(file: Path, tensors: Mapping[str, weights.Tensor]) -> int:
    return file.stat().st_size - max(tensor.data_offsets[1] for tensor in tensors.values())


def _map_values(file: Path, start: int, tensor: weights.Tensor) -> Array:
    return np.memmap(
        file,
        dtype=_STORED[tensor.dtype],
        mode="r",
        offset=start + tensor.data_offsets[0],
        shape=tensor.shape,
    )


def _as_float32(values: Array, dtype: str) -> Array:
    if dtype == "BF16":  # the upper half of an fp32
        return (values.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return values.astype(np.float32)


class _LoraConfig(msgspec.Struct, frozen=True):
    r: int
    lora_alpha: float
    use_rslora: bool = False
    use_dora: bool = False
    rank_pattern: dict[str, int] = {}
    alpha_pattern: dict[str, float] = {}
    bias: str = "none"
    modules_to_save: list[str] | None = None


def write_adapter(adapter: Path, model: weights.ModelFiles, file: Path) -> None:
    """Write the adapter in a folder to `file`. Raises EngineUnavailable."""
    config = weights.read_json(adapter / ADAPTER_CONFIG, _LoraConfig)
    _check_adapter(config, adapter)
    trained = adapter / ADAPTER_WEIGHTS
    tensors = weights.read_header(trained)
    start = _values_start(trained, tensors)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, model.config.num_hidden_layers)
    with closing(gguf.GGUFWriter(file, _ARCHITECTURE)) as writer:
        writer.add_type(gguf.GGUFType.ADAPTER)
        writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
        # llama.cpp scales an adapter by alpha / rank; rsLoRA by alpha / sqrt(rank).
        alpha = config.lora_alpha * (sqrt(config.r) if config.use_rslora else 1)
        writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, alpha)
        for name, tensor in tensors.items():
            match = _LORA.fullmatch(name)
            known = names.get_name(f"{match[1]}.weight", (".weight",)) if match else None
            if match is None or known is None:
                raise _unsupported(adapter, tr("it has a tensor {name}", name=name))
            values = _as_float32(_map_values(trained, start, tensor), tensor.dtype)
            heads = heads_of(name, model.config)
            if match[2] == "B" and heads:
                values = reorder(values, heads, 2)
            if tensor.dtype != "F32":
                values = values.astype(np.float16)
            writer.add_tensor(f"{known}.lora_{match[2].lower()}", values)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()


def _check_adapter(config: _LoraConfig, adapter: Path) -> None:
    if config.use_dora:
        raise _unsupported(adapter, tr("it is a DoRA"))
    if config.rank_pattern or config.alpha_pattern:
        raise _unsupported(adapter, tr("its layers differ in rank or alpha"))
    if config.bias != "none" or config.modules_to_save:
        raise _unsupported(adapter, tr("it changes more than linear layers"))


def _unsupported(adapter: Path, reason: str) -> EngineUnavailable:
    reason = tr("llama.cpp does not support it, because {reason}", reason=reason)
    return unusable_adapter(adapter, reason, _use_transformers())


def _use_transformers() -> str:
    file = paths.settings_name()
    return tr("Set `runtime` to transformers for this engine, in {file}.", file=file)
