"""Check that a LoRA adapter is complete and was trained for this model and these prompts.

Light: reads the adapter's small JSON files and the header of its weights, in milliseconds. Before
loading, a small base is hashed as well: another model of the same shape has the same size.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import msgspec

from engine.backends.llama.weights import Count, ModelFiles, explain_path, read_header, read_json
from engine.config import paths
from engine.core.errors import DataError, EngineUnavailable
from engine.core.files import MANIFEST, Manifest, describe_file, read_manifest
from engine.core.i18n import tr
from engine.core.text import last_part
from engine.prompts import PROMPT_VERSION

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
_HASHED_UP_TO = 50_000_000
"""Bytes of weights; hashing them takes a few hundredths of a second."""
_LORA = re.compile(r"\.layers\.(\d{1,9})\.\w+\.(\w+)\.lora_([AB])\.weight$")


class _AdapterConfig(msgspec.Struct, frozen=True):
    peft_type: str = ""
    base_model_name_or_path: str | None = None
    r: Count = 8
    rank_pattern: dict[str, Count] | None = None


@dataclass(frozen=True, slots=True)
class AdapterFiles:
    """An adapter on disk. `warning` is a sentence for the user, or empty."""

    folder: Path
    warning: str = ""


def find_adapter(adapter: str, model: ModelFiles, *, thorough: bool = False) -> AdapterFiles:
    """Return the adapter for `model`; `thorough` hashes a small base. Raises EngineUnavailable."""
    with explain_path(adapter, unusable_adapter):
        folder = paths.expand(adapter).resolve()
        if not folder.is_dir():
            message = tr("Adapter folder not found: {adapter}.", adapter=adapter)
            raise EngineUnavailable(message, _train_one())
        needed = (ADAPTER_CONFIG, ADAPTER_WEIGHTS)
        if missing := [name for name in needed if not (folder / name).is_file()]:
            raise unusable_adapter(folder, tr("{files} missing", files=", ".join(missing)))
        config = read_json(folder / ADAPTER_CONFIG, _AdapterConfig)
        if config.peft_type.upper() != "LORA":
            reason = tr("it is of type “{peft_type}”, not LoRA", peft_type=config.peft_type)
            raise unusable_adapter(folder, reason, _train_one())
        _check_shapes(folder, config, model)
        if not (folder / MANIFEST).exists():
            unknown = tr(
                "This adapter has no manifest, so it may have been trained with other prompts than "
                "this program's."
            )
            return AdapterFiles(folder, unknown)
        _check_manifest(folder, config, model, thorough=thorough)
        return AdapterFiles(folder, _name_warning(config, model))


def unusable_adapter(folder: Path, reason: str, remedy: str = "") -> EngineUnavailable:
    """Return the error for an adapter that is broken or does not fit its base."""
    return EngineUnavailable(
        tr("Cannot use the adapter in {folder}: {reason}.", folder=folder, reason=reason),
        remedy or tr("Copy it again, complete, or train it again with `balcao train`."),
    )


def choose_its_base() -> str:
    """Return the remedy for an adapter that was trained on another base."""
    return tr("Choose the base that it was trained on, or train it again with `balcao train`.")


def _train_one() -> str:
    file = paths.settings_name()
    return tr("Train one with `balcao train`, or correct `adapter` in {file}.", file=file)


def _check_shapes(folder: Path, config: _AdapterConfig, model: ModelFiles) -> None:
    tensors = read_header(folder / ADAPTER_WEIGHTS)
    found = [(match, tensors[name]) for name in tensors if (match := _LORA.search(name))]
    if not found or any(len(tensor.shape) != len("AB") for _, tensor in found):
        raise unusable_adapter(folder, tr("its weights are not LoRA weights"), _train_one())
    sizes = _linear_sizes(model)
    for match, tensor in found:
        layer, part, side = int(match[1]), match[2], match[3]
        # A has the layer's inputs in its second dimension, B the outputs in its first.
        size = tensor.shape[1] if side == "A" else tensor.shape[0]
        expected = sizes.get(part, (size, size))["AB".index(side)]
        if layer >= model.config.num_hidden_layers or size != expected:
            raise _wrong_base(folder, config, model)
    ranks = {tensor.shape["AB".index(match[3])] for match, tensor in found}
    if ranks != {config.r} and not config.rank_pattern:
        # peft makes room for the rank in the file before it reads the weights.
        found_ranks = ", ".join(map(str, sorted(ranks)))
        values = {"found": found_ranks, "rank": config.r, "name": ADAPTER_CONFIG}
        reason = tr("its weights are of rank {found}, its {name} says {rank}", **values)
        raise unusable_adapter(folder, reason)


def _linear_sizes(model: ModelFiles) -> dict[str, tuple[int, int]]:
    config = model.config
    queries = config.head_size * config.num_attention_heads
    keys = config.head_size * config.key_value_heads
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


def _wrong_base(folder: Path, config: _AdapterConfig, model: ModelFiles) -> EngineUnavailable:
    names = {"base": config.base_model_name_or_path or tr("unknown"), "model": model.name}
    reason = tr("it was trained on another base ({base}) than “{model}”", **names)
    return unusable_adapter(folder, reason, choose_its_base())


def _check_manifest(
    folder: Path, config: _AdapterConfig, model: ModelFiles, *, thorough: bool
) -> None:
    try:
        manifest = read_manifest(folder)
    except DataError as error:
        raise unusable_adapter(folder, error.message.rstrip(".")) from error
    if manifest.prompt_version != PROMPT_VERSION:
        reason = tr(
            "it was trained with version {version} of the prompts, and this program uses "
            "version {prompt_version}",
            version=manifest.prompt_version,
            prompt_version=PROMPT_VERSION,
        )
        raise unusable_adapter(folder, reason, tr("Train it again with `balcao train`."))
    if _has_other_weights(manifest, model, thorough=thorough):
        raise _wrong_base(folder, config, model)


def _has_other_weights(manifest: Manifest, model: ModelFiles, *, thorough: bool) -> bool:
    """Compare the model's files with those the adapter was trained on, by size and perhaps hash.

    Weights that were split into other files since then cannot be compared.
    """
    known = {file.name: file for file in manifest.inputs}
    for file in model.files:
        trained_on, size = known.get(file.name), file.stat().st_size
        if trained_on is None:
            continue
        hashed = thorough and size <= _HASHED_UP_TO
        if size != trained_on.bytes or (hashed and describe_file(file).sha256 != trained_on.sha256):
            return True
    return False


def _name_warning(config: _AdapterConfig, model: ModelFiles) -> str:
    base = config.base_model_name_or_path or ""
    names = (last_part(name).casefold() for name in ("", model.name, str(model.folder)))
    if last_part(base).casefold() in names:
        return ""
    values = {"base": base, "name": model.name}
    return tr("This adapter names {base} as its base, but the model here is {name}.", **values)
