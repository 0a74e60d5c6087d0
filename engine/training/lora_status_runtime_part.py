"""Keeps a run's status.json up to date between its steps. Imported late."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback  # noqa: TID253 - this module is imported lazily

from engine.training.runs.status import StatusFile


class Telling(TrainerCallback):  # type: ignore[misc] # untyped library
    """Hears of every step from the trainer, in the first process."""

    def __init__(self, status: StatusFile) -> None:
        self._status = status

    def on_train_begin(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:  # noqa: ANN401
        """Before the first step, or the first after a checkpoint."""
        self._status.begin(state.global_step, state.max_steps)

    def on_step_end(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:  # noqa: ANN401
        """After an optimizer step."""
        self._status.step(state.global_step)

    def on_log(
        self,
        _args: Any,  # noqa: ANN401 - untyped library
        _state: Any,  # noqa: ANN401 - as above
        _control: Any,  # noqa: ANN401 - as above
        logs: dict[str, float] | None = None,
        **_: Any,  # noqa: ANN401 - as above
    ) -> None:
        """When the trainer has something to log."""
        if logs and "loss" in logs:
            self._status.logged(logs["loss"])
