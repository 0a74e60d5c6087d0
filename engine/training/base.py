"""The base model of a LoRA run, as the recipe says that it is held and computed. Imported late."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from transformers import BitsAndBytesConfig, LlamaForCausalLM

from engine.backends.llama.weights import FP32_UP_TO, resolve_quantization
from engine.core.errors import UsageError
from engine.training.processes import Processes
from engine.training.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Numerics:
    """What a run computes on and in."""

    on_gpu: bool
    bf16: bool
    nf4: bool

    @classmethod
    def of(cls, recipe: Recipe, processes: Processes, base: Path) -> Self:
        """What the recipe's values come to for the model in `base`, on this machine.

        `auto` is what the chat takes it for, too. Raises UsageError.
        """
        on_gpu = torch.cuda.is_available()
        weights = sum(file.stat().st_size for file in base.glob("*.safetensors"))
        bf16 = recipe.precision == "bf16" or (
            recipe.precision == "auto"
            and on_gpu
            and weights > FP32_UP_TO
            and torch.cuda.is_bf16_supported()
        )
        if recipe.quantization == "nf4" and processes.sharded:
            raise UsageError(
                "FSDP spreads the base over the processes as it is, not in NF4.",
                'Set `quantization = "none"`, or use data parallel.',
            )
        # Spread over GPUs, the base fits as it is.
        supported = on_gpu and not processes.sharded
        nf4 = resolve_quantization(recipe.quantization, weights, supported=supported) == "nf4"
        return cls(on_gpu, bf16, nf4)

    @property
    def dtype(self) -> torch.dtype:
        """What the base is computed in, and held in where it is not quantized."""
        return torch.bfloat16 if self.bf16 else torch.float32

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """As the trainer computes, for what is done outside of it."""
        device = "cuda" if self.on_gpu else "cpu"
        return torch.autocast(device, torch.bfloat16, enabled=self.bf16)

    def __str__(self) -> str:
        nf4 = "NF4, " if self.nf4 else ""
        return f"{nf4}{'bf16' if self.bf16 else 'fp32'} on the {'GPU' if self.on_gpu else 'CPU'}"


def load_base(folder: Path, recipe: Recipe, numerics: Numerics, processes: Processes) -> Any:  # noqa: ANN401 - untyped library
    """The base in `folder`, on this process's device. Raises whatever the library does."""
    device = processes.local if numerics.on_gpu else "cpu"
    nf4 = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=recipe.double_quantization,
        bnb_4bit_compute_dtype=numerics.dtype,
    )
    return LlamaForCausalLM.from_pretrained(
        folder,
        dtype=numerics.dtype,
        device_map=None if processes.sharded else {"": device},
        quantization_config=nf4 if numerics.nf4 else None,
        use_safetensors=True,
        trust_remote_code=False,
        local_files_only=True,
    )
