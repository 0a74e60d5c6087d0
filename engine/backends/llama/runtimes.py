"""Which library runs a Llama on this machine, and which packages it needs. Light."""

from __future__ import annotations

import os
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from engine.backends.llama.messages import Quantization, Runtime

QUANTIZED_ABOVE = 256_000_000
"""Bytes of weights. `auto` leaves a smaller model as it is: in 4 bits it says nothing right."""

FP32_UP_TO = 50_000_000
"""Compute in 32 bits up to this many bytes of weights (docs/measurements/training.md)."""


_TRANSFORMERS = ("torch", "transformers", "peft", "accelerate", "safetensors", "sentencepiece")
_LLAMA_CPP = {"llama_cpp": "llama-cpp-python", "gguf": "gguf"}
_SMALL = 64_000_000
"""Bytes of weights."""

_QUANTIZED = ("nf4", "int8")


def resolve_runtime(runtime: Runtime | Literal["auto"]) -> Runtime:
    """Replace "auto" by the fastest runtime on this machine."""
    if runtime != "auto":
        return runtime
    fast = not has_gpu() and all(find_spec(name) for name in _LLAMA_CPP)
    return "llama.cpp" if fast else "transformers"


def resolve_quantization(
    quantization: Quantization, weight_bytes: int, *, supported: bool = True
) -> Quantization:
    """Replace "auto": 4 bits for a large model if `supported`, else none."""
    if quantization != "auto":
        return quantization
    return "nf4" if supported and weight_bytes > QUANTIZED_ABOVE else "none"


def threads(weight_bytes: int) -> int:
    """How many threads a model of that size is to be computed by, on a CPU.

    A small model is read faster by one than several take to wait for one another; on a machine that
    is busy otherwise they wait a hundred times as long (benchmarks/llama.py).
    """
    if weight_bytes < _SMALL:
        return 1
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def has_gpu() -> bool:
    """Whether the driver of an NVIDIA GPU is there; asking torch would take seconds."""
    return Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None


def missing_packages(runtime: Runtime, quantization: Quantization) -> list[str]:
    """The packages that are needed and not installed, by their names for pip."""
    if runtime == "llama.cpp":
        needed = {**_LLAMA_CPP, "transformers": "transformers", "sentencepiece": "sentencepiece"}
    else:
        quantized = ("bitsandbytes",) if quantization in _QUANTIZED else ()
        needed = {name: name for name in (*_TRANSFORMERS, *quantized)}
    return [name for module, name in needed.items() if find_spec(module) is None]
