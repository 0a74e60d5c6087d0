"""What kind of model lies in a folder, and in which precision, by its small files and headers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import prod
from pathlib import Path

import msgspec

from engine.backends.llama.weights import read_header

_PRECISION = {"F64": "fp64", "F32": "fp32", "F16": "fp16", "BF16": "bf16", "I8": "int8"}


class Quantized(msgspec.Struct, frozen=True):
    """The part of `config.json` that tells of weights which were quantized before."""

    quant_method: str = ""


class Kind(msgspec.Struct, frozen=True):
    """The part of `config.json` that tells the kind. Names are the format's own."""

    model_type: str = ""
    quantization_config: Quantized | None = None


def precision(config: Kind, weights: Sequence[Path]) -> str:
    """In which precision most of the weights are. Raises EngineUnavailable for a broken file."""
    if config.quantization_config and config.quantization_config.quant_method:
        return config.quantization_config.quant_method
    sizes: Counter[str] = Counter()
    for file in weights:
        for tensor in read_header(file).values():
            sizes[tensor.dtype] += prod(tensor.shape)
    most = sizes.most_common(1)
    return _PRECISION.get(most[0][0], most[0][0].lower()) if most else ""
