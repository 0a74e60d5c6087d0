"""Find a model's files and check that they are complete, in milliseconds.

Light and offline: a hub id is looked up in the local hub cache, and only the headers of the weights
are read.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
from msgspec.structs import replace

from engine.backends.llama.messages import Quantization
from engine.config import paths
from engine.config.paths import MAIN, find_snapshot, split_id
from engine.core.errors import EngineUnavailable, why
from engine.core.files import UNDECODABLE, read_file, reading
from engine.core.i18n import tr

T = TypeVar("T")

FP32_UP_TO = 50_000_000
"""Compute in 32 bits up to this many bytes of weights (docs/measurements/training.md)."""

_QUANTIZED_ABOVE = 600_000_000
"""Bytes of weights; in 4 bits a smaller model answers nothing right."""

_ONE_THREAD_BELOW = 64_000_000
"""Bytes of weights."""

CONFIG = "config.json"
GGUF = "model.gguf"
_ONE_FILE = "model.safetensors"
_INDEX = "model.safetensors.index.json"
_TOKENIZER = "tokenizer.json"
_SENTENCEPIECE = "tokenizer.model"
_LISTED = 3
_LENGTH_BYTES = 8
_MAX_HEADER = 16_000_000
"""Bytes. The format allows 100 MB, which take seconds to read; Llama 3.1 405B has 0.2 MB."""

_ITEM_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I8": 1, "U8": 1}
_PACKED = 8
"""The most parameters that one number of quantized weights holds."""

_MORE = 2
"""How many times the parameters that it has a model may claim; loading then names what lacks."""

Count = Annotated[int, msgspec.Meta(ge=1, le=2**24)]
_Layers = Annotated[int, msgspec.Meta(ge=1, le=4096)]
_Positions = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
_Positive = Annotated[float, msgspec.Meta(gt=0)]
_Size = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class RopeConfig(msgspec.Struct, frozen=True):
    """The rotary position embeddings, in the format's own names; old files say `type`."""

    rope_type: str = ""
    type: str = "default"
    rope_theta: _Positive = 10_000.0
    factor: _Positive = 1.0
    low_freq_factor: _Positive = 1.0
    high_freq_factor: _Positive = 4.0
    original_max_position_embeddings: _Positions = 8192


class QuantizationMethod(msgspec.Struct, frozen=True):
    """The `quantization_config` of weights that were quantized before they were saved."""

    quant_method: str = ""


class Hyperparameters(msgspec.Struct, frozen=True):
    """A Llama's `config.json`, in the format's own names."""

    model_type: str
    hidden_size: Count
    intermediate_size: Count
    num_attention_heads: Count
    num_hidden_layers: _Layers
    vocab_size: Count
    num_key_value_heads: Count | None = None
    head_dim: Count | None = None
    max_position_embeddings: _Positions = 2048
    rms_norm_eps: _Positive = 1e-6
    rope_parameters: RopeConfig | None = None
    rope_theta: _Positive = 10_000.0
    rope_scaling: RopeConfig | None = None
    quantization_config: QuantizationMethod | None = None

    @property
    def rope(self) -> RopeConfig:
        """The position embeddings, also from a file older than transformers 5."""
        if self.rope_parameters:
            return self.rope_parameters
        return replace(self.rope_scaling or RopeConfig(), rope_theta=self.rope_theta)

    @property
    def head_size(self) -> int:
        """The size of an attention head."""
        return self.head_dim or self.hidden_size // self.num_attention_heads

    @property
    def key_value_heads(self) -> int:
        """The number of heads that keys and values have."""
        return self.num_key_value_heads or self.num_attention_heads

    @property
    def parameters(self) -> int:
        """The number of weights in all matrices; tied embeddings count once."""
        attention = 2 * self.head_size * (self.num_attention_heads + self.key_value_heads)
        layer = self.hidden_size * (attention + 3 * self.intermediate_size)
        return self.num_hidden_layers * layer + self.vocab_size * self.hidden_size


class Architecture(msgspec.Struct, frozen=True):
    """The part of `config.json` that every kind of model has, in the format's own names."""

    model_type: str = ""
    quantization_config: QuantizationMethod | None = None


