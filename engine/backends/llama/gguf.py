"""Convert a Llama and its adapters to GGUF files for llama.cpp, and cache them.

Weights are copied a tensor at a time, so the model is never in memory as a whole. The files have no
vocabulary, because tokens.py makes the tokens for every runtime; names and metadata are those of
llama.cpp's own converter. Heavy: imports numpy, gguf and llama.cpp.
"""

from __future__ import annotations

import ctypes
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from math import pi, sqrt
from pathlib import Path
from typing import Any

import gguf
import llama_cpp
import msgspec
import numpy as np

from engine.backends.llama import weights
from engine.backends.llama.adapters import ADAPTER_CONFIG, ADAPTER_WEIGHTS, unusable_adapter
from engine.backends.llama.messages import Quantization
from engine.config import paths
from engine.core.errors import EngineFailed, EngineUnavailable
from engine.core.files import Manifest, atomic_folder, check_space, write_manifest
from engine.core.i18n import tr
from engine.core.text import last_part
from engine.core.types import Progress
from engine.prompts import PROMPT_VERSION

Array = np.ndarray[Any, Any]
Show = Callable[[Progress], None]

_STORED = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16}
"""numpy's types for those of safetensors; bf16, which it lacks, is read as integers."""

_ARCHITECTURE = gguf.MODEL_ARCH_NAMES[gguf.MODEL_ARCH.LLAMA]
_FP32 = gguf.GGMLQuantizationType.F32
_LORA = re.compile(r"(?:base_model\.model\.)?(model\.layers\.\d+\.[\w.]+)\.lora_([AB])\.weight")

_VERSION = 1
_MODEL, _ADAPTER = "model.gguf", "adapter.gguf"
_MODEL_KIND, _ADAPTER_KIND = "llama.cpp model", "llama.cpp adapter"
_FTYPES = {"nf4": llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_K_M, "int8": llama_cpp.LLAMA_FTYPE_MOSTLY_Q8_0}
_SIZE = {"nf4": 0.32, "int8": 0.54}
"""Share of 16-bit weights: 4.85 and 8.5 bits a weight."""

_COPY_TIME = 0.3
"""Share of the time that a quantized model takes; the rest is quantizing."""

_QUANTIZED_TENSOR = re.compile(rb"^\[ *(\d+)/ *(\d+)\]")
"""llama.cpp's log line for each tensor that it quantizes."""

_MAX_NAME = 40

# A module variable keeps the callback alive: llama.cpp stores only its address.
_NO_LOG = llama_cpp.llama_log_callback(lambda _level, _text, _data: None)


def model_file(model: weights.ModelFiles, quantization: Quantization, show: Show) -> Path:
    """Return the GGUF file of `model`; convert it first if needed, which can take minutes.

    4 bits are Q4_K_M and 8 are Q8_0; "auto" is 4 bits for a large model and fp32 for a small one.
    Raises EngineError.
    """
    automatic = quantization == "auto"
    quantization = weights.resolve_quantization(quantization, model.weight_bytes)
    full = automatic and quantization == "none"
    precision = "fp32" if full else quantization
    out = _cache_folder(model.name, (_MODEL_KIND, precision), model.weights)
    if not (out / _MODEL).exists():
        needed = int(model.weight_bytes * (1 + _SIZE.get(quantization, 1.0)))
        settings = {"model": model.name, "precision": precision}
        with _converting(out, _MODEL_KIND, needed, settings) as draft:
            _convert_model(model, draft, quantization, show, full=full)
    return out / _MODEL


def adapter_file(adapter: Path, model: weights.ModelFiles) -> Path:
    """Return an adapter's GGUF file; convert it first if needed. Raises EngineError."""
    files = [adapter / name for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS)]
    out = _cache_folder(adapter.name, (_ADAPTER_KIND, model.name), files)
    if not (out / _ADAPTER).exists():
        settings = {"adapter": str(adapter), "model": model.name}
        with _converting(out, _ADAPTER_KIND, 2 * files[1].stat().st_size, settings) as draft:
            _write_adapter(adapter, model, draft / _ADAPTER)
    return out / _ADAPTER


def silence() -> None:
    """Turn off llama.cpp's log, which fills stderr with details."""
    llama_cpp.llama_log_set(_NO_LOG, ctypes.c_void_p(0))


def _cache_folder(name: str, labels: Iterable[str], files: Iterable[Path]) -> Path:
    digest = hashlib.sha256(str(_VERSION).encode())
    for label in labels:
        digest.update(f"{label}\0".encode())
    for file in files:
        path, state = file.resolve(), file.stat()
        digest.update(f"{path}\0{state.st_size}\0{state.st_mtime_ns}\0".encode())
    short = re.sub(r"[^\w.-]+", "-", last_part(name))[:_MAX_NAME]
    return paths.cache_dir() / "llama.cpp" / f"{short}-{digest.hexdigest()[:16]}"


