"""Draw the rows about unknown products that an epoch gets from the pool that `prepare` wrote."""

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import msgspec

from engine.catalogue.rows.refusals import REFUSALS, Kind
from engine.core.errors import DataError
from engine.core.files import MANIFEST, UNDECODABLE, read_manifest, reading
from engine.training.openai.plan import TrainingRow


class PoolRow(TrainingRow, frozen=True):
    """A line of refusals.jsonl."""

    kind: Kind
    split: Literal["train", "test"]


@dataclass(frozen=True, slots=True)
class RefusalPool:
    """Rows about unknown products: an epoch draws `per_epoch` of `rows`, the score has `scored`."""

    rows: tuple[PoolRow, ...] = ()
    scored: tuple[PoolRow, ...] = ()
    per_epoch: int = 0

    def for_run(self, epochs: float, seed: int, share: float) -> tuple[list[PoolRow], int]:
        """Choose the rows of a run at random; return them, and how many an epoch draws.

        `share` is the share of the other rows that the run has.
        """
        drawn = round(self.per_epoch * share) if self.rows else 0
        rows = list(self.rows)
        random.Random(f"pool {seed}").shuffle(rows)  # noqa: S311 - rows, not secrets
        return rows[: drawn * math.ceil(epochs)], drawn

    def by_kind(self) -> Iterator[tuple[str, list[PoolRow]]]:
        """Yield the rows for the score, which are in no epoch, by the kind of their titles."""
        for kind in get_args(Kind):
            yield kind, [row for row in self.scored if row.kind == kind]


def drawn_rows(pool: int, drawn: int, epoch: int, seed: int) -> Sequence[int]:
    """Return the places in a pool that an epoch draws: no row again before each had its turn."""
    places: list[int] = []
    for turn in range(epoch * drawn, (epoch + 1) * drawn):
        lap, place = divmod(turn, pool)
        if not places or not place:
            order = list(range(pool))
            random.Random(f"lap {seed} {lap}").shuffle(order)  # noqa: S311 - as above
        places.append(order[place])
    return places


def read_pool(folder: Path) -> RefusalPool:
    """Read the pool in `folder`; empty if there is none. Raise DataError if it is unusable."""
    file = folder / REFUSALS
    if not file.is_file() or not (folder / MANIFEST).is_file():
        return RefusalPool()
    per_epoch = (read_manifest(folder).counts.get("refusals") or {}).get("per_epoch", 0)
    decode = msgspec.json.Decoder(PoolRow).decode
    try:
        with reading(file), file.open("rb") as stream:
            rows = [decode(line) for line in stream]
    except UNDECODABLE as error:
        raise DataError(
            f"{file} is invalid: {error}.", "Write the rows again with `balcao prepare`."
        ) from error
    return RefusalPool(
        tuple(row for row in rows if row.split == "train"),
        tuple(row for row in rows if row.split == "test"),
        per_epoch,
    )
