"""Writes a peft LoRA adapter as a GGUF file, for llama.cpp. Imported late: numpy and gguf.

Names and metadata are those of llama.cpp's own converter.
"""

from __future__ import annotations

import re
from math import sqrt
from pathlib import Path

import gguf  # noqa: TID253 - this module is imported lazily
import msgspec
import numpy as np  # noqa: TID253 - as above

from engine.backends.llama.gguf import heads_of, read_tensor, reordered
from engine.backends.llama.weights import ModelFiles, read_header, read_json
from engine.core.errors import EngineUnavailable
from engine.core.i18n import tr

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
                raise _refused(adapter, tr("it has {name}").format(name=name))
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
        tr("llama.cpp cannot take the adapter in {adapter}: {why}.").format(
            adapter=adapter, why=why
        ),
        tr("Set `runtime` to transformers for this engine."),
    )
