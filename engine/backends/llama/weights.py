"""Which files a model has on disk, and whether they are whole: in milliseconds.

Light, and without network: a hub id is looked for in the local hub cache alone, and of the weights
only the headers are read.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from engine.config import paths
from engine.core.errors import EngineUnavailable, why
from engine.core.hub_cache import MAIN, find_snapshot, split_id
from engine.core.i18n import tr, tr_n

T = TypeVar("T")

_ONE_FILE = "model.safetensors"
_INDEX = "model.safetensors.index.json"
_TOKENIZER = "tokenizer.json"
_SENTENCEPIECE = "tokenizer.model"
_LENGTH_BYTES = 8
_LONGEST_HEADER = 100_000_000
"""Bytes; the limit of the safetensors format itself."""


class RopeConfig(msgspec.Struct, frozen=True):
    """How positions are turned into angles. Names are the format's own."""

    rope_type: str = "default"
    rope_theta: float = 10_000.0
    factor: float = 1.0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_max_position_embeddings: int = 8192


class _OldRope(msgspec.Struct, frozen=True):
    """As files before transformers 5 have it: `rope_theta` beside it, older ones with `type`."""

    rope_type: str = ""
    type: str = "default"
    factor: float = 1.0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_max_position_embeddings: int = 8192


class ModelConfig(msgspec.Struct, frozen=True):
    """The part of `config.json` that tells what the model is. Names are the format's own."""

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
    rope_scaling: _OldRope | None = None

    @property
    def rope(self) -> RopeConfig:
        """How positions are turned into angles, whichever way the file has it."""
        if self.rope_parameters is not None or self.rope_scaling is None:
            return self.rope_parameters or RopeConfig(rope_theta=self.rope_theta)
        old = self.rope_scaling
        return RopeConfig(
            old.rope_type or old.type,
            self.rope_theta,
            old.factor,
            old.low_freq_factor,
            old.high_freq_factor,
            old.original_max_position_embeddings,
        )


class Tensor(msgspec.Struct, frozen=True):
    """One tensor of a safetensors file, as its header has it."""

    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A model on disk. `name` is what the settings call it."""

    name: str
    folder: Path
    config: ModelConfig
    weights: tuple[Path, ...]

    @property
    def weight_bytes(self) -> int:
        """Bytes on disk."""
        return sum(file.stat().st_size for file in self.weights)


class _Index(msgspec.Struct, frozen=True):
    weight_map: dict[str, str]


def find_model(model: str, engine_id: str) -> ModelFiles:
    """The files of `model`, a folder or a hub id.

    Raises EngineUnavailable that says what is missing or broken, and how to mend it.
    """
    folder = _locate(model, engine_id)
    config = _config(folder, engine_id)
    weights = _weights(folder, engine_id)
    for file in weights:
        read_header(file)
    _check_tokenizer(folder)
    return ModelFiles(model, folder, config, weights)


def setting_hint(setting: str, value: str, engine_id: str) -> str:
    """Where to set something: a sentence for a remedy."""
    return tr(
        "Set `{setting}` to {value}, under [engines.{engine_id}] in {file}.",
        setting=setting,
        value=value,
        engine_id=engine_id,
        file=paths.settings_file(),
    )


def read_header(file: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, by name; their values are not read.

    Raises EngineUnavailable for a file that is cut short or of another format.
    """
    try:
        with file.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            length = int.from_bytes(stream.read(_LENGTH_BYTES), "little")
            if size < _LENGTH_BYTES or length > min(_LONGEST_HEADER, size - _LENGTH_BYTES):
                raise _broken(file)
            entries = msgspec.json.decode(stream.read(length), type=dict[str, msgspec.Raw])
        entries.pop("__metadata__", None)
        tensors = {name: msgspec.json.decode(raw, type=Tensor) for name, raw in entries.items()}
    except msgspec.DecodeError as error:
        raise _broken(file) from error
    except OSError as error:
        raise EngineUnavailable(
            tr("{file} cannot be read: {why}.", file=file, why=why(error))
        ) from error
    end = max((tensor.data_offsets[1] for tensor in tensors.values()), default=0)
    if _LENGTH_BYTES + length + end != size:
        raise _broken(file)
    return tensors


