"""Look at training runs from other processes, for `balcao runs` and the chat's Runs screen.

Reads only the small files of a run's folder, so it may be called every second.
"""

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from engine.config import paths
from engine.core.errors import DataError, UsageError
from engine.core.files import UNDECODABLE, read_manifest
from engine.core.i18n import tr
from engine.core.text import did_you_mean
from engine.training.runs.folder import METRICS_FILE, RUN_FILE, is_done, lock_holder
from engine.training.runs.status import Check, RunStatus, Score, Usage, known_folders, read_status

State = Literal["running", "done", "stopped", "failed", "killed"]


@dataclass(frozen=True, slots=True)
class RunView:
    """The state of a run at one moment.

    `doing` is the phase of a running run, `error` the reason of a failed one. `left` and `age`,
    the time since the last update, are in seconds.
    """

    folder: Path
    state: State
    doing: str
    step: int
    steps: int
    loss: float | None
    word_for_word: dict[str, Score]
    left: float | None
    age: float
    error: str
    check: Check | None = None
    speed: float | None = None
    usage: Usage | None = None

    @property
    def name(self) -> str:
        """The name of the folder."""
        return self.folder.name


def is_run(folder: Path) -> bool:
    """Return whether `balcao train` has started a run in `folder`."""
    return (folder / RUN_FILE).is_file()


def list_runs() -> list[RunView]:
    """Return all known runs: running ones first, then the latest."""
    views = [view_run(folder) for folder in known_folders() if is_run(folder)]
    return sorted(views, key=lambda view: (view.state != "running", view.age))


def find_run(named: str, other: Iterable[str] = ()) -> Path:
    """Return the folder of the run with that folder or name. Raise UsageError if not found.

    The error suggests a run, or one of the `other` words, that is spelled like it.
    """
    folder = paths.expand(named)
    if is_run(folder):
        return folder
    found = [known for known in known_folders() if known.name == named and is_run(known)]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(
            tr("{count} runs are called {named}.", count=len(found), named=named),
            tr("Type the folder: {folders}.", folders=", ".join(map(str, found))),
        )
    if folder.exists():
        message = tr("{named} is not the folder of a run.", named=named)
    else:
        known = (*other, *(one.name for one in known_folders()))
        message = tr("Unknown run {named}.", named=named) + did_you_mean(named, known)
    raise UsageError(message, tr("List the runs: balcao runs."))


def view_run(folder: Path) -> RunView:
    """Return the current state of the run in `folder`."""
    status = read_status(folder) or RunStatus()
    alive = lock_holder(folder) is not None
    loss, scores = status.loss, status.word_for_word
    state: State = "killed"
    if alive:
        state = "running"
    elif result := _result(folder):
        state, loss, scores = "done", result.loss, result.word_for_word
    elif status.phase in ("stopped", "failed"):
        state = "stopped" if status.phase == "stopped" else "failed"
    return RunView(
        folder=folder,
        state=state,
        doing=status.phase if alive else "",
        step=status.step,
        steps=status.steps,
        loss=loss,
        word_for_word=scores,
        left=status.left if alive else None,
        age=max(time.time() - (status.updated or _modified(folder)), 0.0),
        error=status.error,
        check=status.check,
        speed=status.speed if alive else None,
        usage=status.usage if alive else None,
    )


class _Result(msgspec.Struct):
    loss: float | None = None
    word_for_word: dict[str, Score] = {}


def _result(folder: Path) -> _Result | None:
    """Return what the run has reached if it has written its adapter."""
    try:
        return msgspec.convert(read_manifest(folder).settings, _Result) if is_done(folder) else None
    except DataError:
        return None
    except msgspec.ValidationError:
        return _Result()


def _modified(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except OSError:
        return 0.0


class Sample(msgspec.Struct, frozen=True):
    """A question that was asked during training, the model's answer and the right one."""

    question: str
    said: str
    wanted: str
    right: bool
    title: str = ""
    """Empty in the metrics of an older version."""


class _Line(msgspec.Struct, frozen=True):
    step: int
    loss: float | None = None
    samples: dict[str, tuple[Sample, ...]] | None = None
    check: Check | None = None


class MetricsReader:
    """Read metrics.jsonl while the run in the folder `run` writes it.

    `points` has step and loss; `samples` the last sample, by `training`, `held_out` and `unknown`,
    taken at step `sampled_at`; `before` is the last check but one.
    """

    def __init__(self, folder: Path) -> None:
        self.run = folder
        self._file_id = (0, 0)
        self._reset()

    def _reset(self) -> None:
        self._position = 0
        self.points: list[tuple[int, float]] = []
        self.samples: dict[str, tuple[Sample, ...]] = {}
        self.sampled_at = 0
        self.before: Check | None = None
        self._check: Check | None = None

    def refresh(self) -> bool:
        """Read new lines and return whether there were any."""
        try:
            with (self.run / METRICS_FILE).open("rb") as stream:
                stat = os.fstat(stream.fileno())
                # A resumed run replaces the file, without the lines after its checkpoint.
                if (stat.st_ino, stat.st_dev) != self._file_id or stat.st_size < self._position:
                    self._reset()
                    self._file_id = (stat.st_ino, stat.st_dev)
                stream.seek(self._position)
                text = stream.read()
        except OSError:
            return False
        complete = text[: text.rfind(b"\n") + 1]
        self._position += len(complete)
        for line in complete.splitlines():
            self._add(line)
        return bool(complete)

    def _add(self, text: bytes) -> None:
        try:
            line = msgspec.json.decode(text, type=_Line)
        except UNDECODABLE:  # cut short by a full disk
            return
        if line.loss is not None:
            self.points.append((line.step, line.loss))
        if line.samples is not None:
            self.samples, self.sampled_at = line.samples, line.step
        if line.check is not None:
            self.before, self._check = self._check, line.check
