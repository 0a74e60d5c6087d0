"""Whether a LoRA adapter's folder is whole and was made for this model and these prompts.

Light: reads the adapter's small JSON files and the header of its weights, in milliseconds. Before a
small base is loaded its weights are hashed as well, since another of the same shape has their size.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from engine.backends.llama.weights import (
    ModelConfig,
    ModelFiles,
    Tensor,
    read_header,
    read_json,
)
from engine.core.errors import DataError, EngineUnavailable
from engine.core.files import MANIFEST, Manifest, describe_file, read_manifest
from engine.core.i18n import tr
from engine.prompts import PROMPT_VERSION

_CONFIG = "adapter_config.json"
_WEIGHTS = "adapter_model.safetensors"
_HASHED = 50_000_000
"""Bytes of weights that are hashed before loading: a few hundredths of a second."""
_LORA = re.compile(r"\.layers\.(\d+)\.\w+\.(\w+)\.lora_([AB])\.weight$")


class _AdapterConfig(msgspec.Struct, frozen=True):
    peft_type: str = ""
    base_model_name_or_path: str | None = None


@dataclass(frozen=True, slots=True)
class AdapterFiles:
    """An adapter on disk. `warning` is a sentence for the person, or empty."""

    folder: Path
    warning: str = ""


def find_adapter(adapter: str, model: ModelFiles, *, thorough: bool = False) -> AdapterFiles:
    """The adapter in the folder `adapter`, for `model`; `thorough` hashes a small base.

    Raises EngineUnavailable that says what is missing, broken, or does not fit.
    """
    folder = Path(adapter).expanduser().resolve()
    if not folder.is_dir():
        raise EngineUnavailable(
            tr("There is no adapter folder {adapter}.", adapter=adapter),
            tr("Train one with `balcao train`, or mend `adapter` in the settings."),
        )
    missing = [name for name in (_CONFIG, _WEIGHTS) if not (folder / name).is_file()]
    if missing:
        raise EngineUnavailable(
            tr(
                "The adapter in {folder} is broken: {missing} missing.",
                folder=folder,
                missing=tr(" and ").join(missing),
            ),
            tr("Copy it once more, whole, or train it again with `balcao train`."),
        )
    config = read_json(folder / _CONFIG, _AdapterConfig)
    if config.peft_type.upper() != "LORA":
        raise EngineUnavailable(
            tr(
                "The adapter in {folder} is of the kind “{peft_type}”, not LoRA.",
                folder=folder,
                peft_type=config.peft_type,
            ),
            tr("Train one with `balcao train`."),
        )
    _check_shapes(read_header(folder / _WEIGHTS), model, config, folder)
    return AdapterFiles(folder, _warning(folder, config, model, thorough=thorough))


def _check_shapes(
    tensors: Mapping[str, Tensor], model: ModelFiles, config: _AdapterConfig, folder: Path
) -> None:
    found = [(match, tensors[name]) for name in tensors if (match := _LORA.search(name))]
    sizes = _sizes(model.config)
    for match, tensor in found:
        layer, part, side = int(match[1]), match[2], match[3]
        # A holds the layer's inputs in its second dimension, B the outputs in its first.
        size = tensor.shape[1] if side == "A" else tensor.shape[0]
        wanted = sizes.get(part, (size, size))["AB".index(side)]
        if layer >= model.config.num_hidden_layers or size != wanted:
            made_for = config.base_model_name_or_path or tr("another model")
            raise EngineUnavailable(
                tr(
                    "The adapter in {folder} was made for another base ({made_for}): its layers "
                    "do not fit “{model}”.",
                    folder=folder,
                    made_for=made_for,
                    model=model.name,
                ),
                tr(
                    "Choose the base that it was trained on, or train it again with `balcao train`."
                ),
            )
    if not found:
        raise EngineUnavailable(
            tr("The adapter in {folder} has no LoRA weights.", folder=folder),
            tr("Train one with `balcao train`."),
        )


def _other_weights(
    folder: Path, config: _AdapterConfig, file: Path, model: ModelFiles
) -> EngineUnavailable:
    made_for = config.base_model_name_or_path or tr("another model")
    return EngineUnavailable(
        tr(
            "The adapter in {folder} was made for another base ({made_for}): {file} of “{model}” "
            "has other weights.",
            folder=folder,
            made_for=made_for,
            file=file.name,
            model=model.name,
        ),
        tr("Choose the base that it was trained on, or train it again with `balcao train`."),
    )


def _other_file(made: Manifest, model: ModelFiles, *, thorough: bool) -> Path | None:
    """A file of the model that has not the weights which the adapter was trained on, if any.

    Sizes are compared, and of a small base the hash. Weights that are cut into other files than
    they were cannot be compared.
    """
    known = {one.name: one for one in made.inputs}
    for file in model.weights:
        trained_on, size = known.get(file.name), file.stat().st_size
        if trained_on is None:
            continue
        same = size == trained_on.bytes
        if same and thorough and size <= _HASHED:
            same = describe_file(file).sha256 == trained_on.sha256
        if not same:
            return file
    return None


def _sizes(config: ModelConfig) -> dict[str, tuple[int, int]]:
    """Inputs and outputs of a Llama layer's linear parts, by name."""
    head = config.head_dim or config.hidden_size // config.num_attention_heads
    queries = head * config.num_attention_heads
    keys = head * (config.num_key_value_heads or config.num_attention_heads)
    hidden, inner = config.hidden_size, config.intermediate_size
    return {
        "q_proj": (hidden, queries),
        "k_proj": (hidden, keys),
        "v_proj": (hidden, keys),
        "o_proj": (queries, hidden),
        "gate_proj": (hidden, inner),
        "up_proj": (hidden, inner),
        "down_proj": (inner, hidden),
    }


def _warning(folder: Path, config: _AdapterConfig, model: ModelFiles, *, thorough: bool) -> str:
    if not (folder / MANIFEST).exists():
        return tr(
            "This adapter has no manifest: it is not known whether it was trained with this "
            "program's prompts."
        )
    try:
        made = read_manifest(folder)
    except DataError as error:
        raise EngineUnavailable(
            error.message, tr("Copy the adapter once more, whole, or train it again.")
        ) from error
    if made.prompt_version != PROMPT_VERSION:
        raise EngineUnavailable(
            tr(
                "The adapter in {folder} was trained with version {version} of the prompts; "
                "this program asks with version {prompt_version}.",
                folder=folder,
                version=made.prompt_version,
                prompt_version=PROMPT_VERSION,
            ),
            tr("Train it again with `balcao train`."),
        )
    if differs := _other_file(made, model, thorough=thorough):
        raise _other_weights(folder, config, differs, model)
    made_for = config.base_model_name_or_path or ""
    if _last_name(made_for) in ("", _last_name(model.name), _last_name(str(model.folder))):
        return ""
    return tr(
        "This adapter names {made_for} as its base; the model here is {name}.",
        made_for=made_for,
        name=model.name,
    )


def _last_name(path: str) -> str:
    return path.replace("\\", "/").rstrip("/").rpartition("/")[2].casefold()
