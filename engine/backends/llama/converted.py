"""Find the GGUF files of a model and its adapters for llama.cpp, converted once into the cache."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from engine.backends.llama import weights
from engine.backends.llama.adapters import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from engine.backends.llama.messages import Quantization
from engine.config import paths
from engine.core.errors import EngineUnavailable
from engine.core.files import Manifest, atomic_folder, check_space, write_manifest
from engine.core.i18n import tr
from engine.core.text import last_part
from engine.prompts import PROMPT_VERSION

if TYPE_CHECKING:
    from engine.backends.llama.unpack import Show

_VERSION = 2
_MODEL, _ADAPTER = "model.gguf", "adapter.gguf"
_MODEL_KIND, _ADAPTER_KIND = "llama.cpp model", "llama.cpp adapter"
_SIZE = {"nf4": 0.32, "int8": 0.54}
"""Share of 16-bit weights: 4.85 and 8.5 bits a weight."""

_MAX_NAME = 40


def model_file(model: weights.ModelFiles, quantization: Quantization, show: Show) -> Path:
    """Return the GGUF file of `model`; convert it first if needed, which can take minutes.

    A GGUF file in the model's folder is used as it is. Otherwise 4 bits are Q4_K_M and 8 are Q8_0;
    "auto" is 4 bits for a large model and fp32 for a small one. Raises EngineError.
    """
    if model.gguf and quantization in ("auto", "nf4"):
        return model.gguf
    automatic = quantization == "auto"
    quantization = weights.resolve_quantization(quantization, model.weight_bytes)
    full = automatic and quantization == "none"
    precision = "fp32" if full else quantization
    out = _cache_folder(model.name, (_MODEL_KIND, precision), model.files)
    if not (out / _MODEL).exists():
        # Loading numpy and gguf is a tenth of the time to a first answer.
        from engine.backends.llama.gguf import write_model
        from engine.backends.llama.unpack import with_safetensors

        model = with_safetensors(model, show)
        needed = int(model.weight_bytes * _SIZE.get(quantization, 2.0 if full else 1.0))
        settings = {"model": model.name, "precision": precision}
        with _converting(out, _MODEL_KIND, needed, settings) as draft:
            write_model(model, draft / _MODEL, "fp32" if full else quantization, show)
    return out / _MODEL


def adapter_file(adapter: Path, model: weights.ModelFiles) -> Path:
    """Return an adapter's GGUF file; convert it first if needed. Raises EngineError."""
    files = [adapter / name for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS)]
    out = _cache_folder(adapter.name, (_ADAPTER_KIND, model.name), files)
    if not (out / _ADAPTER).exists():
        from engine.backends.llama.gguf import write_adapter

        settings = {"adapter": str(adapter), "model": model.name}
        with _converting(out, _ADAPTER_KIND, 2 * files[1].stat().st_size, settings) as draft:
            write_adapter(adapter, model, draft / _ADAPTER)
    return out / _ADAPTER


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
