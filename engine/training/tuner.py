"""Fine-tunes a Llama by LoRA: trl's SFTTrainer over peft, QLoRA by bitsandbytes. Imported late."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import set_seed
from transformers.utils.logging import disable_progress_bar

from engine.core.errors import BalcaoError, UsageError
from engine.core.files import free_space
from engine.core.types import Progress
from engine.training import callbacks as lora_score_runtime
from engine.training.base import Numerics, load_base
from engine.training.callbacks import Samples, Sampling, Telling, Watch
from engine.training.encode import Encoder, Example
from engine.training.estimate import Estimate
from engine.training.failures import explained, quiet
from engine.training.probe import probe
from engine.training.process_group import total, wait_for_all
from engine.training.processes import Processes
from engine.training.recipe import Recipe
from engine.training.runs.folder import MetricsWriter, step_of
from engine.training.runs.status import Score, StatusFile
from engine.training.trainer import arguments_of, make_trainer

_STATES = 9
"""Numbers on disk for each that is trained: two checkpoints and the one being written, each with
the weight and the optimizer's two moments."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How far a run came: optimizer steps, the last epoch's mean loss, `done` at the last step."""

    steps: int
    loss: float | None
    done: bool


class Tuner:
    """A base model with an adapter to train, and the trainer for it."""

    def __init__(
        self,
        base: Path,
        out: Path,
        recipe: Recipe,
        encoder: Encoder,
        examples: Sequence[Example],
        processes: Processes,
        checkpoints: Path,
    ) -> None:
        """Load the base. Raises BalcaoError where memory or disk do not suffice."""
        self._encoder = encoder
        self._processes = processes
        self._recipe = recipe
        self._out = out
        self._numerics = Numerics.of(recipe, processes, base)
        disable_progress_bar()  # ours is on the same line
        set_seed(recipe.seed)  # peft draws the adapter's first values
        with explained(recipe, out), quiet():
            arguments = arguments_of(recipe, self._numerics, checkpoints)
            model = load_base(base, recipe, self._numerics, processes)
            self._trainer = make_trainer(model, encoder.tokenizer, examples, recipe, arguments)
        if processes.sharded and not self._trainer.is_fsdp_enabled:
            raise UsageError(
                "accelerate spreads a model over GPUs alone: here each process would have it all.",
                "Launch with data_parallel.yaml instead, which does the same on a CPU.",
            )
        self._check_disk()

    @property
    def precision(self) -> str:
        """What the base is computed in, for the person and the manifest."""
        return str(self._numerics)

    @property
    def trained(self) -> int:
        """How many numbers are trained."""
        return sum(one.numel() for one in self._parameters())

    def estimate(self) -> Estimate | None:
        """What the run will take, by a few steps that leave no trace; None where it is sharded.

        Raises BalcaoError if not a single row fits.
        """
        if self._processes.sharded:
            return None  # it is spread over the processes only once it trains
        with explained(self._recipe, self._out), quiet():
            return probe(self._trainer, self._recipe, self._numerics, self._processes)

    def train(
        self,
        checkpoint: Path | None,
        show: Callable[[Progress], None],
        stopping: Callable[[], bool],
        status: StatusFile | None,
        samples: Samples,
    ) -> Outcome:
        """Train to the end, or until `stopping`, which is asked after every step.

        Goes on from `checkpoint` where there is one. The first process alone has a `status`. Raises
        BalcaoError.
        """
        metrics = MetricsWriter(self._out, step_of(checkpoint)) if self._processes.first else None
        self._trainer.add_callback(Watch(metrics, show, stopping, step_of(checkpoint)))
        if status:
            self._trainer.add_callback(Telling(status))
        together = self._processes.sharded
        if status or together:
            asking = Sampling(samples, self._answer, metrics, status, together=together)
            self._trainer.add_callback(asking)
        with explained(self._recipe, self._out), quiet():
            self._trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        state = self._trainer.state
        return Outcome(state.global_step, _last_loss(state), state.global_step >= state.max_steps)

    def settle(self) -> None:
        """Round the adapter to what will be saved, so that this is what is scored."""
        if self._recipe.saved_in == "bf16":
            for weight in self._parameters():
                weight.data = weight.data.bfloat16().to(weight.dtype)

    def save(self, folder: Path, base_name: str) -> None:
        """Write the adapter in peft's format. `base_name` is what it says that it was made for.

        Called by every process; the first one writes.
        """
        model = self._trainer.model
        model.peft_config["default"].base_model_name_or_path = base_name
        with explained(self._recipe, self._out), quiet():
            sharded = self._processes.sharded
            weights = self._trainer.accelerator.get_state_dict(model) if sharded else None
            if self._recipe.saved_in == "bf16":
                weights = _halved(weights or model.state_dict())
            if self._processes.first:
                # Else peft asks the hub whether the base's vocabulary has changed.
                model.save_pretrained(str(folder), state_dict=weights, save_embedding_layers=False)
            wait_for_all()

    def score(self, examples: Sequence[Example], show: Callable[[Progress], None]) -> Score:
        """Ask every example's question and compare, blanks aside. Raises BalcaoError.

        Called by every process: each asks its share, or all of them where the model is sharded.
        """
        model = self._trainer.model.eval()
        share = examples
        if not self._processes.sharded:
            share = examples[self._processes.index :: self._processes.count]
        with explained(self._recipe, self._out), quiet(), self._numerics.autocast():
            right = lora_score_runtime.score(model, self._encoder, share, show)
            return Score(len(examples), right if share is examples else total(right))

    def _answer(self, example: Example) -> str:
        with self._numerics.autocast():
            tokens = lora_score_runtime.answer_tokens(self._trainer.model, example)
        return self._encoder.text(tokens)

    def _check_disk(self) -> None:
        needed = self.trained * 4 * _STATES
        free = free_space(self._out)
        if needed > free:
            raise BalcaoError(
                f"The disk of {self._out} has {free / 1e6:,.0f} MB free; the checkpoints of this"
                f" run take up to {needed / 1e6:,.0f} MB.",
                "Make room, name a folder on another disk, or lower `rank`.",
            )

    def _parameters(self) -> Iterator[torch.nn.Parameter]:
        return (one for one in self._trainer.model.parameters() if one.requires_grad)


def _halved(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The adapter's weights in bf16; the base's are not saved."""
    return {name: weight.bfloat16() for name, weight in weights.items() if "lora_" in name}


def _last_loss(state: Any) -> float | None:  # noqa: ANN401 - untyped library
    """The mean of what was logged in the last epoch."""
    last = [
        entry["loss"]
        for entry in state.log_history
        if "loss" in entry and entry["epoch"] > (state.epoch or 0) - 1
    ]
    return sum(last) / len(last) if last else None
