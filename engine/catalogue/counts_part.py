"""What became of the rows of a data set: read, kept, rejected by reason, changed by rule."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Counts:
    """A running tally.

    `rejected` counts rows by reason, `changed` titles and descriptions by the cleaning rule that
    changed them. `bytes_read` and `bytes_total` are of the source as it lies on disk; the total is
    0 where it cannot be known (standard input). `sha256` is of the source, once all of it was read
    in order. `began` is on the clock of `time.monotonic`.
    """

    read: int = 0
    kept: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    changed: Counter[str] = field(default_factory=Counter)
    bytes_read: int = 0
    bytes_total: int = 0
    sha256: str = ""
    began: float = field(default_factory=time.monotonic)

    @property
    def fraction(self) -> float | None:
        """How far the reading has come, 0..1."""
        return min(1.0, self.bytes_read / self.bytes_total) if self.bytes_total else None

    @property
    def rate(self) -> float:
        """Rows read a second."""
        return self.read / max(time.monotonic() - self.began, 1e-3)

    def as_dict(self) -> dict[str, Any]:
        """For a manifest."""
        return {
            "read": self.read,
            "kept": self.kept,
            "rejected": dict(sorted(self.rejected.items())),
            "changed": dict(sorted(self.changed.items())),
        }
