"""The record of a fine-tuning job, stored in its data folder so that it can always be resumed.

finetune.json is written before and after each request that must not be repeated. A request that
was begun but has no id yet is looked up on the server before it is sent again.
"""

import re
import uuid
from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import msgspec

from engine.backends.openai.failures import text_of
from engine.core import files
from engine.core.errors import DataError, UsageError
from engine.core.files import UNDECODABLE, Input, encode_json, locked, timestamp, write_atomic
from engine.core.text import clip
from engine.prompts import PROMPT_VERSION

JOB_KIND, JOB_VERSION = "openai-job", 1
JOB_FILE = "finetune.json"
_LOCK = ".finetune.lock"
ENDED = ("succeeded", "failed", "cancelled")
"""The final states of a job."""


class JobSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of a job. None leaves the choice to the server."""

    model: str
    suffix: str = ""
    seed: int | None = None
    epochs: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    """A multiplier of the server's own rate."""
    base_url: str | None = None
    """None for OpenAI."""
    api_key_env: str = "OPENAI_API_KEY"
    """The name of the key, never the key."""
    engine: str = ""
    """The id of the new engine; empty for the first free one."""

    def check(self) -> None:
        """Raise UsageError for values that OpenAI does not allow."""
        if not self.model:
            raise UsageError("The model to fine-tune is missing.", "Set it with --model.")
        _check_range("--epochs", self.epochs, 1, 50)
        _check_range("--batch-size", self.batch_size, 1, 256)
        _check_range("--seed", self.seed, 0, 2**31 - 1)
        if self.learning_rate is not None and not 0 < self.learning_rate < float("inf"):
            raise UsageError("--learning-rate must be above 0.")
        if len(self.suffix) > 64:  # noqa: PLR2004 - OpenAI's limit
            raise UsageError("--suffix must have at most 64 characters.")


def _check_range(flag: str, value: int | None, least: int, most: int) -> None:
    if value is not None and not least <= value <= most:
        raise UsageError(f"{flag} must be {least} to {most}.")


class CurvePoint(msgspec.Struct, frozen=True):
    """A point of the loss curve."""

    step: int
    loss: float
    valid_loss: float | None = None


class JobRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The content of finetune.json, from before the first request until the engine exists."""

    kind: str = JOB_KIND
    version: int = JOB_VERSION
    created: str = msgspec.field(default_factory=timestamp)
    run: str = msgspec.field(default_factory=lambda: uuid.uuid4().hex[:16])
    """Identifies this job on the server, in the names of uploaded files and in its metadata."""
    inputs: list[Input] = []
    counts: dict[str, Any] = {}
    settings: JobSettings
    prompt_version: int = PROMPT_VERSION
    begun: list[str] = []
    """The requests that were sent at least once: file names, and `job`."""
    files: dict[str, str] = {}
    """The server's id of each file, by local name."""
    job: str = ""
    status: str = ""
    model: str = ""
    """The fine-tuned model."""
    trained_tokens: int | None = None
    error: str = ""
    last_event: str = ""
    curve: list[CurvePoint] = []
    engine: str = ""
    """The engine that uses the model."""

    @property
    def ended(self) -> bool:
        """Whether nothing is left to do or to wait for."""
        return self.status in ENDED and (self.status != "succeeded" or bool(self.engine))


def read_job(folder: Path) -> JobRecord | None:
    """Return the job of the data in `folder`, or None. Raise DataError if the file is invalid."""
    file = folder / JOB_FILE
    with files.reading(file):
        try:
            raw = msgspec.json.decode(file.read_bytes(), type=dict[str, Any])
            # Older versions wrote a loss that is not a number as null.
            raw["curve"] = [
                point for point in raw.get("curve", []) if point.get("loss") is not None
            ]
            record = msgspec.convert(raw, JobRecord)
        except FileNotFoundError:
            return None
        except (*UNDECODABLE, TypeError, AttributeError) as error:
            raise DataError(
                f"{file} is invalid: {error}.", "Move it elsewhere to start a new job."
            ) from error
    if record.kind != JOB_KIND or record.version > JOB_VERSION:
        raise DataError(f"{file} belongs to another program or a newer version.")
    # A job whose id cannot be sent is looked up again.
    return record if is_id(record.job) else msgspec.structs.replace(record, job="")


def write_job(folder: Path, record: JobRecord) -> None:
    """Write the record atomically. Raise BalcaoError if that fails."""
    with files.writing(folder / JOB_FILE):
        write_atomic(folder / JOB_FILE, encode_json(record, indent=2), private=True)


