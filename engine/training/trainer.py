"""trl's trainer over a base model, with the recipe's values. Imported late.

The rows come in as tokens with their labels (lora_prompt_runtime), so trl renders and cuts nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import datasets
import torch
from peft import LoraConfig
from torch.utils.data import Sampler
from transformers import PrinterCallback
from transformers.trainer_pt_utils import (
    get_length_grouped_indices,
)
from trl import (
    SFTConfig,
    SFTTrainer,
)

from engine.core.errors import UsageError
from engine.core.text import one_line
from engine.training.base import Numerics
from engine.training.data import prepare_reports
from engine.training.encode import Example
from engine.training.failures import StepTooLarge, memory_is_out
from engine.training.recipe import Recipe


class Shuffled(Sampler[int]):
    """Rows in another order in every epoch; with `grouped`, those of a step are of like length.

    `lengths` are tokens, `batch` is rows to an optimizer step. Rows of no length are blanks that
    fill the last batches: they come last.
    """

    def __init__(self, lengths: Sequence[int], batch: int, seed: int, *, grouped: bool) -> None:
        self._lengths = [length for length in lengths if length]
        self._blanks = len(lengths) - len(self._lengths)
        self._batch = batch
        self._seed = seed
        self._grouped = grouped
        self._epoch = 0

    def __len__(self) -> int:
        return len(self._lengths) + self._blanks

    def __iter__(self) -> Iterator[int]:
        yield from self.order()
        yield from range(len(self._lengths), len(self))

    def order(self) -> list[int]:
        """The rows of the epoch, blanks left out."""
        drawn = torch.Generator().manual_seed(self._seed + self._epoch)
        if not self._grouped:
            return torch.randperm(len(self._lengths), generator=drawn).tolist()
        found: list[int] = get_length_grouped_indices(self._lengths, self._batch, generator=drawn)
        return found

    def ordered_lengths(self) -> list[int]:
        """Tokens of the epoch's rows, in their order."""
        return [self._lengths[row] for row in self.order()]

    def set_epoch(self, epoch: int) -> None:
        """The trainer tells which epoch begins, after a resume too."""
        self._epoch = epoch


class OrderedTrainer(SFTTrainer):  # type: ignore[misc] # untyped library
    """trl's trainer with the rows in the order of `sampler`."""

    def __init__(self, sampler: Shuffled, **arguments: Any) -> None:  # noqa: ANN401 - as above
        self.sampler = sampler
        super().__init__(**arguments)

    def training_step(self, model: Any, inputs: Any, *others: Any) -> Any:  # noqa: ANN401 - as above
        """Forward and backward of a batch. Raises StepTooLarge."""
        rows, tokens = inputs["input_ids"].shape
        try:
            return super().training_step(model, inputs, *others)
        except (RuntimeError, MemoryError) as error:
            if memory_is_out(error):
                raise StepTooLarge(self.state.global_step + 1, rows, tokens) from error
            raise

    def _get_train_sampler(self, _rows: Any = None) -> Sampler[int]:  # noqa: ANN401 - as above
        return self.sampler


_IGNORED = -100
"""The label that torch's cross-entropy passes over."""
_BLANK_TOKENS = 2
"""The loss is on the next token, so a row has at least two."""


def make_trainer(
    model: Any,  # noqa: ANN401 - untyped library
    tokenizer: Any,  # noqa: ANN401 - as above
    examples: Sequence[Example],
    recipe: Recipe,
    arguments: SFTConfig,
) -> Any:  # noqa: ANN401 - as above
    """The trainer of an adapter on `model`. Raises UsageError if it has not the recipe's layers."""
    together = recipe.batch_size * arguments.world_size
    blanks = -len(examples) % together if arguments.world_size > 1 else 0
    lengths = [one.length for one in examples] + [0] * blanks
    step = together * recipe.accumulate
    try:
        trainer = OrderedTrainer(
            Shuffled(lengths, step, recipe.seed, grouped=recipe.length_grouped),
            model=model,
            args=arguments,
            train_dataset=_dataset(examples, blanks, everything=recipe.loss_on == "everything"),
            processing_class=tokenizer,
            peft_config=LoraConfig(
                r=recipe.rank,
                lora_alpha=recipe.alpha,
                lora_dropout=recipe.dropout,
                target_modules=recipe.targets,
                task_type="CAUSAL_LM",
            ),
        )
    except ValueError as error:
        raise UsageError(
            f"The recipe does not fit the base: {one_line(str(error), 200).rstrip('.')}.",
            "docs/guide/training.md explains the values; `targets` names the base's layers.",
        ) from error
    # trl makes the adapter of a quantized base bf16, in which a small step is no step at all.
    for weight in trainer.model.parameters():
        if weight.requires_grad:
            weight.data = weight.data.float()
    trainer.remove_callback(PrinterCallback)
    return trainer


def arguments_of(recipe: Recipe, numerics: Numerics, checkpoints: Path) -> SFTConfig:
    """The recipe's values by trl's names; checkpoints go into the folder `checkpoints`."""
    arguments = SFTConfig(
        output_dir=str(checkpoints),
        num_train_epochs=recipe.epochs,
        per_device_train_batch_size=recipe.batch_size,
        gradient_accumulation_steps=recipe.accumulate,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type=recipe.schedule,
        warmup_steps=recipe.warmup,  # below 1 it is a share of all steps
        weight_decay=recipe.weight_decay,
        max_grad_norm=recipe.max_grad_norm,
        optim=recipe.optimizer,
        max_length=None,
        padding_free=recipe.packing,
        dataset_kwargs={"skip_prepare_dataset": True},
        gradient_checkpointing=recipe.checkpoint_activations,
        bf16=numerics.bf16,
        use_cpu=not numerics.on_gpu,
        dataloader_pin_memory=numerics.on_gpu,
        logging_steps=recipe.log_every,
        logging_nan_inf_filter=False,
        save_strategy="steps" if recipe.save_every else "epoch",
        save_steps=recipe.save_every or 500,
        save_total_limit=2,
        report_to=prepare_reports(recipe.report_to, checkpoints.parent),
        disable_tqdm=True,
        seed=recipe.seed,
        # Every process uses every weight of the adapter in every step.
        ddp_find_unused_parameters=False,
    )
    # Several GPUs are used by several processes; one process would else be refused beside them.
    arguments._n_gpu = min(arguments.n_gpu, 1)  # noqa: SLF001 - it has no public way
    return arguments


def _dataset(examples: Sequence[Example], blanks: int, *, everything: bool) -> datasets.Dataset:
    rows = [
        {
            "input_ids": one.prompt + one.completion,
            "labels": (one.prompt if everything else [_IGNORED] * len(one.prompt)) + one.completion,
        }
        for one in examples
    ]
    blank = {
        "input_ids": rows[0]["input_ids"][:_BLANK_TOKENS],
        "labels": [_IGNORED] * _BLANK_TOKENS,
    }
    return datasets.Dataset.from_list(rows + [blank] * blanks)