class Tensor(msgspec.Struct, frozen=True):
    """A tensor in the header of a safetensors file."""

    dtype: str
    shape: Annotated[tuple[_Size, ...], msgspec.Meta(max_length=8)]
    data_offsets: tuple[_Size, _Size]

    @property
    def fits(self) -> bool:
        """Whether the offsets are as far apart as the shape needs."""
        start, end = self.data_offsets
        if item := _ITEM_BYTES.get(self.dtype):
            return end - start == prod(self.shape) * item
        return start <= end


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A model on disk. `name` is the settings' name for it."""

    name: str
    folder: Path
    config: Hyperparameters
    weights: tuple[Path, ...]
    """Safetensors; none where only a GGUF file is there."""
    gguf: Path | None = None
    """The weights for llama.cpp, of which `weights` are then an exact copy."""

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that tell this model from others."""
        return (self.gguf,) if self.gguf else self.weights

    @property
    def weight_bytes(self) -> int:
        """The size of the weights in 16 bits."""
        return 2 * self.config.parameters if self.gguf else _sizes(self.weights)


class _Index(msgspec.Struct, frozen=True):
    weight_map: dict[str, str]


def find_model(model: str, engine_id: str) -> ModelFiles:
    """Return the files of a folder or hub id. Raises EngineUnavailable, naming `engine_id`."""
    with explain_path(model, unusable_model):
        folder = _locate(model, engine_id)
        kind = read_json(folder / CONFIG, Architecture).model_type
        if kind != "llama":
            reason = tr("it is a “{kind}” model, not a Llama", kind=kind)
            raise unusable_model(folder, reason, _choose(engine_id))
        config = read_json(folder / CONFIG, Hyperparameters)
        gguf = folder / GGUF if (folder / GGUF).is_file() else None
        weights = _find_weights(folder, engine_id, optional=gguf is not None)
        if weights:
            _check_parameters(folder, config, weights)
        if not any((folder / name).is_file() for name in (_TOKENIZER, _SENTENCEPIECE)):
            raise _missing(folder, [_TOKENIZER])
        return ModelFiles(model, folder, config, weights, gguf)


def resolve_quantization(
    quantization: Quantization, weight_bytes: int, *, supported: bool = True
) -> Quantization:
    """Replace "auto": 4 bits for a large model if `supported`, else none."""
    if quantization != "auto":
        return quantization
    return "nf4" if supported and weight_bytes > _QUANTIZED_ABOVE else "none"


def threads(weight_bytes: int) -> int:
    """Return how many CPU threads compute a model of that size fastest.

    A small model's threads wait for one another longer than they compute, and on a busy machine a
    hundred times as long (benchmarks/llama.py).
    """
    if weight_bytes < _ONE_THREAD_BELOW:
        return 1
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def unusable_model(folder: Path, reason: str, remedy: str = "") -> EngineUnavailable:
    """Return the error for a model that is broken or of the wrong kind."""
    return EngineUnavailable(
        tr("Cannot use the model in {folder}: {reason}.", folder=folder, reason=reason),
        remedy or tr("Copy or download it again."),
    )


@contextmanager
def explain_path(folder: str, unusable: Callable[[Path, str], EngineUnavailable]) -> Iterator[None]:
    """Raise `unusable` for a name that is no path: too long, of an unknown user, with a NUL."""
    try:
        yield
    except (OSError, ValueError, RuntimeError) as error:
        raise unusable(Path(folder), why(error)) from error


def setting_hint(setting: str, value: str, engine_id: str) -> str:
    """Return a remedy that says where to set something."""
    values = {"setting": setting, "value": value, "engine_id": engine_id}
    file = paths.settings_name()
    return tr(
        "Set `{setting}` to {value}, under [engines.{engine_id}] in {file}.", file=file, **values
    )


def pull_command(model: str) -> str:
    """Return the command that downloads a hub id."""
    name, revision = split_id(model) or (model, MAIN)
    chosen = "" if revision == MAIN else f" --revision {revision}"
    return f"balcao models pull {name}{chosen}"


def read_header(file: Path) -> dict[str, Tensor]:
    """Return a safetensors file's tensors by name. Raises EngineUnavailable if it is broken."""
    with reading(file, EngineUnavailable, _copy_again()):
        size = file.stat().st_size
        length = int.from_bytes(read_file(file, _LENGTH_BYTES), "little")
        if length > min(_MAX_HEADER, size - _LENGTH_BYTES):
            raise _broken(file)
        header = read_file(file, _LENGTH_BYTES + length)[_LENGTH_BYTES:]
    try:
        entries = msgspec.json.decode(header, type=dict[str, msgspec.Raw])
        entries.pop("__metadata__", None)
        tensors = {name: msgspec.json.decode(raw, type=Tensor) for name, raw in entries.items()}
    except UNDECODABLE as error:
        raise _broken(file) from error
    end = max((tensor.data_offsets[1] for tensor in tensors.values()), default=0)
    fitting = all(tensor.fits for tensor in tensors.values())
    if not fitting or _LENGTH_BYTES + length + end != size:
        raise _broken(file)
    return tensors


