"""Find this process among those of a run, and exchange values with the others.

All processes compute; the first one prints and writes. `accelerate launch`, torchrun and mpirun
number them in the environment.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

_INDEX = ("RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK")
_COUNT = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
_LOCAL_INDEX = (
    "LOCAL_RANK", "MPI_LOCALRANKID", "OMPI_COMM_WORLD_LOCAL_RANK", "MV2_COMM_WORLD_LOCAL_RANK",
)  # fmt: skip
_LOCAL_COUNT = ("LOCAL_WORLD_SIZE", "MPI_LOCALNRANKS", "OMPI_COMM_WORLD_LOCAL_SIZE")
_SHARDED = "ACCELERATE_USE_FSDP"


@dataclass(frozen=True, slots=True)
class Processes:
    """Number the processes of a run from 0: `index` in the run, `local_index` on this machine.

    `sharded`: each process has only a part of the model (FSDP).
    """

    index: int = 0
    count: int = 1
    local_index: int = 0
    local_count: int = 1
    sharded: bool = False

    @classmethod
    def here(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Read this process's place from the environment."""
        values = os.environ if environ is None else environ
        count = _number(values, _COUNT, 1)
        if count == 1:
            return cls()
        return cls(
            index=_number(values, _INDEX, 0),
            count=count,
            local_index=_number(values, _LOCAL_INDEX, 0),
            local_count=_number(values, _LOCAL_COUNT, count),
            sharded=values.get(_SHARDED, "").lower() in ("1", "true"),
        )

    @property
    def first(self) -> bool:
        """Whether this process prints and writes."""
        return not self.index

    @property
    def first_on_machine(self) -> bool:
        """Whether this process reports errors that its whole machine has."""
        return not self.local_index

    # Every process must make each of these calls, or the others wait forever.

    def total(self, value: int) -> int:
        """Sum `value` over the processes."""
        if self.count == 1:
            return value
        import torch
        from accelerate import PartialState
        from accelerate.utils import reduce

        return int(reduce(torch.tensor(value, device=PartialState().device), "sum"))

    def any(self, value: bool) -> bool:
        """Return whether `value` is true in any process."""
        return bool(self.total(int(value)))

    def wait(self) -> None:
        """Wait until every process has arrived here."""
        if self.count > 1:
            from accelerate import PartialState

            PartialState().wait_for_everyone()


def _number(values: Mapping[str, str], names: tuple[str, ...], default: int) -> int:
    found = (values[name] for name in names if values.get(name, "").isdecimal())
    return int(next(found, default))