@contextmanager
def _converting(out: Path, kind: str, needed: int, settings: Mapping[str, str]) -> Iterator[Path]:
    """Yield a draft of the cache folder `out`, which appears with its manifest at the end."""
    check_space(
        out,
        needed,
        tr("the conversion for llama.cpp"),
        EngineUnavailable,
        tr("Free some space, or set `runtime` to transformers for this engine."),
    )
    with atomic_folder(out, kind) as draft:
        yield draft
        manifest = Manifest(
            kind=kind, version=_VERSION, settings=dict(settings), prompt_version=PROMPT_VERSION
        )
        write_manifest(draft, manifest)


def _convert_model(
    model: weights.ModelFiles, draft: Path, quantization: Quantization, show: Show, *, full: bool
) -> None:
    def show_part(start: float, size: float) -> Callable[[float], None]:
        label = tr("converting for llama.cpp, once")
        return lambda share: show(Progress(label, start + share * size))

    ftype = _FTYPES.get(quantization)
    if ftype is None:
        _write_model(model, draft / _MODEL, full=full, show=show_part(0.0, 1.0))
        return
    whole = draft / "whole.gguf"
    _write_model(model, whole, full=False, show=show_part(0.0, _COPY_TIME))
    _quantize(whole, draft / _MODEL, ftype, show_part(_COPY_TIME, 1 - _COPY_TIME))
    whole.unlink()


def _quantize(source: Path, target: Path, ftype: int, show: Callable[[float], None]) -> None:
    last_lines: list[bytes] = []

    def log(_level: int, text: bytes, _data: ctypes.c_void_p) -> None:
        last_lines[:] = [*last_lines[-3:], text.strip()]
        if match := _QUANTIZED_TENSOR.match(text):
            show(int(match[1]) / int(match[2]))

    callback = llama_cpp.llama_log_callback(log)
    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype = ftype
    llama_cpp.llama_log_set(callback, ctypes.c_void_p(0))
    try:
        failed = llama_cpp.llama_model_quantize(
            str(source).encode(), str(target).encode(), ctypes.byref(parameters)
        )
    finally:
        silence()
    if failed:
        words = b" ".join(last_lines).decode("utf-8", "replace")[-200:]
        raise EngineFailed(
            tr("Cannot quantize the model for llama.cpp: {words}.", words=words),
            tr("Free some disk space, or set `quantization` to none for this engine."),
        )


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


def _write_model(
    model: weights.ModelFiles, file: Path, *, full: bool, show: Callable[[float], None]
) -> None:
    """Write `model` to `file`: matrices in their own precision or, if `full`, in fp32."""
    sources = list(_sources(model))
    with closing(gguf.GGUFWriter(file, _ARCHITECTURE)) as writer:
        _add_metadata(writer, model)
        factors = _add_rope_scaling(writer, model)
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
            yield _Source(file, start, tensor, known, _heads(name, model))


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
    writer.add_tokenizer_model("none")


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


def _kind(tensor: weights.Tensor, *, full: bool) -> gguf.GGMLQuantizationType:
    # llama.cpp wants vectors (norms) in fp32.
    if full or len(tensor.shape) == 1 or tensor.dtype == "F32":
        return _FP32
    return gguf.GGMLQuantizationType[tensor.dtype]


def _values(source: _Source, *, full: bool) -> Array:
    values = _map_values(source.file, source.start, source.tensor)
    if _kind(source.tensor, full=full) is _FP32:
        values = _as_float32(values, source.tensor.dtype)
    return _reorder(values, source.heads) if source.heads else values


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


def _heads(name: str, model: weights.ModelFiles) -> int:
    if ".self_attn.q_proj." in name:
        return model.config.num_attention_heads
    return model.config.key_value_heads if ".self_attn.k_proj." in name else 0


def _reorder(rows: Array, heads: int) -> Array:
    """Reorder a query's or key's rows from transformers' halves to llama.cpp's pairs.

    `rows` is (heads x head size, …). The method is `permute` of llama.cpp's converter.
    """
    half = rows.shape[0] // heads // 2
    split = rows.reshape(heads, 2, half, *rows.shape[1:])
    return np.ascontiguousarray(split.swapaxes(1, 2).reshape(rows.shape))


class _LoraConfig(msgspec.Struct, frozen=True):
    r: int
    lora_alpha: float
    use_rslora: bool = False
    use_dora: bool = False
    rank_pattern: dict[str, int] = {}
    alpha_pattern: dict[str, float] = {}
    bias: str = "none"
    modules_to_save: list[str] | None = None


def _write_adapter(adapter: Path, model: weights.ModelFiles, file: Path) -> None:
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
            heads = _heads(name, model)
            if match[2] == "B" and heads:
                values = _reorder(values, heads)
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
    return tr("Set `runtime` to transformers for this engine.")
