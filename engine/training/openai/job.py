"""What is known of a fine-tuning job, kept beside its data so that it can always be picked up.

`finetune.json` is written before and after everything that must not be done twice: what was begun
and has no id yet is looked for at the server before it is begun again.
"""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import msgspec

from engine.core.errors import BalcaoError, DataError, UsageError
from engine.core.files import Input, timestamp, write_atomic
from engine.prompts import PROMPT_VERSION

if TYPE_CHECKING:
    from openai.types.fine_tuning.job_create_params import Method
    from openai.types.fine_tuning.supervised_hyperparameters_param import (
        SupervisedHyperparametersParam,
    )


ENDED = ("succeeded", "failed", "cancelled")
"""The states that a job does not leave."""

_STEP = re.compile(
    r"step (?P<step>\d+)(?:\s*/\s*(?P<total>\d+))?.*?(?:training )?loss\s*=\s*"
    r"(?P<loss>-?\d+(?:\.\d+)?(?:e-?\d+)?)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class JobState:
    """How a job stands. `model` is the fine-tuned one, empty until it is there."""

    id: str
    status: str
    model: str = ""
    trained_tokens: int | None = None
    error: str = ""

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self.status in ENDED


@dataclass(frozen=True, slots=True)
class JobEvent:
    """One event of a job; step, total and losses where it tells them."""

    id: str
    message: str
    level: str = "info"
    step: int | None = None
    total: int | None = None
    loss: float | None = None
    valid_loss: float | None = None

    @property
    def is_metric(self) -> bool:
        """Whether it is a point of the loss curve."""
        return self.step is not None and self.loss is not None


def job_state(raw: Mapping[str, Any]) -> JobState | None:
    """A job, or None if that is none."""
    job_id, status = _text(raw.get("id")), _text(raw.get("status"))
    if not job_id or not status:
        return None
    model = _text(raw.get("fine_tuned_model"))
    return JobState(job_id, status, model, _whole(raw.get("trained_tokens")), _error(raw))


def job_event(raw: Mapping[str, Any]) -> JobEvent:
    """An event; the loss is read from its data, or else from its words."""
    message = _text(raw.get("message"))
    data = raw.get("data")
    data = data if isinstance(data, Mapping) else {}
    said = _STEP.search(message)
    return JobEvent(
        id=_text(raw.get("id")),
        message=message,
        level=_text(raw.get("level")) or "info",
        step=_whole(data.get("step")) or (int(said["step"]) if said else None),
        total=_whole(data.get("total_steps"))
        or (int(said["total"]) if said and said["total"] else None),
        loss=_number(data.get("train_loss"), said["loss"] if said else None),
        valid_loss=_number(data.get("valid_loss"), None),
    )


def _error(raw: Mapping[str, Any]) -> str:
    """Why a job failed. An object of nothing but nulls, as OpenAI sends it, is no error."""
    error = raw.get("error")
    if not isinstance(error, Mapping):
        return _text(error)
    words = [_text(error.get(name)) for name in ("code", "param", "message")]
    return ": ".join(word for word in words if word)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _number(value: object, said: str | None) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    return float(said) if said else None


JOB_KIND, JOB_VERSION = "openai-job", 1
JOB_FILE = "finetune.json"
_LOCK = ".finetune.lock"


class CurvePoint(msgspec.Struct, frozen=True):
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

    kind: str = JOB_KIND
    version: int = JOB_VERSION
    created: str = msgspec.field(default_factory=timestamp)
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
    curve: list[CurvePoint] = []
    engine: str = ""
    """The engine that answers with the model."""

    @property
    def ended(self) -> bool:
        """Whether there is nothing left to do or to wait for."""
        if self.status == "succeeded":
            return bool(self.engine)
        return self.status in ENDED


def read_job(folder: Path) -> JobRecord | None:
    """The job of the data in `folder`, or None. Raises DataError for what cannot be understood."""
    file = folder / JOB_FILE
    try:
        record = msgspec.json.decode(file.read_bytes(), type=JobRecord)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise DataError(f"{file} cannot be read: {error}.", "Put it away to begin anew.") from error
    if record.kind != JOB_KIND or record.version > JOB_VERSION:
        raise DataError(f"{file} is of another program or version.")
    return record


def write_job(folder: Path, record: JobRecord) -> None:
    """Keep the record, whole or not at all. Raises BalcaoError if the disk says no."""
    text = msgspec.json.format(msgspec.json.encode(record), indent=2)
    try:
        write_atomic(folder / JOB_FILE, text + b"\n")
    except OSError as error:
        raise BalcaoError(
            f"{folder / JOB_FILE} cannot be written: {error.strerror}.",
            "Nothing is sent without it. Make room, or make the folder writable.",
        ) from error


def archive_job(folder: Path, record: JobRecord) -> None:
    """Keep the record of a job that is done with under its run's name."""
    (folder / JOB_FILE).replace(folder / f"finetune-{record.run}.json")


@contextmanager
def lock_job(folder: Path) -> Iterator[None]:
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


DROPPABLE_FIELDS = frozenset({"method", "suffix", "seed", "metadata"})
"""Fields that a job can do without where a provider does not know them."""


class OptionalFields(TypedDict, total=False):
    """The fields by the names of OpenAI's description."""

    method: Method
    hyperparameters: SupervisedHyperparametersParam
    suffix: str
    seed: int
    metadata: dict[str, str]


def optional_fields(settings: JobSettings, run: str, left_out: set[str]) -> OptionalFields:
    """The fields for a job of that run, but for those that the server has refused."""
    fields: OptionalFields = {}
    values = _hyperparameters(settings)
    if "method" not in left_out:
        fields["method"] = {"type": "supervised"}
        if values:
            fields["method"]["supervised"] = {"hyperparameters": values}
    elif values:
        # The older place, which others than OpenAI may know alone.
        fields["hyperparameters"] = values
    if settings.suffix and "suffix" not in left_out:
        fields["suffix"] = settings.suffix
    if settings.seed is not None and "seed" not in left_out:
        fields["seed"] = settings.seed
    if "metadata" not in left_out:
        fields["metadata"] = {"balcao_run": run}
    return fields


def _hyperparameters(settings: JobSettings) -> SupervisedHyperparametersParam:
    values: SupervisedHyperparametersParam = {}
    if settings.epochs is not None:
        values["n_epochs"] = settings.epochs
    if settings.batch_size is not None:
        values["batch_size"] = settings.batch_size
    if settings.learning_rate is not None:
        values["learning_rate_multiplier"] = settings.learning_rate
    return values
