"""What became of the rows of a data set: read, kept, rejected by reason, changed by rule."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Counts:
    """A running tally. `rejected` and `changed` count rows by reason and by cleaning rule.

    `bytes_read` and `bytes_total` are of the source as it lies on disk; the total is 0 where it
    cannot be known (standard input).
    """

    read: int = 0
    kept: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    changed: Counter[str] = field(default_factory=Counter)
    bytes_read: int = 0
    bytes_total: int = 0

    @property
    def fraction(self) -> float | None:
        """How far the reading has come, 0..1."""
        return min(1.0, self.bytes_read / self.bytes_total) if self.bytes_total else None

    def as_dict(self) -> dict[str, Any]:
        """For a manifest."""
        return {
            "read": self.read,
            "kept": self.kept,
            "rejected": dict(sorted(self.rejected.items())),
            "changed": dict(sorted(self.changed.items())),
        }
