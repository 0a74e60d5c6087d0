"""The order of rows in batches of like length, which a resumed run finds again. Imported late.

transformers' own sampler for this draws from the global random state, so that a run that goes on
from a checkpoint sees the rest of its epoch in another order than an undisturbed one.
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


class ByLength(Sampler[int]):
    """Rows shuffled, but those of a batch of like length; another order in every epoch.

    `lengths` are tokens, `batch` is rows to an optimizer step.
    """

    def __init__(self, lengths: Sequence[int], batch: int, seed: int) -> None:
        self._lengths = list(lengths)
        self._batch = batch
        self._seed = seed
        self._epoch = 0

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        drawn = torch.Generator().manual_seed(self._seed + self._epoch)
        indices: list[int] = get_length_grouped_indices(self._lengths, self._batch, generator=drawn)
        return iter(indices)

    def set_epoch(self, epoch: int) -> None:
        """The trainer tells which epoch begins, after a resume too."""
        self._epoch = epoch


class OrderedTrainer(SFTTrainer):  # type: ignore[misc] # untyped library
    """trl's trainer with that order."""

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:  # noqa: ANN401
        rows = self.train_dataset if train_dataset is None else train_dataset
        batch = self.args.train_batch_size * self.args.gradient_accumulation_steps
        return ByLength([len(tokens) for tokens in rows["input_ids"]], batch, self.args.seed)
