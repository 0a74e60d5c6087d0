"""The order of rows: the same after a resume, and with one process or several. Imported late.

transformers' own sampler for batches of like length draws from the global random state, so that a
run that goes on from a checkpoint sees the rest of its epoch in another order than an undisturbed
one; and accelerate fills the last batches of several processes with rows from the epoch's
beginning, which are then learned twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch  # noqa: TID253 - this module is imported lazily
from torch.utils.data import Sampler  # noqa: TID253 - as above
from transformers.trainer_pt_utils import (  # noqa: TID253 - as above
    get_length_grouped_indices,
)
from trl import SFTTrainer  # noqa: TID253 - as above

from engine.training.failures import StepTooLarge, memory_is_out


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
