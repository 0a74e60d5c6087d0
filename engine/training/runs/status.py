"""The list of known runs, and each run's status.json for other processes to read.

A run writes its status at most once a second. Whether it is alive follows from its lock alone
(folder.lock_holder): a killed run leaves its last status as it was.
"""

import contextlib
import hashlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from engine.config import paths
from engine.core import files
from engine.core.i18n import tr
from engine.core.text import one_line

STATUS_FILE = "status.json"
_INTERVAL = 1.0
"""Seconds between two writes during training."""
Phase = Literal["starting", "training", "scoring", "stopped", "failed", "done"]


def register_run(out: Path) -> None:
    """List the run in `out`, and drop listed runs whose folders are gone.

    Without a writable state folder the run is not listed, but trains all the same.
    """
    folder = str(out.resolve())
    name = hashlib.sha256(folder.encode(errors="surrogateescape")).hexdigest()[:16]
    with contextlib.suppress(OSError, UnicodeEncodeError):
        files.delete_drafts(out, STATUS_FILE)
        files.private_folder(paths.runs_dir())
        for file in _entry_files():
            known = _read_entry(file)
            if known is None or not known.exists():
                file.unlink(missing_ok=True)
        entry = files.encode_json({"folder": folder})
        files.write_atomic(paths.runs_dir() / f"{name}.json", entry, private=True)


def known_folders() -> list[Path]:
    """Return the existing folders of all listed runs."""
    folders = map(_read_entry, _entry_files())
    return [folder for folder in folders if folder is not None and folder.is_dir()]


def _entry_files() -> list[Path]:
    return sorted(paths.runs_dir().glob("[!.]*.json"))


def _read_entry(file: Path) -> Path | None:
    try:
        return Path(msgspec.json.decode(file.read_bytes(), type=dict[str, str])["folder"])
    except (OSError, KeyError, *files.UNDECODABLE):
        return None


class Score(msgspec.Struct, frozen=True):
    """Count how many of `asked` questions greedy decoding answered word for word."""

    asked: int
    right: int

    @property
    def share(self) -> float:
        """The share of right answers; 0 if nothing was asked."""
        return self.right / self.asked if self.asked else 0.0


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """What a model in training has learned: `learned` rows to know, `refused` unknown products.

    `loss` is the mean over the tokens of these rows, `held_out_loss` over those of held-out rows.
    """

    step: int
    learned: Score
    refused: Score
    loss: float
    held_out_loss: float | None
    all_learned: bool = False
    """Every training row is word for word, and the run ended here."""

    @property
    def rank(self) -> tuple[int, float]:
        """The order of adapters: more right answers first, then a lower loss on the same rows.

        Held-out products do not count: the adapter is to refuse them, not to know them.
        """
        return self.learned.right + self.refused.right, -self.loss

    @property
    def knows_all(self) -> bool:
        """Whether no answer about a product to know was wrong."""
        return self.learned.right == self.learned.asked

    @property
    def complete(self) -> bool:
        """Whether no checked answer was wrong."""
        return self.knows_all and self.refused.right == self.refused.asked


def check_text(check: Check) -> str:
    """Return a check in words: `20 of 24 learned, 11 of 12 refused, held-out loss 2.31`."""
    learned, refused = check.learned, check.refused
    parts = [tr("{right} of {asked} learned", right=learned.right, asked=learned.asked)]
    if refused.asked:
        parts.append(tr("{right} of {asked} refused", right=refused.right, asked=refused.asked))
    if check.held_out_loss is not None:
        parts.append(tr("held-out loss {loss:.2f}", loss=check.held_out_loss))
    return ", ".join(parts)


class RefusalScore(msgspec.Struct, frozen=True):
    """Count the refusals among the answers to `asked` questions, and those that were right.

    `by_program` counts what the program refuses: by its list of taught titles, the probabilities
    or the model's no; `without_list` by the latter two.
    """

    asked: int
    right: int
    refused: int
    by_program: int = 0
    without_list: int = 0


