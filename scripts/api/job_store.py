"""The fine-tuning jobs on disk: what clients asked for, and what has become of it.

A job is a folder: job.json, the rows, and the run's folder, called as the engine will be.
"""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from engine.core.files import (
    UNDECODABLE,
    encode_json,
    locked,
    private_folder,
    write_atomic,
    writing,
)
from engine.core.text import one_line
from scripts.api.bodies import ApiError

_ID = re.compile(r"ftjob-[0-9a-f]{24}")
Status = Literal["queued", "running", "succeeded", "failed", "cancelled"]
Auto = Literal["auto"]


class Hyperparameters(Struct, frozen=True, forbid_unknown_fields=True):
    """OpenAI's names for what of the recipe a client may choose."""

    n_epochs: Auto | Annotated[int, Meta(ge=1, le=50)] = "auto"
    batch_size: Auto | Annotated[int, Meta(ge=1, le=256)] = "auto"
    learning_rate_multiplier: Auto | Annotated[float, Meta(gt=0, le=100)] = "auto"


class _Supervised(Struct, frozen=True, forbid_unknown_fields=True):
    hyperparameters: Hyperparameters = Hyperparameters()


class _Method(Struct, frozen=True, forbid_unknown_fields=True):
    type: Literal["supervised"] = "supervised"
    supervised: _Supervised = _Supervised()


Metadata = Annotated[dict[str, Annotated[str, Meta(max_length=512)]], Meta(max_length=16)]


class JobRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a request for a job."""

    model: str
    training_file: str
    validation_file: str | None = None
    hyperparameters: Hyperparameters | None = None
    method: _Method | None = None
    suffix: Annotated[str, Meta(min_length=1, max_length=64)] | None = None
    seed: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None
    metadata: Metadata | None = None
    integrations: Annotated[list[Any], Meta(max_length=0)] | None = None

    def chosen(self) -> Hyperparameters:
        """Return the hyperparameters, wherever the client gives them."""
        if self.method:
            return self.method.supervised.hyperparameters
        return self.hyperparameters or Hyperparameters()


class JobRecord(Struct, frozen=True, kw_only=True):
    """The content of job.json; `process` trains or has trained, `failure` ended the job."""

    id: str
    model: str
    base: str
    """The model as `balcao train --base` knows it."""
    engine: str
    """The id of the engine that the adapter becomes."""
    training_file: str
    validation_file: str | None
    hyperparameters: Hyperparameters
    seed: int
    metadata: dict[str, str] | None
    created_at: int
    started_at: int = 0
    finished_at: int = 0
    process: int = 0
    cancelled: bool = False
    failure: str = ""
    param: str | None = None

    @property
    def status(self) -> Status:
        """OpenAI's word for how far the job is."""
        if self.cancelled:
            return "cancelled"
        if self.failure:
            return "failed"
        if self.finished_at:
            return "succeeded"
        return "running" if self.started_at else "queued"

    @property
    def model_made(self) -> str:
        """The name of the fine-tuned model; its rows ask without a record."""
        return f"{self.engine}:memory"


class JobStore:
    """The jobs in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, record: JobRecord) -> None:
        """Save a job. Raises BalcaoError."""
        target = self.folder / record.id / "job.json"
        with writing(target):
            private_folder(target.parent)
            write_atomic(target, encode_json(record, indent=2), private=True)

    def read(self, job_id: str) -> JobRecord:
        """Return a job. Raises ApiError if there is none."""
        if _ID.fullmatch(job_id):
            with suppress(OSError, *UNDECODABLE):
                data = (self.folder / job_id / "job.json").read_bytes()
                return msgspec.json.decode(data, type=JobRecord)
        raise ApiError(404, f"No such job: {one_line(job_id, 100)}", param="fine_tuning_job_id")

    def change(self, record: JobRecord, **values: Any) -> JobRecord:  # noqa: ANN401 - its fields
        """Write changed values over what another task or server has written; an end is final."""
        self.read(record.id)  # or raise, before a folder is made for the lock
        with locked(self.folder / record.id / ".lock"):
            now = self.read(record.id)
            if now.finished_at:
                values = {name: value for name, value in values.items() if name == "process"}
            changed = replace(now, **values)
            self.write(changed)
        return changed

    def oldest(self) -> list[JobRecord]:
        """Return all jobs, oldest first."""
        found = []
        for folder in self.folder.glob("ftjob-*"):
            with suppress(ApiError):
                found.append(self.read(folder.name))
        return sorted(found, key=lambda one: (one.created_at, one.id))

    def rows(self, record: JobRecord) -> Path:
        """Return the folder of a job's rows."""
        return self.folder / record.id / "rows"

    def adapter(self, record: JobRecord) -> Path:
        """Return the folder of a job's run, where its adapter will be."""
        return self.folder / record.id / record.engine
