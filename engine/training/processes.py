"""Which one of a run's processes this is: all of them compute, the first prints and writes.

`accelerate launch`, torchrun and mpirun tell each process in its environment.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

_INDEX = ("RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK")
_COUNT = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
_LOCAL = (
    "LOCAL_RANK", "MPI_LOCALRANKID", "OMPI_COMM_WORLD_LOCAL_RANK", "MV2_COMM_WORLD_LOCAL_RANK",
)  # fmt: skip
_BESIDE = ("LOCAL_WORLD_SIZE", "MPI_LOCALNRANKS", "OMPI_COMM_WORLD_LOCAL_SIZE")
_SHARDED = "ACCELERATE_USE_FSDP"


@dataclass(frozen=True, slots=True)
class Processes:
    """`index` counts from 0 in the whole run, `local` on this machine, which has `beside` of them.

    `sharded`: the model is spread over the processes (FSDP), none has all of it.
    """

    index: int = 0
    count: int = 1
    local: int = 0
    sharded: bool = False
    beside: int = 1

    @classmethod
    def here(cls, environ: Mapping[str, str] | None = None) -> Self:
        """As the environment tells."""
        values = os.environ if environ is None else environ
        count = _number(values, _COUNT, 1)
        if count == 1:
            return cls()
        sharded = values.get(_SHARDED, "").lower() in ("1", "true")
        index, local = _number(values, _INDEX, 0), _number(values, _LOCAL, 0)
        return cls(index, count, local, sharded, _number(values, _BESIDE, count))

    @property
    def first(self) -> bool:
        """Whether this one prints and writes."""
        return not self.index

    @property
    def first_here(self) -> bool:
        """Whether this one tells what is wrong with the files of its machine."""
        return not self.local


def _number(values: Mapping[str, str], names: tuple[str, ...], otherwise: int) -> int:
    found = (values[name] for name in names if values.get(name, "").isdecimal())
    return int(next(found, otherwise))
