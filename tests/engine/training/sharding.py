"""FSDP on this CPU: torch shards a model there too, but accelerate knows of GPUs alone.

It leaves the model whole in every process, without a word. Here it is told otherwise.
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
    """Tell this process what `accelerate launch` makes of the configuration that is shipped."""
    os.environ["ACCELERATE_USE_FSDP"] = "true"
    for name, value in load_config_from_file(str(_SHIPPED)).fsdp_config.items():
        words = str(value).lower() if isinstance(value, bool) else str(value)
        os.environ[_OTHERWISE.get(name, name.upper())] = words


def shard_on_a_cpu() -> None:
    """Have accelerate shard among processes on a CPU as it does among those on GPUs."""
    plain = AcceleratorState.__init__

    def told(self: Any, *given: Any, fsdp_plugin: Any = None, **named: Any) -> None:
        plain(self, *given, fsdp_plugin=fsdp_plugin, **named)
        if fsdp_plugin is not None and self.distributed_type == DistributedType.MULTI_CPU:
            self.fsdp_plugin = fsdp_plugin
            self.distributed_type = DistributedType.FSDP
            PartialState._shared_state["distributed_type"] = DistributedType.FSDP

    AcceleratorState.__init__ = told


def tell_shares() -> None:
    """Have every process say, after the first step, which share of the model it has."""
    plain = RunCallback.on_step_end

    def told(self: RunCallback, _args: Any, state: Any, control: Any, **kept: Any) -> None:
        if state.global_step == 1:
            weights = list(kept["model"].parameters())
            here = sum(one.to_local().numel() for one in weights)
            share = here / sum(one.numel() for one in weights)
            print(f"{share:.3f} of the model is here")  # noqa: T201 - what it is for
        plain(self, _args, state, control, **kept)

    RunCallback.on_step_end = told  # type: ignore[method-assign]
