"""Load a Llama's weights and tokenizer: for the chat, for training and for merging.

Only safetensors are read. Code from the model's folder never runs, and the network is never used.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from transformers import BitsAndBytesConfig, LlamaForCausalLM

from engine.backends.llama.messages import Open, Quantization
from engine.backends.llama.tokens import ModelTokenizer, read_tokenizer, wrong_tokenizer_remedy
from engine.backends.llama.weights import FP32_UP_TO, resolve_quantization, threads, unusable_model
from engine.core.errors import EngineFailed, EngineUnavailable
from engine.core.i18n import tr
from engine.core.process import available_memory

_SIZE = {"nf4": 0.4, "int8": 0.7, "none": 1.0}
"""Memory of a loaded model as a share of its 16-bit weights; embeddings are never quantized."""

_MIN_VOCABULARY = 0.75
"""Smallest share of the model's embedding rows that a matching tokenizer fills."""

_OUT_OF_MEMORY = (
    "allocate memory",
    "out of memory",
    "not enough memory",
    "bad_alloc",
    "alloc_failed",
    "could not create a primitive",
)
"""Messages of torch, CUDA, cuBLAS and oneDNN for a failed allocation, in lower case."""


def load_base(
    folder: str | Path,
    *,
    dtype: torch.dtype | str = "auto",
    quantization: BitsAndBytesConfig | None = None,
    device: int | str | None = "cpu",
) -> Any:  # noqa: ANN401 - untyped library
    """Load the base model in `folder`.

    `dtype` "auto" keeps the precision of the weights; `device` None leaves placement to the caller,
    as FSDP needs. Raises EngineUnavailable for incomplete weights, otherwise what the library does.
    """
    model, report = LlamaForCausalLM.from_pretrained(
        folder,
        dtype=dtype,
        device_map=None if device is None else {"": device},
        quantization_config=quantization,
        use_safetensors=True,
        trust_remote_code=False,
        local_files_only=True,
        output_loading_info=True,
    )
    missing = report["missing_keys"]
    if missing:
        # transformers fills them with random numbers.
        found = {"count": len(missing), "example": min(missing)}
        reason = tr("its weights lack {count} tensors, such as {example}", **found)
        raise unusable_model(Path(folder), reason)
    return model


def quantization_config(
    quantization: Quantization,
    compute_dtype: torch.dtype = torch.bfloat16,
    *,
    double_quantization: bool = True,
) -> BitsAndBytesConfig | None:
    """Build the bitsandbytes config for "nf4" or "int8"; None for "none"."""
    match quantization:
        case "nf4":
            return BitsAndBytesConfig(
                load_in_4bit=True,
                bnb_4bit_quant_type="nf4",
                bnb_4bit_use_double_quant=double_quantization,
                bnb_4bit_compute_dtype=compute_dtype,
            )
        case "int8":
            return BitsAndBytesConfig(load_in_8bit=True)
        case _:
            return None


def is_out_of_memory(error: BaseException) -> bool:
    """Check whether an allocation failed, on the CPU or on a GPU."""
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    message = str(error).lower()
    return any(phrase in message for phrase in _OUT_OF_MEMORY)


@contextlib.contextmanager
def explain_out_of_memory(message: str) -> Iterator[None]:
    """Raise EngineFailed with `message` when memory runs out in the block."""
    try:
        yield
    except (RuntimeError, MemoryError, OSError) as error:
        if not is_out_of_memory(error):
            raise
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        raise EngineFailed(message, _spare_memory()) from error


def check_memory(needed: float, *, on_gpu: bool) -> None:
    """Raise EngineUnavailable if `needed` bytes are not free: swapping would stall the machine."""
    free = torch.cuda.mem_get_info()[0] if on_gpu else available_memory()
    if needed > free:
        values = {"needed": needed / 1e9, "free": free / 1e9}
        told = tr(
            "The model needs about {needed:.1f} GB of memory, and {free:.1f} GB are free.", **values
        )
        raise EngineUnavailable(told, _spare_memory())


def load_model(request: Open) -> Any:  # noqa: ANN401 - untyped library
    """Load the model that the chat asks for, on the GPU if there is one. Raises EngineError."""
    on_gpu = torch.cuda.is_available()
    size = request.weight_bytes
    quantization = resolve_quantization(request.quantization, size, supported=on_gpu)
    if on_gpu:
        # cuDNN plans again for each length, and every token of an answer has a new one:
        # docs/measurements/llama.md has the figures.
        torch.backends.cuda.enable_cudnn_sdp(False)
    else:
        torch.set_num_threads(threads(request.weight_bytes))
    check_memory(request.weight_bytes * _SIZE[quantization], on_gpu=on_gpu)
    # The rounding of 16-bit sums costs a small model words, and 32 bits cost it little memory.
    small = request.weight_bytes <= FP32_UP_TO and quantization == "none"
    with explain_out_of_memory(tr("Out of memory while loading the model.")):
        return load_base(
            request.folder,
            dtype=torch.float32 if small else "auto",
            quantization=quantization_config(quantization),
            device=0 if on_gpu else "cpu",
        )


def load_tokenizer(folder: Path, model: Any) -> ModelTokenizer:  # noqa: ANN401 - untyped library
    """Load the tokenizer of a loaded model. Raises EngineUnavailable if it does not match."""
    tokenizer = read_tokenizer(folder)
    rows: int = model.get_input_embeddings().num_embeddings
    if not rows * _MIN_VOCABULARY <= tokenizer.vocab_size <= rows:
        size = tokenizer.vocab_size
        reason = tr("its tokenizer has {size} tokens, its weights {rows}", size=size, rows=rows)
        raise unusable_model(folder, reason, wrong_tokenizer_remedy())
    return tokenizer


def _spare_memory() -> str:
    return tr("Close other programs, start a new conversation, or choose a smaller model.")
