"""What happens between the steps of a run: metrics, progress, whole checkpoints, an early stop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import TrainerCallback  # noqa: TID253 - this module is imported lazily

from engine.core.manifest_part import now, write_whole
from engine.core.types import Progress
from engine.training.failures import RunAway
from engine.training.process_group import any_of, wait_for_all
from engine.training.runs.folder import WHOLE, Metrics


class Watch(TrainerCallback):  # type: ignore[misc] # untyped library
    """Hears of every step from the trainer. `first` is the step that the run went on from.

    Only the first of several processes has metrics to write.
    """

    def __init__(
        self,
        metrics: Metrics | None,
        show: Callable[[Progress], None],
        stopping: Callable[[], bool],
        first: int,
    ) -> None:
        self._metrics = metrics
        self._show = show
        self._stopping = stopping
        self._first = first
        self._loss = ""
        self._last = (time.monotonic(), 0.0)
        self._speed = 0.0

    def on_step_end(self, _args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ANN401
        """After an optimizer step."""
        ahead = max(state.max_steps - self._first, 1)
        words = f"step {state.global_step} of {state.max_steps}{self._loss}"
        self._show(Progress(words, (state.global_step - self._first) / ahead))
        stopping = any_of(self._stopping())
        control.should_training_stop |= stopping
        # At the end too: a run that is killed while it is scored has not to train again.
        control.should_save |= stopping or state.global_step >= state.max_steps

    def on_log(
        self,
        _args: Any,  # noqa: ANN401 - untyped library
        state: Any,  # noqa: ANN401 - as above
        _control: Any,  # noqa: ANN401 - as above
        logs: dict[str, float] | None = None,
        **_: Any,  # noqa: ANN401 - as above
    ) -> None:
        """When the trainer has something to log. Raises RunAway."""
        if logs is None or "loss" not in logs:
            return
        if not math.isfinite(logs["loss"]):
            raise RunAway(logs["loss"], state.global_step)
        self._measure(logs.get("num_tokens", 0.0))
        rate = logs["learning_rate"]
        self._loss = f", loss {logs['loss']:.4f}, rate {rate:.2g}, {self._speed:,.0f} tokens/s"
        if self._metrics is None:
            return
        self._metrics.add(
            {
                "step": state.global_step,
                "epoch": logs["epoch"],
                "loss": logs["loss"],
                "learning_rate": rate,
                "grad_norm": logs["grad_norm"],
                "token_accuracy": logs["mean_token_accuracy"],
                "tokens_per_second": round(self._speed, 1),
                "time": now(),
            }
        )

    def on_save(self, args: Any, state: Any, _control: Any, **_: Any) -> None:  # noqa: ANN401
        """After this process's part of a checkpoint is on disk."""
        wait_for_all()
        if self._metrics is not None:
            write_whole(Path(args.output_dir) / f"checkpoint-{state.global_step}" / WHOLE, b"")

    def _measure(self, tokens: float) -> None:
        moment, before = time.monotonic(), self._last
        self._last = (moment, tokens)
        if tokens > before[1] and moment > before[0]:
            self._speed = (tokens - before[1]) / (moment - before[0])