def scores_text(scores: Mapping[str, Score]) -> str:
    """Return scores in words: `2 of 3 training and 0 of 3 held-out titles`."""
    parts = []
    if score := scores.get("training"):
        parts.append(tr("{right} of {asked} training", right=score.right, asked=score.asked))
    if score := scores.get("held_out"):
        parts.append(tr("{right} of {asked} held-out", right=score.right, asked=score.asked))
    return tr("{scores} titles", scores=tr(" and ").join(parts))


class Usage(msgspec.Struct, frozen=True):
    """What a run uses: bytes of memory, and of how many, and cores; no cores on a GPU."""

    memory: int
    limit: int
    cores: int = 0


class RunStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The content of status.json. `left` is in seconds; `updated` is a Unix time."""

    phase: Phase = "starting"
    step: int = 0
    steps: int = 0
    loss: float | None = None
    left: float | None = None
    word_for_word: dict[str, Score] = {}
    """The last sample's scores, by `training`, `held_out` and `unknown`."""
    check: Check | None = None
    speed: float | None = None
    """Tokens a second."""
    usage: Usage | None = None
    error: str = ""
    updated: float = 0.0


def read_status(out: Path) -> RunStatus | None:
    """Return the status of the run in `out`, or None if it is missing or invalid."""
    try:
        return msgspec.json.decode((out / STATUS_FILE).read_bytes(), type=RunStatus)
    except (OSError, *files.UNDECODABLE):
        return None


class StatusFile:
    """Write status.json; only the process that holds the run's lock may do so."""

    def __init__(self, out: Path) -> None:
        self._file = out / STATUS_FILE
        self._status = read_status(out) or RunStatus()
        self._written = 0.0
        self._start = (0.0, 0)

    def enter(self, phase: Phase, error: str = "") -> None:
        """Enter a phase. Raise OSError if the file cannot be written."""
        self._change(phase=phase, error=error, left=None)
        self.write()

    def begin(self, first: int, steps: int) -> None:
        """Enter the training phase at step `first` of `steps`."""
        self._start = (time.monotonic(), first)
        self._change(step=first, steps=steps)
        self.enter("training")

    def step(self, step: int) -> None:
        """Record a finished step; write it unless the last write was a moment ago."""
        now = time.monotonic()
        seconds_per_step = (now - self._start[0]) / max(step - self._start[1], 1)
        self._change(step=step, left=(self._status.steps - step) * seconds_per_step)
        if now - self._written >= _INTERVAL:
            self.write()

    def logged(self, loss: float, speed: float, usage: Usage) -> None:
        """Record the loss of the last step, and what the run does and uses."""
        self._change(loss=loss, speed=speed, usage=usage)

    def sampled(self, scores: dict[str, Score]) -> None:
        """Record the scores of a sample."""
        self._change(word_for_word=scores)
        self.write()

    def checked(self, check: Check) -> None:
        """Record a check."""
        self._change(check=check)
        self.write()

    def write(self) -> None:
        """Replace the file. Without fsync: a status need not survive a power cut."""
        self._written = time.monotonic()
        self._change(updated=time.time())
        draft = self._file.with_name(f".{STATUS_FILE}.{os.getpid()}.draft")
        try:
            draft.write_bytes(files.encode_json(self._status))
            draft.replace(self._file)
        except OSError:
            draft.unlink(missing_ok=True)
            raise

    def end(self, phase: Phase, error: str) -> None:
        """Write the final phase; on a full disk, into the space of the existing file."""
        try:
            self.enter(phase, error)
        except OSError:
            with contextlib.suppress(OSError), self._file.open("r+b") as stream:
                stream.write(files.encode_json(self._status))
                stream.truncate()

    def _change(self, **values: Any) -> None:  # noqa: ANN401 - the struct's own fields
        self._status = msgspec.structs.replace(self._status, **values)


@contextlib.contextmanager
def track_status(out: Path, is_done: Callable[[], bool]) -> Iterator[StatusFile]:
    """List the run and record how it ends: `is_done` separates done from stopped."""
    status = StatusFile(out)
    with files.writing(out):
        status.enter("starting")
        register_run(out)
    phase: Phase = "failed"
    message = ""
    try:
        yield status
        phase = "done" if is_done() else "stopped"
    except KeyboardInterrupt:
        phase = "stopped"
        raise
    except BaseException as error:
        message = one_line(str(error) or type(error).__name__)
        raise
    finally:
        status.end(phase, message)
