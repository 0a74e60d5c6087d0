"""Estimate a run's memory and time from a few real steps on its longest rows."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from engine.core.errors import BalcaoError
from engine.core.process import memory_limit, peak_memory, used_memory
from engine.core.text import byte_count, duration
from engine.training.processes import Processes
from engine.training.recipe import Recipe, smaller_batch

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from engine.training.trainer import LoraTrainer, Numerics


@dataclass(frozen=True, slots=True)
class MeasuredStep:
    """A step on the `rows` longest rows, with `tokens` in all, padding included.

    `held` is the memory after the forward pass, `peak` the most until the end, both in bytes.
    """

    rows: int
    tokens: int
    seconds: float
    held: int
    peak: int


@dataclass(frozen=True, slots=True)
class RunEstimate:
    """The time and memory of a run: `seconds` in all, `epoch` of them for each epoch.

    `peak` and `limit` are bytes needed and available; `remedy` applies if the run does not fit.
    """

    seconds: float
    epoch: float
    speed: float
    peak: int
    limit: int
    fits: bool
    remedy: str

    def lines(self, *, resumed: bool = False) -> Iterator[str]:
        """Yield the lines of the plan; for a resumed run only the memory is right."""
        yield f"memory    about {byte_count(self.peak)} of {byte_count(self.limit)} available"
        if not resumed:
            yield (
                f"time      about {duration(self.seconds)} ({duration(self.epoch)} per epoch,"
                f" {self.speed:,.0f} tokens/s), plus samples and checkpoints"
            )

    def check(self) -> None:
        """Raise BalcaoError if the run does not fit."""
        if not self.fits:
            raise BalcaoError(
                f"The run does not fit into memory: it needs about {byte_count(self.peak)}, and"
                f" {byte_count(self.limit)} are available.",
                self.remedy,
            )


def estimate_run(
    steps: Sequence[MeasuredStep],
    recipe: Recipe,
    batches: Sequence[int],
    limit: int,
    *,
    nf4: bool = False,
    tokens: int = 0,
) -> RunEstimate:
    """Extrapolate from measured steps, smallest first, to an epoch's padded tokens by batch.

    The speed counts the epoch's `tokens` without padding, as the run does.
    """
    last = steps[-1]
    fixed, per_token = _fit_line(steps)
    epoch = sum(fixed + per_token * tokens for tokens in batches)
    fits = last.rows >= recipe.batch_size
    return RunEstimate(
        seconds=epoch * recipe.epochs,
        epoch=epoch,
        speed=(tokens or sum(batches)) / epoch,
        peak=last.peak if fits else max(expected_peak(steps, recipe.batch_size), limit),
        limit=limit,
        fits=fits,
        remedy=_remedy(last.rows, recipe, nf4=nf4),
    )


def single_row_error(recipe: Recipe, *, nf4: bool) -> BalcaoError:
    """Build the error for a run whose longest row alone does not fit."""
    return BalcaoError(
        "The run does not fit into memory: it runs out with the longest row alone.",
        _remedy(recipe.batch_size, recipe, nf4=nf4),
    )


def expected_peak(steps: Sequence[MeasuredStep], rows: int) -> int:
    """Extrapolate the most bytes that a step on `rows` rows takes."""
    first, last = steps[0], steps[-1]
    if first.rows == last.rows:
        return last.peak
    more = rows - last.rows
    before = steps[-2]
    # A step may reuse memory that the process already had, and the peak may come from loading the
    # base: take the worse of the two.
    held_per_row = max((last.held - first.held) / (last.rows - first.rows), 0.0)
    peak_per_row = (last.peak - before.peak) / (last.rows - before.rows)
    return max(
        last.peak, round(last.held + held_per_row * more), round(last.peak + peak_per_row * more)
    )


def _remedy(rows: int, recipe: Recipe, *, nf4: bool) -> str:
    if rows < recipe.batch_size:
        size, accumulate = smaller_batch(recipe, rows)
        return (
            f"Set `batch_size = {size}` and `accumulate = {accumulate}`: this was tried and fits."
        )
    if not recipe.checkpoint_activations:
        return "Set `checkpoint_activations = true`."
    if not nf4:
        return 'Set `quantization = "nf4"`, or use a smaller base.'
    return "Lower `rank` or `max_length`, or use a smaller base."


def _fit_line(steps: Sequence[MeasuredStep]) -> tuple[float, float]:
    first, last = steps[0], steps[-1]
    if first.tokens == last.tokens:
        return 0.0, last.seconds / last.tokens
    rate = max((last.seconds - first.seconds) / (last.tokens - first.tokens), 0.0)
    return max(last.seconds - rate * last.tokens, 0.0), rate


def probe(
    trainer: LoraTrainer, recipe: Recipe, numerics: Numerics, processes: Processes
) -> RunEstimate:
    """Try 1, 2, 4, … of the longest rows up to the recipe's batch, and restore the trainer.

    Every process of the run calls this. Raise BalcaoError if not even one row fits.
    """
    rows = _longest(trainer, recipe.batch_size)
    limit = _limit(numerics, processes)
    steps: list[MeasuredStep] = []
    with _restored(trainer, recipe):
        measure = partial(_measure_step, trainer, trainer.create_optimizer(), numerics)
        # The first step also sets things up, so its figures do not count.
        if processes.any(_try_step(measure, rows[:1]) is None):
            raise single_row_error(recipe, nf4=numerics.nf4)
        for count in _counts(len(rows)):
            if processes.any(bool(steps) and expected_peak(steps, count) > limit):
                break
            step = _try_step(measure, rows[:count])
            failed = processes.any(step is None)
            if step is None or failed:
                break
            steps.append(step)
        # The first step that takes so much memory is slow, the next is as those of the run.
        again = _try_step(measure, rows[: steps[-1].rows])
        if not processes.any(again is None) and again is not None:
            fastest = min(again.seconds, steps[-1].seconds)
            steps[-1] = replace(steps[-1], seconds=fastest)
    if steps[-1].rows == len(rows):
        # The data may have fewer rows than a batch.
        steps[-1] = replace(steps[-1], rows=recipe.batch_size)
    batches = _batches(trainer, recipe, processes)
    tokens = sum(trainer.sampler.ordered_lengths()) // processes.count
    return estimate_run(steps, recipe, batches, limit, nf4=numerics.nf4, tokens=tokens)


def _try_step(
    measure: Callable[[Sequence[Any]], MeasuredStep], rows: Sequence[Any]
) -> MeasuredStep | None:
    import torch

    from engine.backends.llama.loading import is_out_of_memory

    try:
        return measure(rows)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    # The step's tensors are freed only out here.
    torch.cuda.empty_cache()  # does nothing without a GPU
    return None


def _measure_step(
    trainer: LoraTrainer, optimizer: Optimizer, numerics: Numerics, rows: Sequence[Any]
) -> MeasuredStep:
    import torch

    began = time.perf_counter()
    if numerics.on_gpu:
        torch.cuda.reset_peak_memory_stats()
    inputs = trainer._prepare_inputs(trainer.data_collator(rows))  # noqa: SLF001 - as it does itself
    with numerics.autocast():
        # As trl's compute_loss does, but without metrics and without the other processes.
        found = trainer.model(**inputs, use_cache=False, fused_lm_head=True)
    held = used_memory() or 0
    (-found.log_probs.sum() / found.label_mask.sum().clamp(min=1)).backward()
    optimizer.step()
    optimizer.zero_grad()
    peak = peak_memory()
    if numerics.on_gpu:
        torch.cuda.synchronize()
        held, peak = torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()
    seconds = time.perf_counter() - began
    return MeasuredStep(len(rows), inputs["input_ids"].numel(), seconds, held, peak)


@contextmanager
def _restored(trainer: LoraTrainer, recipe: Recipe) -> Iterator[None]:
    """Restore everything that steps change: weights, gradients, optimizer, mode, random states."""
    import numpy as np
    import torch

    model = trainer.model
    trained = trainer.trained_weights()
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


def _longest(trainer: LoraTrainer, count: int) -> list[Any]:
    rows = trainer.train_dataset
    lengths = [len(tokens) for tokens in rows["input_ids"]]
    order = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    return [rows[row] for row in order[:count]]


def _counts(most: int) -> Iterator[int]:
    count = 1
    while count < most:
        yield count
        count *= 2
    yield most


def _batches(trainer: LoraTrainer, recipe: Recipe, processes: Processes) -> list[int]:
    """Return the padded tokens of an epoch's batches; of simultaneous batches, the largest."""
    lengths = trainer.sampler.ordered_lengths()
    size = recipe.batch_size
    batches = [lengths[start : start + size] for start in range(0, len(lengths), size)]
    padded = [max(batch) * len(batch) for batch in batches]
    count = processes.count
    return [max(padded[start : start + count]) for start in range(0, len(padded), count)]


def _limit(numerics: Numerics, processes: Processes) -> int:
    if not numerics.on_gpu:
        return memory_limit(processes.local_count)
    import torch

    return int(torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved())
