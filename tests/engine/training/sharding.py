"""Use FSDP on a CPU: torch can shard there, but accelerate supports it only on GPUs.

On a CPU it silently keeps the whole model in every process. This module changes that.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from accelerate.commands.config.config_args import (
    load_config_from_file,
)
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType

from engine.training.callbacks import RunCallback

_SHIPPED = Path(__file__).resolve().parents[3] / "scripts/recipes/multi_gpu/fsdp.yaml"
_OTHERWISE = {"fsdp_transformer_layer_cls_to_wrap": "FSDP_TRANSFORMER_CLS_TO_WRAP"}


def launched_with_fsdp() -> None:
    """Set the variables that `accelerate launch` sets for the shipped configuration."""
    os.environ["ACCELERATE_USE_FSDP"] = "true"
    for name, value in load_config_from_file(str(_SHIPPED)).fsdp_config.items():
        words = str(value).lower() if isinstance(value, bool) else str(value)
        os.environ[_OTHERWISE.get(name, name.upper())] = words


def shard_on_a_cpu() -> None:
    """Make accelerate shard on a CPU as it does on GPUs."""
    plain = AcceleratorState.__init__

    def sharding(self: Any, *given: Any, fsdp_plugin: Any = None, **named: Any) -> None:
        plain(self, *given, fsdp_plugin=fsdp_plugin, **named)
        if fsdp_plugin is not None and self.distributed_type == DistributedType.MULTI_CPU:
            self.fsdp_plugin = fsdp_plugin
            self.distributed_type = DistributedType.FSDP
            PartialState._shared_state["distributed_type"] = DistributedType.FSDP

    AcceleratorState.__init__ = sharding


def print_shares() -> None:
    """Make every process print its share of the model after the first step."""
    plain = RunCallback.on_step_end

    def on_step_end(self: RunCallback, _args: Any, state: Any, control: Any, **kept: Any) -> None:
        if state.global_step == 1:
            weights = list(kept["model"].parameters())
            here = sum(one.to_local().numel() for one in weights)
            share = here / sum(one.numel() for one in weights)
            print(f"{share:.3f} of the model is here")  # noqa: T201 - what it is for
        plain(self, _args, state, control, **kept)

    RunCallback.on_step_end = on_step_end  # type: ignore[method-assign]