def _broken(file: Path) -> EngineUnavailable:
    return EngineUnavailable(
        tr("{file} is cut short, or is no safetensors file.", file=file),
        tr("Copy or fetch that file once more."),
    )


def _locate(model: str, engine_id: str) -> Path:
    folder = Path(model).expanduser()
    if folder.is_dir():
        return folder.resolve()
    choose = setting_hint("model", tr("a folder with a Llama model in safetensors"), engine_id)
    if split_id(model) is None:
        raise EngineUnavailable(tr("There is no model folder {model}.", model=model), choose)
    snapshot = find_snapshot(model)
    if snapshot is None:
        told = tr(" (its licence has to be accepted first: the command says how)")
        gate = told if model.startswith("meta-llama/") else ""
        raise EngineUnavailable(
            tr("The weights of “{model}” are not on this machine.", model=model),
            tr(
                "Run: {pull_command}{gate}. Or: {choose}",
                pull_command=pull_command(model),
                gate=gate,
                choose=choose,
            ),
        )
    return snapshot


def pull_command(model: str) -> str:
    """The command that fetches a model by its hub id."""
    name, revision = split_id(model) or (model, MAIN)
    chosen = "" if revision == MAIN else f" --revision {revision}"
    return f"balcao models pull {name}{chosen}"


def _config(folder: Path, engine_id: str) -> ModelConfig:
    file = folder / "config.json"
    kind = read_json(file, _Kind).model_type
    if kind != "llama":
        raise EngineUnavailable(
            tr(
                "The model in {folder} is of the kind “{kind}”, not a Llama.",
                folder=folder,
                kind=kind,
            ),
            setting_hint("model", tr("one whose config.json says llama"), engine_id),
        )
    return read_json(file, ModelConfig)


class _Kind(msgspec.Struct, frozen=True):
    model_type: str = ""


def read_json(file: Path, kind: type[T]) -> T:
    """The JSON file as `kind`. Raises EngineUnavailable if it is missing or says something else."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=kind)
    except OSError as error:
        raise EngineUnavailable(
            tr("{file} cannot be read: {why}.", file=file, why=why(error)),
            tr("Copy or fetch that file once more."),
        ) from error
    except msgspec.DecodeError as error:
        raise EngineUnavailable(
            tr("{file} cannot be understood: {error}.", file=file, error=error),
            tr("Copy or fetch that file once more."),
        ) from error


def _check_tokenizer(folder: Path) -> None:
    if not any((folder / name).is_file() for name in (_TOKENIZER, _SENTENCEPIECE)):
        raise EngineUnavailable(
            tr("The model in {folder} has no tokenizer.", folder=folder),
            tr(
                "Put the {tokenizer} or {sentencepiece} that belongs to it there.",
                tokenizer=_TOKENIZER,
                sentencepiece=_SENTENCEPIECE,
            ),
        )


def _weights(folder: Path, engine_id: str) -> tuple[Path, ...]:
    one, index = folder / _ONE_FILE, folder / _INDEX
    if one.exists():
        return (one,)
    if index.exists():
        # Names without a folder: an index must not lead out of its own.
        names = {Path(name).name for name in read_json(index, _Index).weight_map.values()}
        shards = [folder / name for name in sorted(names)]
        missing = [shard.name for shard in shards if not shard.exists()]
        if missing:
            raise EngineUnavailable(
                tr_n(
                    "{listed} of the model in {folder} is missing.",
                    "{listed} of the model in {folder} are missing.",
                    len(missing),
                    listed=_listed(missing),
                    folder=folder,
                ),
                tr("Copy or fetch the model once more."),
            )
        return tuple(shards)
    told = tr("The model in {folder} has no weights.")
    if any(folder.glob("*.bin")):
        told = tr(
            "The model in {folder} has its weights only as .bin, which can run code when it is "
            "opened."
        )
    raise EngineUnavailable(
        told.format(folder=folder),
        setting_hint("model", tr("a folder with its weights in safetensors"), engine_id),
    )


def _listed(names: Sequence[str], most: int = 3) -> str:
    listed = ", ".join(names[:most])
    more = len(names) - most
    if more <= 0:
        return listed
    told = tr_n("{listed} and {more} more file", "{listed} and {more} more files", more)
    return told.format(listed=listed, more=more)
