"""Find a model's files and check that they are complete, in milliseconds.

Light and offline: a hub id is looked up in the local hub cache, and only the headers of the weights
are read.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec.structs import replace

from engine.backends.llama.messages import Quantization
from engine.config import paths
from engine.config.paths import MAIN, find_snapshot, split_id
from engine.core.errors import EngineUnavailable
from engine.core.files import reading
from engine.core.i18n import tr

T = TypeVar("T")

FP32_UP_TO = 50_000_000
"""Compute in 32 bits up to this many bytes of weights (docs/measurements/training.md)."""

_QUANTIZED_ABOVE = 256_000_000
"""Bytes of weights; in 4 bits a smaller model answers nothing right."""

_ONE_THREAD_BELOW = 64_000_000
"""Bytes of weights."""

CONFIG = "config.json"
_ONE_FILE = "model.safetensors"
_INDEX = "model.safetensors.index.json"
_TOKENIZER = "tokenizer.json"
_SENTENCEPIECE = "tokenizer.model"
_LISTED = 3
_LENGTH_BYTES = 8
_MAX_HEADER = 100_000_000
"""Bytes; the limit of the safetensors format itself."""


class RopeConfig(msgspec.Struct, frozen=True):
    """The rotary position embeddings, in the format's own names; old files say `type`."""

    rope_type: str = ""
    type: str = "default"
    rope_theta: float = 10_000.0
    factor: float = 1.0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_max_position_embeddings: int = 8192


class Hyperparameters(msgspec.Struct, frozen=True):
    """A Llama's `config.json`, in the format's own names."""

    model_type: str
    hidden_size: int
    intermediate_size: int
    num_attention_heads: int
    num_hidden_layers: int
    vocab_size: int
    num_key_value_heads: int | None = None
    head_dim: int | None = None
    max_position_embeddings: int = 2048
    rms_norm_eps: float = 1e-6
    rope_parameters: RopeConfig | None = None
    rope_theta: float = 10_000.0
    rope_scaling: RopeConfig | None = None

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


class QuantizationMethod(msgspec.Struct, frozen=True):
    """The `quantization_config` of weights that were quantized before they were saved."""

    quant_method: str = ""


class Architecture(msgspec.Struct, frozen=True):
    """The part of `config.json` that every kind of model has, in the format's own names."""

    model_type: str = ""
    quantization_config: QuantizationMethod | None = None


class Tensor(msgspec.Struct, frozen=True):
    """A tensor in the header of a safetensors file."""

    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A model on disk. `name` is the settings' name for it."""

    name: str
    folder: Path
    config: Hyperparameters
    weights: tuple[Path, ...]

    @property
    def weight_bytes(self) -> int:
        """The size of the weights on disk."""
        return sum(file.stat().st_size for file in self.weights)


class _Index(msgspec.Struct, frozen=True):
    weight_map: dict[str, str]


def find_model(model: str, engine_id: str) -> ModelFiles:
    """Return the files of a folder or hub id. Raises EngineUnavailable, naming `engine_id`."""
    folder = _locate(model, engine_id)
    config = _read_config(folder, engine_id)
    weights = _find_weights(folder, engine_id)
    for file in weights:
        read_header(file)
    if not any((folder / name).is_file() for name in (_TOKENIZER, _SENTENCEPIECE)):
        raise _missing(folder, [_TOKENIZER])
    return ModelFiles(model, folder, config, weights)


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


def setting_hint(setting: str, value: str, engine_id: str) -> str:
    """Return a remedy that says where to set something."""
    return tr(
        "Set `{setting}` to {value}, under [engines.{engine_id}] in {file}.",
        setting=setting,
        value=value,
        engine_id=engine_id,
        file=paths.settings_file(),
    )


def pull_command(model: str) -> str:
    """Return the command that downloads a hub id."""
    name, revision = split_id(model) or (model, MAIN)
    chosen = "" if revision == MAIN else f" --revision {revision}"
    return f"balcao models pull {name}{chosen}"


def read_header(file: Path) -> dict[str, Tensor]:
    """Return a safetensors file's tensors by name. Raises EngineUnavailable if it is broken."""
    with reading(file, EngineUnavailable, _copy_again()), file.open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        length = int.from_bytes(stream.read(_LENGTH_BYTES), "little")
        if length > min(_MAX_HEADER, size - _LENGTH_BYTES):
            raise _broken(file)
        header = stream.read(length)
    try:
        entries = msgspec.json.decode(header, type=dict[str, msgspec.Raw])
        entries.pop("__metadata__", None)
        tensors = {name: msgspec.json.decode(raw, type=Tensor) for name, raw in entries.items()}
    except msgspec.DecodeError as error:
        raise _broken(file) from error
    end = max((tensor.data_offsets[1] for tensor in tensors.values()), default=0)
    if _LENGTH_BYTES + length + end != size:
        raise _broken(file)
    return tensors


def read_json(file: Path, kind: type[T]) -> T:
    """Return a JSON file as `kind`. Raises EngineUnavailable if it is missing or invalid."""
    with reading(file, EngineUnavailable, _copy_again()):
        content = file.read_bytes()
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.DecodeError as error:
        raise EngineUnavailable(
            tr("{file} is invalid: {error}.", file=file, error=error), _copy_again()
        ) from error


def _broken(file: Path) -> EngineUnavailable:
    return EngineUnavailable(
        tr("{file} is truncated or not a safetensors file.", file=file), _copy_again()
    )


def _copy_again() -> str:
    return tr("Copy or download it again.")


def _locate(model: str, engine_id: str) -> Path:
    folder = paths.expand(model)
    if folder.is_dir():
        return folder.resolve()
    choose = _choose(engine_id)
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


def _read_config(folder: Path, engine_id: str) -> Hyperparameters:
    kind = read_json(folder / CONFIG, Architecture).model_type
    if kind != "llama":
        reason = tr("it is a “{kind}” model, not a Llama", kind=kind)
        raise unusable_model(folder, reason, _choose(engine_id))
    return read_json(folder / CONFIG, Hyperparameters)


def _find_weights(folder: Path, engine_id: str) -> tuple[Path, ...]:
    index = folder / _INDEX
    if (folder / _ONE_FILE).exists():
        return (folder / _ONE_FILE,)
    if index.exists():
        # Only the names: an index must not lead out of its folder.
        names = sorted({Path(name).name for name in read_json(index, _Index).weight_map.values()})
        if missing := [name for name in names if not (folder / name).exists()]:
            raise _missing(folder, missing)
        return tuple(folder / name for name in names)
    if any(folder.glob("*.bin")):
        reason = tr("its weights are only in .bin files, which can run code when opened")
        raise unusable_model(folder, reason, _choose(engine_id))
    raise _missing(folder, [_ONE_FILE])


def _missing(folder: Path, names: list[str]) -> EngineUnavailable:
    files = ", ".join(names[:_LISTED]) + (", …" if len(names) > _LISTED else "")
    return unusable_model(folder, tr("{files} missing", files=files))


def _choose(engine_id: str) -> str:
    return setting_hint("model", tr("a folder with a Llama model in safetensors"), engine_id)
