"""What the processes of a run tell one another. Every call is made by all of them. Imported late.

With a single process each of these is its own answer.
"""

from __future__ import annotations

import torch
from accelerate import PartialState
from accelerate.utils import reduce


def any_of(here: bool) -> bool:
    """Whether it is so in any process."""
    return bool(total(int(here)))


def total(here: int) -> int:
    """The sum over the processes."""
    state = PartialState()
    if state.num_processes == 1:
        return here
    return int(reduce(torch.tensor(here, device=state.device), "sum"))


def wait_for_all() -> None:
    """Until every process has come here."""
    PartialState().wait_for_everyone()
