"""What is known of a fine-tuning job, kept beside its data so that it can always be picked up.

`finetune.json` is written before and after everything that must not be done twice: what was begun
and has no id yet is looked for at the server before it is begun again.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from engine.core.errors import BalcaoError, DataError, UsageError
from engine.core.manifest_part import Input, now, write_whole
from engine.prompts import PROMPT_VERSION
from engine.training.openai.openai_replies_part import ENDED

KIND, VERSION = "openai-job", 1
NAME = "finetune.json"
_LOCK = ".finetune.lock"


class Point(msgspec.Struct, frozen=True):
    """A point of the loss curve."""

    step: int
    loss: float
    valid_loss: float | None = None


class JobSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a job is asked for. None leaves the choice to the server."""

    model: str
    suffix: str = ""
    seed: int | None = None
    epochs: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    """A multiplier of the server's own rate."""
    base_url: str | None = None
    """None: OpenAI's own address."""
    api_key_env: str = "OPENAI_API_KEY"
    """The key's name, never the key."""
    engine: str = ""
    """The engine's id that the model shall have; empty: the first that is free."""

    def check(self) -> None:
        """Raises UsageError for what OpenAI's description does not allow."""
        if not self.model:
            raise UsageError("There is no model to tune.", "Name one: --model.")
        _check_range("--epochs", self.epochs, 1, 50)
        _check_range("--batch-size", self.batch_size, 1, 256)
        _check_range("--seed", self.seed, 0, 2**31 - 1)
        if self.learning_rate is not None and not 0 < self.learning_rate < float("inf"):
            raise UsageError("--learning-rate must be above 0.")
        if len(self.suffix) > 64:  # noqa: PLR2004 - OpenAI's description says so
            raise UsageError("--suffix has at most 64 characters.")


class JobRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One job, from before anything was sent until its model is an engine."""

    kind: str = KIND
    version: int = VERSION
    created: str = msgspec.field(default_factory=now)
    run: str = msgspec.field(default_factory=lambda: uuid.uuid4().hex[:16])
    """Names this job at the server: in the uploaded files' names and in the job's metadata."""
    inputs: list[Input] = []
    counts: dict[str, Any] = {}
    settings: JobSettings
    prompt_version: int = PROMPT_VERSION
    begun: list[str] = []
    """What was sent at least once: the names of the files, and `job`."""
    files: dict[str, str] = {}
    """The server's id of each file, by its name here."""
    job: str = ""
    status: str = ""
    model: str = ""
    """The fine-tuned model."""
    trained_tokens: int | None = None
    error: str = ""
    last_event: str = ""
    curve: list[Point] = []
    engine: str = ""
    """The engine that answers with the model."""

    @property
    def ended(self) -> bool:
        """Whether there is nothing left to do or to wait for."""
        if self.status == "succeeded":
            return bool(self.engine)
        return self.status in ENDED


def read(folder: Path) -> JobRecord | None:
    """The job of the data in `folder`, or None. Raises DataError for what cannot be understood."""
    file = folder / NAME
    try:
        record = msgspec.json.decode(file.read_bytes(), type=JobRecord)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise DataError(f"{file} cannot be read: {error}.", "Put it away to begin anew.") from error
    if record.kind != KIND or record.version > VERSION:
        raise DataError(f"{file} is of another program or version.")
    return record


def write(folder: Path, record: JobRecord) -> None:
    """Keep the record, whole or not at all. Raises BalcaoError if the disk says no."""
    text = msgspec.json.format(msgspec.json.encode(record), indent=2)
    try:
        write_whole(folder / NAME, text + b"\n")
    except OSError as error:
        raise BalcaoError(
            f"{folder / NAME} cannot be written: {error.strerror}.",
            "Nothing is sent without it. Make room, or make the folder writable.",
        ) from error


def put_away(folder: Path, record: JobRecord) -> None:
    """Keep the record of a job that is done with under its run's name."""
    (folder / NAME).replace(folder / f"finetune-{record.run}.json")


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Raises UsageError if another process is at work on the job of this folder."""
    try:
        handle = (folder / _LOCK).open("w")
    except OSError as error:
        raise BalcaoError(
            f"{folder} cannot be written: {error.strerror}.", "Make the folder writable."
        ) from error
    with handle:
        release = _lock(handle.fileno())
        if release is None:
            raise UsageError(
                f"Another `balcao finetune` is at work in {folder}.", "Let it end, or stop it."
            )
        try:
            yield
        finally:
            release()


def _lock(handle: int) -> Callable[[], None] | None:
    try:
        import fcntl
    except ImportError:  # Windows: there two at once are not held apart.
        return lambda: None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return None
    return lambda: fcntl.flock(handle, fcntl.LOCK_UN)


def _check_range(flag: str, value: int | None, least: int, most: int) -> None:
    if value is not None and not least <= value <= most:
        raise UsageError(f"{flag} must be {least} to {most}.")


def upload_name(record: JobRecord, file: str) -> str:
    """What an uploaded file is called at the server: it tells whose it is."""
    stem = os.path.splitext(file)[0]  # noqa: PTH122 - a name, not a path
    return f"balcao-{record.run}-{stem}.jsonl"
