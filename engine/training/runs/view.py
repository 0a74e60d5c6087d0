"""A training run as it is seen from outside: what `balcao runs` and the chat's Runs screen show.

Reads the small files of its folder alone; cheap enough for once a second.
"""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from engine.config import engines as engines_file
from engine.config import paths
from engine.core.errors import BalcaoError, DataError, UsageError, why
from engine.core.files import read_manifest
from engine.core.i18n import tr
from engine.training.runs.folder import METRICS_FILE, RUN_FILE, is_done, lock_holder
from engine.training.runs.status import RunStatus, Score, known_folders, read_status


class Sample(msgspec.Struct, frozen=True):
    """A question that a sample has put, what the model said, and what it was to say."""

    question: str
    said: str
    wanted: str
    right: bool


class _Line(msgspec.Struct, frozen=True):
    step: int
    loss: float | None = None
    samples: dict[str, tuple[Sample, ...]] | None = None


class MetricsReader:
    """The losses and the last sample of a run; `run` is its folder.

    `points` are step and loss. `asked` are the last sample's questions, by `training` and
    `held_out`; `asked_at` is its step.
    """

    def __init__(self, folder: Path) -> None:
        self.run = folder
        self._seen = (0, 0)
        self._read = 0
        self.points: list[tuple[int, float]] = []
        self.samples: dict[str, tuple[Sample, ...]] = {}
        self.sampled_at = 0

    def refresh(self) -> bool:
        """Read what was written since; returns whether there was anything."""
        try:
            with (self.run / METRICS_FILE).open("rb") as stream:
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
        self.points, self.samples, self.sampled_at = [], {}, 0

    def _take(self, text: bytes) -> None:
        try:
            line = msgspec.json.decode(text, type=_Line)
        except msgspec.DecodeError:  # a line that a full disk cut short
            return
        if line.loss is not None:
            self.points.append((line.step, line.loss))
        if line.samples is not None:
            self.samples, self.sampled_at = line.samples, line.step


def add_engine(out: Path, wanted: str = "") -> str:
    """Write an engine row for the run in `out`; returns the engine's id.

    `wanted` is the id it gets if that is free; without one it is named after the folder. Raises
    BalcaoError.
    """
    if not is_done(out):
        raise UsageError(
            tr("The run in {out} is not done.", out=out),
            tr("An engine needs the adapter it makes."),
        )
    base = read_manifest(out).settings.get("base")
    if not isinstance(base, str):
        raise UsageError(tr("The manifest in {out} names no base.", out=out))
    # The manifest has its folder's name, since where it lies differs from machine to machine.
    model = paths.DEMO if base == paths.demo_model_dir().name else base
    return engines_file.add_adapter(model, out, wanted)


def stop_run(out: Path) -> None:
    """Ask the run in `out` to save and end; it does after its step. Raises BalcaoError."""
    process = lock_holder(out)
    if process is None:
        raise UsageError(tr("No run is alive in {out}.", out=out), tr("`balcao runs` lists them."))
    if not process:
        raise UsageError(
            tr("The run in {out} is one of another machine.", out=out), tr("Stop it there.")
        )
    try:
        # Not SIGINT, which a shell's `&` has its children ignore.
        os.kill(process, signal.SIGTERM)
    except OSError as error:
        raise BalcaoError(
            tr("Process {process} cannot be stopped: {why}.", process=process, why=why(error))
        ) from error


State = Literal["running", "done", "stopped", "failed", "killed"]


@dataclass(frozen=True, slots=True)
class RunView:
    """A run at one moment; `left` and `age` are seconds, `age` since it last gave a sign of life.

    `doing` tells what a run that is alive is at; `error` why one has failed.
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

    @property
    def name(self) -> str:
        """The folder's own name."""
        return self.folder.name


def is_run(folder: Path) -> bool:
    """Whether `balcao train` has begun a run there."""
    return (folder / RUN_FILE).is_file()


def list_runs() -> list[RunView]:
    """All known runs: those that are alive first, then the latest."""
    views = [view_run(folder) for folder in known_folders() if is_run(folder)]
    return sorted(views, key=lambda view: (view.state != "running", view.age))


def find_run(named: str) -> Path:
    """The folder of the run with that folder or name. Raises UsageError if there is none."""
    folder = Path(named).expanduser()
    if is_run(folder):
        return folder
    same = [known for known in known_folders() if known.name == named and is_run(known)]
    if len(same) == 1:
        return same[0]
    if same:
        raise UsageError(
            tr("{count} runs have the name {named}.", count=len(same), named=named),
            tr("Name the folder: {map}.", map=", ".join(map(str, same))),
        )
    if folder.exists():
        raise UsageError(tr("{named} holds no run.", named=named), tr("`balcao runs` lists them."))
    raise UsageError(tr("There is no run {named}.", named=named), tr("`balcao runs` lists them."))


def view_run(folder: Path) -> RunView:
    """The run in `folder`, now."""
    status = read_status(folder)
    alive = lock_holder(folder) is not None
    state = _state(folder, status, alive=alive)
    status = status or RunStatus()
    loss, scores = status.loss, status.word_for_word
    if state == "done":
        loss, scores = _outcome(folder)
    return RunView(
        folder=folder,
        state=state,
        doing=status.phase if alive else "",
        step=status.step,
        steps=status.steps,
        loss=loss,
        word_for_word=scores,
        left=status.left if alive else None,
        age=max(time.time() - (status.updated or _touched(folder)), 0.0),
        error=status.error,
    )


def _state(folder: Path, status: RunStatus | None, *, alive: bool) -> State:
    if alive:
        return "running"
    if _is_done(folder):
        return "done"
    if status is not None and status.phase in ("stopped", "failed"):
        return "stopped" if status.phase == "stopped" else "failed"
    return "killed"


def _is_done(folder: Path) -> bool:
    try:
        return is_done(folder)
    except DataError:
        return False


class _Outcome(msgspec.Struct):
    loss: float | None = None
    word_for_word: dict[str, Score] = {}


def _outcome(folder: Path) -> tuple[float | None, dict[str, Score]]:
    try:
        found = msgspec.convert(read_manifest(folder).settings, _Outcome)
    except (DataError, msgspec.ValidationError):
        return None, {}
    return found.loss, found.word_for_word


def _touched(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except OSError:
        return 0.0
