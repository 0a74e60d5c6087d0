"""status.json in a run's folder: how far the run is, for whoever looks at it from outside.

Written by the run itself, at most once a second while it trains. That a run is alive is told by its
lock (lora_folder.holder), never by this file, which a killed run leaves behind as it was.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from engine.config import paths
from engine.core.errors import BalcaoError, why
from engine.core.files import write_atomic
from engine.core.i18n import tr
from engine.core.text import one_line


class _Entry(msgspec.Struct, frozen=True):
    folder: str


def register_run(out: Path) -> None:
    """Note the run in the folder `out`; forget those whose folders are gone.

    A state folder that cannot be written hides the run from the list and harms it no further.
    """
    folder = str(out.resolve())
    name = hashlib.sha256(folder.encode(errors="surrogateescape")).hexdigest()[:16]
    with contextlib.suppress(OSError):
        paths.runs_dir().mkdir(parents=True, exist_ok=True)
        _forget()
        entry = msgspec.json.encode(_Entry(folder))
        write_atomic(paths.runs_dir() / f"{name}.json", entry)


def known_folders() -> list[Path]:
    """The folders of the runs that were noted and are still there."""
    return [folder for folder in map(_read, _files()) if folder is not None and folder.is_dir()]


def _files() -> list[Path]:
    return sorted(paths.runs_dir().glob("[!.]*.json"))


def _forget() -> None:
    for file in _files():
        folder = _read(file)
        if folder is None or not folder.exists():
            file.unlink(missing_ok=True)


def _read(file: Path) -> Path | None:
    try:
        return Path(msgspec.json.decode(file.read_bytes(), type=_Entry).folder)
    except (OSError, msgspec.DecodeError):
        return None


STATUS_FILE = "status.json"
_EVERY = 1.0
"""Seconds between two writings while it trains."""
Phase = Literal["starting", "training", "scoring", "stopped", "failed", "done"]


class Score(msgspec.Struct, frozen=True):
    """Of `asked` questions, how many were answered word for word by greedy decoding."""

    asked: int
    right: int


def scores_text(scores: Mapping[str, Score]) -> str:
    """`2 of 3 training and 0 of 3 held-out titles`."""
    track_status = {
        "training": tr("{right} of {asked} training"),
        "held_out": tr("{right} of {asked} held-out"),
    }
    parts = (
        track_status[name].format(right=one.right, asked=one.asked)
        for name, one in scores.items()
        if name in track_status
    )
    return tr("{scores} titles", scores=tr(" and ").join(parts))


class RunStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Where a run stands; `left` and `updated` are seconds, the latter since 1970."""

    phase: Phase = "starting"
    step: int = 0
    steps: int = 0
    loss: float | None = None
    left: float | None = None
    word_for_word: dict[str, Score] = {}
    """The last sample's scores: `training` and `held_out`."""
    error: str = ""
    updated: float = 0.0


def read_status(out: Path) -> RunStatus | None:
    """The status in the folder `out`, or None if there is none that can be understood."""
    try:
        return msgspec.json.decode((out / STATUS_FILE).read_bytes(), type=RunStatus)
    except (OSError, msgspec.DecodeError):
        return None


class StatusFile:
    """Keeps status.json; made by the one process that holds the folder."""

    def __init__(self, out: Path) -> None:
        self._file = out / STATUS_FILE
        self._status = read_status(out) or RunStatus()
        self._written = 0.0
        self._began = (0.0, 0)

    def enter(self, phase: Phase, error: str = "") -> None:
        """Another phase begins. Raises OSError if the disk says no."""
        self._change(phase=phase, error=error, left=None)
        self.write()

    def begin(self, first: int, steps: int) -> None:
        """Training begins at step `first` of `steps`."""
        self._began = (time.monotonic(), first)
        self._change(step=first, steps=steps)
        self.enter("training")

    def step(self, step: int) -> None:
        """A step is done; written if the last writing was a moment ago."""
        now = time.monotonic()
        ahead = self._status.steps - step
        speed = (now - self._began[0]) / max(step - self._began[1], 1)
        self._change(step=step, left=ahead * speed)
        if now - self._written >= _EVERY:
            self.write()

    def logged(self, loss: float) -> None:
        """The loss of the last step."""
        self._change(loss=loss)

    def sampled(self, scores: dict[str, Score]) -> None:
        """What a sample gave."""
        self._change(word_for_word=scores)
        self.write()

    def write(self) -> None:
        """Put it on disk: whole, though not proof against a power cut, which it need not be."""
        self._written = time.monotonic()
        self._change(updated=time.time())
        draft = self._file.with_name(f".{STATUS_FILE}.{os.getpid()}.draft")
        try:
            draft.write_bytes(msgspec.json.encode(self._status))
            draft.replace(self._file)
        except OSError:
            draft.unlink(missing_ok=True)
            raise

    def end(self, phase: Phase, error: str) -> None:
        """The last word, for which a full disk leaves no room but that of the file itself."""
        try:
            self.enter(phase, error)
        except OSError:
            with contextlib.suppress(OSError), self._file.open("r+b") as stream:
                stream.write(msgspec.json.encode(self._status))
                stream.truncate()

    def _change(self, **values: Any) -> None:  # noqa: ANN401 - the struct's own fields
        self._status = msgspec.structs.replace(self._status, **values)


@contextlib.contextmanager
def track_status(out: Path, done: Callable[[], bool]) -> Iterator[StatusFile]:
    """List the run, and say at the end how it ended. `done` is asked when no error ended it.

    Raises BalcaoError if the disk says no.
    """
    status = StatusFile(out)
    try:
        status.enter("starting")
        register_run(out)
    except OSError as error:
        raise BalcaoError(
            tr("{out} cannot be written: {why}.", out=out, why=why(error)),
            tr("Make room, or name another folder."),
        ) from error
    phase: Phase = "failed"
    words = ""
    try:
        yield status
        phase = "done" if done() else "stopped"
    except KeyboardInterrupt:
        phase = "stopped"
        raise
    except BaseException as error:
        words = one_line(str(error) or type(error).__name__)
        raise
    finally:
        status.end(phase, words)