def read_json(file: Path, kind: type[T]) -> T:
    """Return a JSON file as `kind`. Raises EngineUnavailable if it is missing or invalid."""
    with reading(file, EngineUnavailable, _copy_again()):
        content = read_file(file)
    try:
        return msgspec.json.decode(content, type=kind)
    except UNDECODABLE as error:
        sentence = tr("{file} is invalid: {error}.", file=file, error=error)
        raise EngineUnavailable(sentence, _copy_again()) from error


def _broken(file: Path) -> EngineUnavailable:
    sentence = tr("{file} is truncated or not a safetensors file.", file=file)
    return EngineUnavailable(sentence, _copy_again())


def _copy_again() -> str:
    return tr("Copy or download it again.")


def _sizes(files: Sequence[Path]) -> int:
    return sum(file.stat().st_size for file in files)


def _locate(model: str, engine_id: str) -> Path:
    folder = paths.small_model_dir() if model == paths.SMALL else paths.expand(model)
    if folder.is_dir():
        return folder.resolve()
    choose = _choose(engine_id)
    if model == paths.SMALL:
        told = tr("The model “{model}” is not on this machine.", model=model)
        raise EngineUnavailable(told, tr("Run: {command}", command=pull_command(model)))
    if split_id(model) is None:
        raise EngineUnavailable(tr("Model folder not found: {model}.", model=model), choose)
    snapshot = find_snapshot(model)
    if snapshot is None:
        gated = model.startswith("meta-llama/")
        gate = tr(" (accept its licence first: the command says how)") if gated else ""
        ways = {"pull_command": pull_command(model), "gate": gate, "choose": choose}
        raise EngineUnavailable(
            tr("The weights of “{model}” are not on this machine.", model=model),
            tr("Run: {pull_command}{gate}. Or: {choose}", **ways),
        )
    return snapshot


def _find_weights(folder: Path, engine_id: str, *, optional: bool) -> tuple[Path, ...]:
    index = folder / _INDEX
    if (folder / _ONE_FILE).exists():
        return (folder / _ONE_FILE,)
    if index.exists():
        # Only the names: an index must not lead out of its folder.
        names = sorted({Path(name).name for name in read_json(index, _Index).weight_map.values()})
        if missing := [name for name in names if not (folder / name).exists()]:
            raise _missing(folder, missing)
        return tuple(folder / name for name in names)
    if optional:
        return ()
    if any(folder.glob("*.bin")):
        reason = tr("its weights are only in .bin files, which can run code when opened")
        raise unusable_model(folder, reason, _choose(engine_id))
    raise _missing(folder, [_ONE_FILE])


def _check_parameters(folder: Path, config: Hyperparameters, weights: Sequence[Path]) -> None:
    """Raise EngineUnavailable for a config that would need far more memory than its weights."""
    tensors = (tensor for file in weights for tensor in read_header(file).values())
    found = sum(prod(tensor.shape) for tensor in tensors)
    most = _MORE * found * (_PACKED if config.quantization_config else 1)
    if config.parameters > most:
        values = {"config": CONFIG, "needed": config.parameters, "found": found}
        words = tr(
            "its {config} describes {needed:,} parameters, its weights have {found:,}", **values
        )
        raise unusable_model(folder, words)


def _missing(folder: Path, names: list[str]) -> EngineUnavailable:
    files = ", ".join(names[:_LISTED]) + (", …" if len(names) > _LISTED else "")
    return unusable_model(folder, tr("{files} missing", files=files))


def _choose(engine_id: str) -> str:
    return setting_hint("model", tr("a folder with a Llama model in safetensors"), engine_id)
