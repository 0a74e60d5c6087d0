"""A few real steps on the longest rows before a run, thrown away without a trace. Imported late."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from engine.core import memory
from engine.training.base import Numerics
from engine.training.estimate import Estimate, Measured, estimate, expected, no_row_fits
from engine.training.failures import memory_is_out
from engine.training.process_group import any_of
from engine.training.processes import Processes
from engine.training.recipe import Recipe
from engine.training.trainer import OrderedTrainer


def probe(
    trainer: OrderedTrainer, recipe: Recipe, numerics: Numerics, processes: Processes
) -> Estimate:
    """Try 1, 2, 4, … of the longest rows at once, up to the recipe's batch or what will not fit.

    Made by every process. The model, its trainer and all randomness are as before afterwards.
    Raises BalcaoError if not a single row fits.
    """
    rows = _longest(trainer, recipe.batch_size)
    room = _room(numerics, processes)
    measured: list[Measured] = []
    with _unchanged(trainer, recipe):
        steps = _Steps(trainer, numerics)
        # What is set up once does not count.
        if any_of(steps.tried(rows[:1]) is None):
            raise no_row_fits(recipe, nf4=numerics.nf4)
        for count in _counts(len(rows)):
            too_large = measured and room is not None and expected(measured, count) > room
            if any_of(bool(too_large)):
                break
            found = steps.tried(rows[:count])
            failed = any_of(found is None)
            if found is None or failed:
                break
            measured.append(found)
    last = measured[-1]
    if last.rows == len(rows) < recipe.batch_size:
        # There are not even as many rows as a batch would take.
        measured[-1] = Measured(recipe.batch_size, last.tokens, last.seconds, last.held, last.peak)
    batches = _batches(trainer, recipe, processes)
    return estimate(measured, recipe, batches, room, nf4=numerics.nf4)


class _Steps:
    """Steps of an optimizer of its own."""

    def __init__(self, trainer: Any, numerics: Numerics) -> None:  # noqa: ANN401 - untyped library
        self._trainer = trainer
        self._numerics = numerics
        self._optimizer = trainer.create_optimizer()

    def tried(self, rows: Sequence[Any]) -> Measured | None:
        """What a step on `rows` takes; None if memory runs out."""
        try:
            return self.measure(rows)
        except (RuntimeError, MemoryError) as error:
            if not memory_is_out(error):
                raise
        # Out here the step's tensors are gone.
        if self._numerics.on_gpu:
            torch.cuda.empty_cache()
        return None

    def measure(self, rows: Sequence[Any]) -> Measured:
        """What a step on `rows` takes."""
        began = time.perf_counter()
        if self._numerics.on_gpu:
            torch.cuda.reset_peak_memory_stats()
        inputs = self._trainer._prepare_inputs(self._trainer.data_collator(rows))  # noqa: SLF001 - as it does itself
        with self._numerics.autocast():
            # As trl's compute_loss does, but without telling other processes or the metrics.
            found = self._trainer.model(**inputs, use_cache=False, fused_lm_head=True)
        held = memory.used() or 0
        (-found.log_probs.sum() / found.label_mask.sum().clamp(min=1)).backward()
        self._optimizer.step()
        self._optimizer.zero_grad()
        peak = memory.peak()
        if self._numerics.on_gpu:
            torch.cuda.synchronize()
            held, peak = torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()
        seconds = time.perf_counter() - began
        return Measured(len(rows), inputs["input_ids"].numel(), seconds, held, peak)


@contextmanager
def _unchanged(trainer: Any, recipe: Recipe) -> Iterator[None]:  # noqa: ANN401 - untyped library
    """Whatever steps change is put back: weights, gradients, optimizer, mode, randomness."""
    model = trainer.model
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    before = [weight.detach().clone() for weight in trained]
    training, python, numbers = model.training, random.getstate(), np.random.get_state()  # noqa: NPY002 - the trainer's own
    with torch.random.fork_rng([torch.cuda.current_device()] if torch.cuda.is_available() else []):
        model.train()
        if recipe.checkpoint_activations:
            model.activation_checkpointing_enable()
        try:
            yield
        finally:
            if recipe.checkpoint_activations:
                model.activation_checkpointing_disable()
            model.train(training)
            trainer.optimizer = None
            with torch.no_grad():
                for weight, value in zip(trained, before, strict=True):
                    weight.copy_(value)
                    weight.grad = None
            random.setstate(python)
            np.random.set_state(numbers)  # noqa: NPY002 - as above


def _longest(trainer: Any, wanted: int) -> list[Any]:  # noqa: ANN401 - untyped library
    rows = trainer.train_dataset
    lengths = [len(tokens) for tokens in rows["input_ids"]]
    order = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    return [rows[row] for row in order[:wanted]]


def _counts(most: int) -> Iterator[int]:
    """1, 2, 4, … and `most`."""
    count = 1
    while count < most:
        yield count
        count *= 2
    yield most


def _batches(trainer: Any, recipe: Recipe, processes: Processes) -> list[int]:  # noqa: ANN401 - untyped library
    """Tokens, with padding, of an epoch's batches; of those at the same time, the largest's."""
    lengths = trainer.sampler.ordered_lengths()
    size = recipe.batch_size
    batches = [lengths[start : start + size] for start in range(0, len(lengths), size)]
    padded = [max(batch) * len(batch) for batch in batches]
    count = processes.count
    return [max(padded[start : start + count]) for start in range(0, len(padded), count)]


def _room(numerics: Numerics, processes: Processes) -> int | None:
    if numerics.on_gpu:
        return torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved()
    return memory.limit(processes.beside)
