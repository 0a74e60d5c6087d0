"""Writes a Llama's safetensors as a GGUF file, for llama.cpp. Imported late: numpy and gguf.

Weights go from disk to disk as their bytes, a tensor at a time, so memory does not hold the model.
The file has no vocabulary: tokens are made in prompt_tokens_runtime, for this runtime as for all.
Names and metadata are those of llama.cpp's own converter.
"""

from __future__ import annotations

import ctypes
import hashlib
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from math import pi, sqrt
from pathlib import Path
from typing import Any

import gguf
import llama_cpp
import msgspec
import numpy as np

from engine.backends.llama.messages import Quantization
from engine.backends.llama.runtimes import resolve_quantization
from engine.backends.llama.weights import ModelFiles, RopeConfig, Tensor, read_header, read_json
from engine.config import paths
from engine.core.errors import EngineFailed, EngineUnavailable
from engine.core.files import Manifest, atomic_folder, write_manifest
from engine.core.i18n import tr
from engine.core.types import Progress
from engine.prompts import PROMPT_VERSION

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
                    tr(
                        "llama.cpp cannot take the model in {folder}: {name} ({dtype}).",
                        folder=model.folder,
                        name=name,
                        dtype=tensor.dtype,
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
                    "translated for llama.cpp.",
                    folder=model.folder,
                    other=other,
                ),
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


_CONFIG = "adapter_config.json"
_WEIGHTS = "adapter_model.safetensors"
_LORA = re.compile(r"(?:base_model\.model\.)?(model\.layers\.\d+\.[\w.]+)\.lora_([AB])\.weight")


class _Config(msgspec.Struct, frozen=True):
    r: int
    lora_alpha: float
    use_rslora: bool = False
    use_dora: bool = False
    rank_pattern: dict[str, int] = {}
    alpha_pattern: dict[str, float] = {}
    bias: str = "none"
    modules_to_save: list[str] | None = None


def write_adapter(adapter: Path, model: ModelFiles, file: Path) -> None:
    """Write the adapter in the folder `adapter`, made for `model`, to `file`.

    Raises EngineUnavailable for an adapter that llama.cpp does not take, OSError when the disk is
    full.
    """
    config = read_json(adapter / _CONFIG, _Config)
    _check(config, adapter)
    weights = adapter / _WEIGHTS
    tensors = read_header(weights)
    start = weights.stat().st_size - max(one.data_offsets[1] for one in tensors.values())
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, model.config.num_hidden_layers)
    writer = gguf.GGUFWriter(file, gguf.MODEL_ARCH_NAMES[gguf.MODEL_ARCH.LLAMA])
    try:
        writer.add_type(gguf.GGUFType.ADAPTER)
        writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
        # llama.cpp weighs an adapter by alpha / rank; rsLoRA by alpha / sqrt(rank).
        alpha = config.lora_alpha * (sqrt(config.r) if config.use_rslora else 1)
        writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, alpha)
        for name, tensor in tensors.items():
            match = _LORA.fullmatch(name)
            known = names.get_name(f"{match[1]}.weight", (".weight",)) if match else None
            if match is None or known is None:
                raise _refused(adapter, tr("it has {name}", name=name))
            values = read_tensor(weights, tensor, start)
            heads = heads_of(name, model)
            if match[2] == "B" and heads:
                values = reordered(values, heads)
            if tensor.dtype != "F32":
                values = values.astype(np.float16)
            writer.add_tensor(f"{known}.lora_{match[2].lower()}", values)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()


def _check(config: _Config, adapter: Path) -> None:
    if config.use_dora:
        raise _refused(adapter, tr("it is a DoRA"))
    if config.rank_pattern or config.alpha_pattern:
        raise _refused(adapter, tr("its layers differ in rank or alpha"))
    if config.bias != "none" or config.modules_to_save:
        raise _refused(adapter, tr("it changes more than linear layers"))


def _refused(adapter: Path, why: str) -> EngineUnavailable:
    return EngineUnavailable(
        tr("llama.cpp cannot take the adapter in {adapter}: {why}.", adapter=adapter, why=why),
        tr("Set `runtime` to transformers for this engine."),
    )


Show = Callable[[Progress], None]

_VERSION = 1
_MODEL, _ADAPTER = "model.gguf", "adapter.gguf"
_MODEL_KIND, _ADAPTER_KIND = "llama.cpp model", "llama.cpp adapter"
_FTYPES = {
    "nf4": llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_K_M,
    "int8": llama_cpp.LLAMA_FTYPE_MOSTLY_Q8_0,
}
_SHARE = {"nf4": 0.32, "int8": 0.54}
"""Of 16-bit weights: 4.85 and 8.5 bits a weight."""

_WRITING_SHARE = 0.3
"""Of the time that a quantized model takes; the rest is quantizing."""

_LINE = re.compile(rb"^\[ *(\d+)/ *(\d+)\]")
"""What llama.cpp prints for each tensor that it quantizes."""

_LONGEST_NAME = 40

# Held here, since llama.cpp keeps only its address.
_SILENT = llama_cpp.llama_log_callback(lambda _level, _text, _data: None)


