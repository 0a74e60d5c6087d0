"""Models and adapters as llama.cpp needs them, made once and kept. Imported late.

Each lies in a folder of its own below the cache folder, named by what it was made from, so a model
that has changed on disk is made anew. An older one can be thrown away at any time.
"""

from __future__ import annotations

import ctypes
import hashlib
import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import llama_cpp  # noqa: TID253 - this module is imported lazily

from engine.backends.llama.gguf import write_model
from engine.backends.llama.gguf_adapter_runtime_part import write_adapter
from engine.backends.llama.messages import Quantization
from engine.backends.llama.precision_part import QUANTIZED_ABOVE
from engine.backends.llama.weights import ModelFiles
from engine.config import paths
from engine.core import files as publish
from engine.core import manifest_part as manifest
from engine.core.errors import EngineFailed, EngineUnavailable
from engine.core.i18n import tr
from engine.core.manifest_part import Manifest
from engine.core.types import Progress

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
    if quantization == "auto":
        quantization = "nf4" if model.weight_bytes > QUANTIZED_ABOVE else "none"
        full = quantization == "none"
    else:
        full = False
    chosen = "fp32" if full else quantization
    out = _folder(model.name, _MODEL_KIND, chosen, model.weights)
    if not (out / _MODEL).exists():
        _check_disk(out, int(model.weight_bytes * (1 + _SHARE.get(quantization, 1.0))))
        with publish.whole_folder(out, _MODEL_KIND) as draft:
            _make_model(model, draft, quantization, show, full=full)
            made_from = {"model": model.name, "precision": chosen}
            manifest.write(draft, Manifest(kind=_MODEL_KIND, version=_VERSION, settings=made_from))
    return out / _MODEL


def adapter_file(adapter: Path, model: ModelFiles) -> Path:
    """The GGUF file of the adapter in a folder, made if it is not there: a second or so.

    Raises EngineError.
    """
    files = [adapter / name for name in ("adapter_config.json", "adapter_model.safetensors")]
    out = _folder(adapter.name, _ADAPTER_KIND, model.name, files)
    if not (out / _ADAPTER).exists():
        _check_disk(out, 2 * files[1].stat().st_size)
        with publish.whole_folder(out, _ADAPTER_KIND) as draft:
            write_adapter(adapter, model, draft / _ADAPTER)
            made_from = {"adapter": str(adapter), "model": model.name}
            manifest.write(
                draft, Manifest(kind=_ADAPTER_KIND, version=_VERSION, settings=made_from)
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
            tr("The model could not be made smaller for llama.cpp: {words}.").format(words=words),
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
                "{free:.1f} GB are free."
            ).format(needed=needed / 1e9, folder=folder, free=free / 1e9),
            tr("Make room, or set `runtime` to transformers for this engine."),
        )
