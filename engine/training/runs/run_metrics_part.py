"""Reads metrics.jsonl of a run, on from where the last reading ended: for a live curve."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from engine.training.runs.folder import METRICS


class Asked(msgspec.Struct, frozen=True):
    """A question that a sample has put, what the model said, and what it was to say."""

    question: str
    said: str
    wanted: str
    right: bool


class _Line(msgspec.Struct, frozen=True):
    step: int
    loss: float | None = None
    samples: dict[str, tuple[Asked, ...]] | None = None


class RunMetrics:
    """The losses and the last sample of a run; `run` is its folder.

    `points` are step and loss. `asked` are the last sample's questions, by `training` and
    `held_out`; `asked_at` is its step.
    """

    def __init__(self, folder: Path) -> None:
        self.run = folder
        self._seen = (0, 0)
        self._read = 0
        self.points: list[tuple[int, float]] = []
        self.asked: dict[str, tuple[Asked, ...]] = {}
        self.asked_at = 0

    def refresh(self) -> bool:
        """Read what was written since; returns whether there was anything."""
        try:
            with (self.run / METRICS).open("rb") as stream:
                seen = os.fstat(stream.fileno())
                # A run that goes on replaces the file: what came after its checkpoint is out.
                if (seen.st_ino, seen.st_dev) != self._seen or seen.st_size < self._read:
                    self._forget()
                    self._seen = (seen.st_ino, seen.st_dev)
                stream.seek(self._read)
                text = stream.read()
        except OSError:
            return False
        whole = text[: text.rfind(b"\n") + 1]
        self._read += len(whole)
        for line in whole.splitlines():
            self._take(line)
        return bool(whole)

    def _forget(self) -> None:
        self._read = 0
        self.points, self.asked, self.asked_at = [], {}, 0

    def _take(self, text: bytes) -> None:
        try:
            line = msgspec.json.decode(text, type=_Line)
        except msgspec.DecodeError:  # a line that a full disk cut short
            return
        if line.loss is not None:
            self.points.append((line.step, line.loss))
        if line.samples is not None:
            self.asked, self.asked_at = line.samples, line.step
