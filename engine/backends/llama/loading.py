"""Reads a Llama's weights and tokenizer into memory for llama_runtime, and says what goes wrong.

Safetensors only, none of the model's own code is run, and nothing is fetched.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from transformers import (
    BitsAndBytesConfig,
    LlamaForCausalLM,
)

from engine.backends.llama.messages import Open, Quantization
from engine.backends.llama.runtimes import FP32_UP_TO, QUANTIZED_ABOVE, threads
from engine.backends.llama.tokens import read_tokenizer
from engine.core.errors import EngineFailed, EngineUnavailable
from engine.core.i18n import tr
from engine.core.text import one_line

_SHARE = {"nf4": 0.4, "int8": 0.7, "none": 1.0}
"""Memory that a model takes, in shares of its 16-bit weights; embeddings are never quantized."""

_FEWEST_TOKENS = 0.75
"""Share of the model's vocabulary that its tokenizer has at least; makers round it up a little."""

# What torch, CUDA and (the last) oneDNN say when an allocation fails.
_OUT_OF_MEMORY = (
    "allocate memory",
    "out of memory",
    "not enough memory",
    "bad_alloc",
    "could not create a primitive",
)


def load_model(request: Open) -> Any:  # noqa: ANN401 - untyped library
    """The model, in the weights' own precision or quantized, on the GPU if there is one.

    Raises EngineUnavailable for weights that do not fit their configuration or the memory.
    """
    folder, quantization = request.folder, request.quantization
    on_gpu = torch.cuda.is_available()
    if quantization == "auto":
        large = request.weight_bytes > QUANTIZED_ABOVE
        quantization = "nf4" if on_gpu and large else "none"
    if on_gpu:
        # It plans anew for each length that it meets, and an answer has another at every token:
        # docs/measurements/llama.md has what was measured.
        torch.backends.cuda.enable_cudnn_sdp(False)
    else:
        torch.set_num_threads(threads(request.weight_bytes))
    _check_memory(request.weight_bytes * _SHARE[quantization], on_gpu=on_gpu)
    with memory_ran_out(tr("Memory ran out: the model could not be loaded.")):
        model, report = LlamaForCausalLM.from_pretrained(
            folder,
            dtype=_dtype(request, quantization),
            device_map={"": 0 if on_gpu else "cpu"},
            quantization_config=_quantized(quantization),
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
        )
    if report["missing_keys"]:
        # The library would put random numbers in their place.
        raise EngineUnavailable(
            tr(
                "The weights in {folder} lack {count} parts of the model, such as {report}.",
                folder=folder,
                count=len(report["missing_keys"]),
                report=min(report["missing_keys"]),
            ),
            tr("Copy or fetch the model once more."),
        )
    return model.eval()


def load_tokenizer(folder: Path, model: Any) -> Any:  # noqa: ANN401 - untyped library
    """The model's tokenizer. Raises EngineUnavailable if it cannot be read or does not fit."""
    remedy = tr("Put the tokenizer that belongs to the model into its folder.")
    try:
        tokenizer = read_tokenizer(folder)
    except Exception as error:  # the library raises whatever its many readers do
        raise EngineUnavailable(
            tr(
                "The tokenizer in {folder} cannot be read: {error}.",
                folder=folder,
                error=one_line(str(error), 200),
            ),
            remedy,
        ) from error
    rows: int = model.get_input_embeddings().num_embeddings
    if not rows * _FEWEST_TOKENS <= tokenizer.vocab_size <= rows:
        raise EngineUnavailable(
            tr(
                "The tokenizer in {folder} does not fit the model: it has {vocab_size} "
                "tokens, the model {rows}.",
                folder=folder,
                vocab_size=tokenizer.vocab_size,
                rows=rows,
            ),
            remedy,
        )
    return tokenizer


@contextlib.contextmanager
def memory_ran_out(told: str) -> Iterator[None]:
    """Turns every way of running out of memory into EngineFailed, which says `told`."""
    try:
        yield
    except (RuntimeError, MemoryError, OSError) as error:
        if not _is_out_of_memory(error):
            raise
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        raise EngineFailed(told, _spare_memory()) from error


def _spare_memory() -> str:
    return tr("Close other programs, begin a new conversation, or choose a smaller model.")


def _is_out_of_memory(error: Exception) -> bool:
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    return any(words in str(error) for words in _OUT_OF_MEMORY)


def _dtype(request: Open, quantization: Quantization) -> Any:  # noqa: ANN401 - a dtype, or "auto"
    """16-bit weights stay so, at half the memory and twice the speed; but not if they are few.

    Of a small model neither is felt, and the rounding of 16-bit sums costs words.
    """
    small = request.weight_bytes <= FP32_UP_TO and quantization == "none"
    return torch.float32 if small else "auto"


def _quantized(quantization: Quantization) -> BitsAndBytesConfig | None:
    if quantization == "nf4":
        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
        )
    return BitsAndBytesConfig(load_in_8bit=True) if quantization == "int8" else None


def _check_memory(needed: float, *, on_gpu: bool) -> None:
    """Refuse a model that would drive the machine into swapping, before it does."""
    free = torch.cuda.mem_get_info()[0] if on_gpu else _free_memory()
    if free is not None and needed > free:
        raise EngineUnavailable(
            tr(
                "The model needs about {needed:.1f} GB of memory, and {free:.1f} GB are free.",
                needed=needed / 1e9,
                free=free / 1e9,
            ),
            _spare_memory(),
        )


def _free_memory() -> int | None:
    """Bytes that can be had without swapping; None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = [int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    return found[0] * 1024 if found else None