def archive_job(folder: Path, record: JobRecord) -> None:
    """Rename the record of an ended job to make room for a new one."""
    (folder / JOB_FILE).replace(folder / f"finetune-{record.run}.json")


def lock_job(folder: Path) -> AbstractContextManager[IO[str]]:
    """Lock the job of `folder`. Raise UsageError if another process has it."""
    busy = UsageError(
        f"Another `balcao finetune` is running in {folder}.", "Wait for it, or stop it."
    )
    return locked(folder / _LOCK, busy=busy)


@dataclass(frozen=True, slots=True)
class JobState:
    """The state of a job on the server. `model` is the fine-tuned one, empty until it exists."""

    id: str
    status: str
    model: str = ""
    trained_tokens: int | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class JobEvent:
    """A message of a job, with a point of the loss curve if it reports one."""

    id: str
    message: str
    point: CurvePoint | None = None
    total_steps: int | None = None


class _Metrics(msgspec.Struct):
    step: int | None = None
    total_steps: int | None = None
    train_loss: float | None = None
    valid_loss: float | None = None


_STEP = re.compile(
    r"step (?P<step>\d{1,15})\b(?:\s*/\s*(?P<total>\d{1,15})\b)?.*?(?:training )?loss\s*=\s*"
    r"(?P<loss>-?\d{1,15}(?:\.\d+)?(?:e-?\d\d?)?)\b",
    re.IGNORECASE,
)


_MOST_WORDS = 2000
"""Characters of a server's text that are stored."""
_ID = re.compile(r"[!-~]{1,256}")


def is_id(value: object) -> bool:
    """Return whether a server's id can be part of an address: visible ASCII."""
    return isinstance(value, str) and bool(_ID.fullmatch(value))


def _words(value: object) -> str:
    return clip(text_of(value), _MOST_WORDS)


def parse_state(raw: Mapping[str, Any]) -> JobState | None:
    """Return the job that a server's JSON object describes, or None if it is not a job."""
    job_id, status = raw.get("id"), _words(raw.get("status"))
    if not is_id(job_id) or not status:
        return None
    tokens = raw.get("trained_tokens")
    error = raw.get("error")
    if isinstance(error, Mapping):
        # OpenAI sends an object full of nulls for a job without an error.
        parts = [text_of(error.get(name)) for name in ("code", "param", "message")]
        error = ": ".join(filter(None, parts))
    return JobState(
        str(job_id),
        status,
        _words(raw.get("fine_tuned_model")),
        tokens if type(tokens) is int else None,  # not a bool
        _words(error),
    )


def parse_event(raw: Mapping[str, Any]) -> JobEvent:
    """Return a server's event; its loss comes from the data, or else from the message."""
    message = _words(raw.get("message"))
    try:
        metrics = msgspec.convert(raw.get("data"), _Metrics)
    except msgspec.ValidationError:
        metrics = _Metrics()
    if found := _STEP.search(message):
        metrics.step = metrics.step or int(found["step"])
        metrics.total_steps = metrics.total_steps or int(found["total"] or 0) or None
        if metrics.train_loss is None:
            metrics.train_loss = float(found["loss"])
    point = None
    if metrics.step is not None and metrics.train_loss is not None:
        point = CurvePoint(metrics.step, metrics.train_loss, metrics.valid_loss)
    event_id = raw.get("id")
    return JobEvent(str(event_id) if is_id(event_id) else "", message, point, metrics.total_steps)


OPTIONAL_FIELDS = frozenset({"method", "suffix", "seed", "metadata"})
"""The fields to leave out for a provider that refuses them."""


def optional_fields(settings: JobSettings, run: str, left_out: Collection[str]) -> dict[str, Any]:
    """Return the optional fields of a request for a job, without those in `left_out`."""
    chosen = {
        "n_epochs": settings.epochs,
        "batch_size": settings.batch_size,
        "learning_rate_multiplier": settings.learning_rate,
    }
    values = {name: value for name, value in chosen.items() if value is not None}
    method: dict[str, Any] = {"type": "supervised"}
    if values:
        method["supervised"] = {"hyperparameters": values}
    fields = {
        "method": method,
        "suffix": settings.suffix or None,
        "seed": settings.seed,
        "metadata": {"balcao_run": run},
        # The older field, which some other providers know instead of `method`.
        "hyperparameters": values if values and "method" in left_out else None,
    }
    return {
        name: value for name, value in fields.items() if value is not None and name not in left_out
    }
