"""A training run as it is seen from outside: what `balcao runs` and the chat's Runs screen show.

Reads the small files of its folder alone; cheap enough for once a second.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from engine.core import manifest_part as manifest
from engine.core.errors import DataError, UsageError
from engine.core.i18n import tr
from engine.training.runs import folder as lora_folder
from engine.training.runs import run_list_part as run_list
from engine.training.runs import status as run_status
from engine.training.runs.status import RunStatus, Score

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
    return (folder / lora_folder.RUN).is_file()


def listed() -> list[RunView]:
    """All known runs: those that are alive first, then the latest."""
    views = [look(folder) for folder in run_list.folders() if is_run(folder)]
    return sorted(views, key=lambda view: (view.state != "running", view.age))


def find(named: str) -> Path:
    """The folder of the run with that folder or name. Raises UsageError if there is none."""
    folder = Path(named).expanduser()
    if is_run(folder):
        return folder
    same = [known for known in run_list.folders() if known.name == named and is_run(known)]
    if len(same) == 1:
        return same[0]
    if same:
        raise UsageError(
            tr("{count} runs have the name {named}.").format(count=len(same), named=named),
            tr("Name the folder: {map}.").format(map=", ".join(map(str, same))),
        )
    if folder.exists():
        raise UsageError(
            tr("{named} holds no run.").format(named=named), tr("`balcao runs` lists them.")
        )
    raise UsageError(
        tr("There is no run {named}.").format(named=named), tr("`balcao runs` lists them.")
    )


def look(folder: Path) -> RunView:
    """The run in `folder`, now."""
    status = run_status.read(folder)
    alive = lora_folder.holder(folder) is not None
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
        return lora_folder.is_done(folder)
    except DataError:
        return False


class _Outcome(msgspec.Struct):
    loss: float | None = None
    word_for_word: dict[str, Score] = {}


def _outcome(folder: Path) -> tuple[float | None, dict[str, Score]]:
    try:
        found = msgspec.convert(manifest.read(folder).settings, _Outcome)
    except (DataError, msgspec.ValidationError):
        return None, {}
    return found.loss, found.word_for_word


def _touched(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except OSError:
        return 0.0