def model_file(model: ModelFiles, quantization: Quantization, show: Show) -> Path:
    """The GGUF file of `model`, made if it is not there: minutes for a large one.

    4 bits are Q4_K_M and 8 are Q8_0; `auto` is 4 bits for all but small models, which are held in
    fp32. Raises EngineError.
    """
    automatic = quantization == "auto"
    quantization = resolve_quantization(quantization, model.weight_bytes)
    full = automatic and quantization == "none"
    chosen = "fp32" if full else quantization
    out = _folder(model.name, _MODEL_KIND, chosen, model.weights)
    if not (out / _MODEL).exists():
        _check_disk(out, int(model.weight_bytes * (1 + _SHARE.get(quantization, 1.0))))
        with atomic_folder(out, _MODEL_KIND) as draft:
            _make_model(model, draft, quantization, show, full=full)
            made_from = {"model": model.name, "precision": chosen}
            write_manifest(
                draft,
                Manifest(
                    kind=_MODEL_KIND,
                    version=_VERSION,
                    settings=made_from,
                    prompt_version=PROMPT_VERSION,
                ),
            )
    return out / _MODEL


def adapter_file(adapter: Path, model: ModelFiles) -> Path:
    """The GGUF file of the adapter in a folder, made if it is not there: a second or so.

    Raises EngineError.
    """
    files = [adapter / name for name in ("adapter_config.json", "adapter_model.safetensors")]
    out = _folder(adapter.name, _ADAPTER_KIND, model.name, files)
    if not (out / _ADAPTER).exists():
        _check_disk(out, 2 * files[1].stat().st_size)
        with atomic_folder(out, _ADAPTER_KIND) as draft:
            write_adapter(adapter, model, draft / _ADAPTER)
            made_from = {"adapter": str(adapter), "model": model.name}
            write_manifest(
                draft,
                Manifest(
                    kind=_ADAPTER_KIND,
                    version=_VERSION,
                    settings=made_from,
                    prompt_version=PROMPT_VERSION,
                ),
            )
    return out / _ADAPTER


def _make_model(
    model: ModelFiles, draft: Path, quantization: Quantization, show: Show, *, full: bool
) -> None:
    label = tr("converting for llama.cpp, once")
    wanted = _FTYPES.get(quantization)
    if wanted is None:
        write_model(
            model, draft / _MODEL, full=full, show=lambda share: show(Progress(label, share))
        )
        return
    whole = draft / "whole.gguf"
    write_model(
        model,
        whole,
        full=False,
        show=lambda share: show(Progress(label, share * _WRITING_SHARE)),
    )
    rest = 1 - _WRITING_SHARE
    _quantize(
        whole,
        draft / _MODEL,
        wanted,
        lambda share: show(Progress(label, _WRITING_SHARE + share * rest)),
    )
    whole.unlink()


def _quantize(source: Path, target: Path, kind: int, show: Callable[[float], None]) -> None:
    said: list[bytes] = []

    def hear(_level: int, text: bytes, _data: ctypes.c_void_p) -> None:
        said[:] = [*said[-3:], text.strip()]
        match = _LINE.match(text)
        if match:
            show(int(match[1]) / int(match[2]))

    heard = llama_cpp.llama_log_callback(hear)
    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype = kind
    llama_cpp.llama_log_set(heard, ctypes.c_void_p(0))
    try:
        failed = llama_cpp.llama_model_quantize(
            str(source).encode(), str(target).encode(), ctypes.byref(parameters)
        )
    finally:
        be_silent()
    if failed:
        words = b" ".join(said).decode("utf-8", "replace")[-200:]
        raise EngineFailed(
            tr("The model could not be made smaller for llama.cpp: {words}.", words=words),
            tr("Make room on the disk, or set `quantization` to none for this engine."),
        )


def be_silent() -> None:
    """Keep llama.cpp's own words to itself: much on stderr, and nothing that a person needs."""
    llama_cpp.llama_log_set(_SILENT, ctypes.c_void_p(0))


def _folder(name: str, *made_from: str | Iterable[Path]) -> Path:
    digest = hashlib.sha256(str(_VERSION).encode())
    for part in made_from:
        if isinstance(part, str):
            digest.update(f"{part}\0".encode())
            continue
        for file in part:
            about = file.resolve().stat()
            digest.update(f"{file.resolve()}\0{about.st_size}\0{about.st_mtime_ns}\0".encode())
    short = re.sub(r"[^\w.-]+", "-", name.rstrip("/").rpartition("/")[2])[:_LONGEST_NAME]
    return paths.cache_dir() / "llama.cpp" / f"{short}-{digest.hexdigest()[:16]}"


def _check_disk(out: Path, needed: int) -> None:
    folder = next(one for one in out.parents if one.exists())
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise EngineUnavailable(
            tr(
                "Converting for llama.cpp needs {needed:.1f} GB of disk under {folder}, and "
                "{free:.1f} GB are free.",
                needed=needed / 1e9,
                folder=folder,
                free=free / 1e9,
            ),
            tr("Make room, or set `runtime` to transformers for this engine."),
        )
