"""Fine-tuning jobs by OpenAI's calls, as `balcao train` processes, one at a time.

A job is a folder: job.json, the rows, and the run's folder `adapter`. The training is a process of
its own, so it goes on when the server is killed; the next server follows it.
"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from math import ceil
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import psutil
from msgspec import Meta, Struct
from msgspec.structs import replace

from engine.backends.registry import Registry
from engine.core.errors import BalcaoError, DataError
from engine.core.files import (
    UNDECODABLE,
    encode_json,
    private_folder,
    read_manifest,
    write_atomic,
    writing,
)
from engine.core.text import one_line
from engine.prompts import SYSTEM
from engine.training.data import check_packages
from engine.training.openai.plan import (
    TRAIN,
    VALID,
    RowMessage,
    TokenCounter,
    TrainingRow,
    check_file,
)
from engine.training.recipe import read_recipe
from engine.training.runs.control import add_engine, start_detached, stop_run
from engine.training.runs.folder import LOG_FILE, is_done, lock_holder
from engine.training.runs.view import MetricsReader, RunView, is_run, view_run
from scripts.api.bodies import ApiError, Body
from scripts.api.files import FileStore
from scripts.train import RECIPES

RECIPE = RECIPES / "exact.toml"
_POLL = 0.5
"""Seconds between two looks at a run."""
_LEAST_ROWS = 10
"""OpenAI's minimum."""
_AUTO_ROWS, _AUTO_EPOCHS = 600, (3, 50)
"""By default each row is learned so often that about so many pass; and the limits of that."""
_ID = re.compile(r"ftjob-[0-9a-f]{24}")
_NO_NAME = re.compile(r"[^a-z0-9]+")
_MAX_SUFFIX = 24
_ENDED = ("succeeded", "failed", "cancelled")

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


class Jobs:
    """The jobs in one folder, and the task that runs them in turn."""

    def __init__(self, folder: Path, files: FileStore, registry: Registry) -> None:
        self._folder = folder
        self._files = files
        self._registry = registry
        self._came = asyncio.Event()

    async def create(self, request: JobRequest) -> Body:
        """Queue a job. Raises ApiError or BalcaoError."""
        base = self._base_of(request.model)
        for name in filter(None, (request.training_file, request.validation_file)):
            self._files.get(name)
        chosen = request.chosen()
        await asyncio.to_thread(lambda: check_packages(read_recipe(RECIPE, _changes(chosen))))
        number = secrets.token_hex(12)
        suffix = _NO_NAME.sub("-", (request.suffix or "").lower()).strip("-")[:_MAX_SUFFIX]
        record = JobRecord(
            id=f"ftjob-{number}",
            model=request.model,
            base=base,
            engine="-".join(filter(None, ("ft", suffix, number[:6]))),
            training_file=request.training_file,
            validation_file=request.validation_file,
            hyperparameters=chosen,
            seed=secrets.randbelow(2**31) if request.seed is None else request.seed,
            metadata=request.metadata,
            created_at=int(time.time()),
        )
        await asyncio.to_thread(self._write, record)
        self._came.set()
        return self._job(record)

    def _base_of(self, model: str) -> str:
        """Return the local model that the client calls `model`. Raises ApiError."""
        for engine_id in self._registry.ids:
            local = self._registry.get(engine_id).config.local_model()
            if local and local[1] is None and model in (engine_id, local[0]):
                return local[0]
        message = f"The model “{one_line(model, 100)}” cannot be fine-tuned here. Try “base”."
        raise ApiError(404, message, code="model_not_found", param="model")

    def get(self, job_id: str) -> Body:
        """Return a job in OpenAI's form. Raises ApiError if there is none."""
        return self._job(self._read(job_id))

    def newest(self) -> list[Body]:
        """Return all jobs, newest first."""
        return [self._job(record) for record in reversed(self._records())]

    def events(self, job_id: str) -> list[Body]:
        """Return what happened to a job, newest first. Raises ApiError if there is none."""
        record = self._read(job_id)
        events = [_event(record, number, *told) for number, told in enumerate(self._story(record))]
        return events[::-1]

    def checkpoints(self, job_id: str) -> list[Body]:
        """Return the models of a job: the last one. Raises ApiError if there is no such job."""
        record = self._read(job_id)
        if self._status(record) != "succeeded":
            return []
        view = view_run(self._adapter(record))
        return [
            {
                "id": record.id.replace("ftjob", "ftckpt"),
                "object": "fine_tuning.job.checkpoint",
                "created_at": record.finished_at,
                "fine_tuned_model_checkpoint": _model_name(record),
                "fine_tuning_job_id": record.id,
                "step_number": view.steps,
                "metrics": {"step": view.steps}
                | ({"train_loss": view.loss} if view.loss is not None else {}),
            }
        ]

    async def cancel(self, job_id: str) -> Body:
        """Stop a job after its current step. Raises ApiError if it has ended."""
        record = self._read(job_id)
        if self._status(record) in _ENDED:
            raise ApiError(400, "The job has ended already.", code="invalid_value")
        record = await asyncio.to_thread(
            self._change, record, cancelled=True, finished_at=int(time.time())
        )
        await asyncio.to_thread(self._stop, record)
        return self._job(record)

    def _stop(self, record: JobRecord) -> None:
        adapter = self._adapter(record)
        with suppress(BalcaoError):
            if lock_holder(adapter) is not None:
                stop_run(adapter)
            elif _is_training(record, adapter):
                os.kill(record.process, signal.SIGTERM)

    async def work(self) -> None:
        """Run the queued jobs one after the other, for ever."""
        while True:
            self._came.clear()
            waiting = await asyncio.to_thread(self._unfinished)
            if waiting:
                await self._run(waiting)
            else:
                await self._came.wait()

    def _unfinished(self) -> JobRecord | None:
        return next((record for record in self._records() if not record.finished_at), None)

    async def _run(self, record: JobRecord) -> None:
        adapter = self._adapter(record)
        try:
            if not await asyncio.to_thread(_has_begun, record, adapter):
                await asyncio.to_thread(self._prepare, record)
                process = await asyncio.to_thread(self._start, record)
                record = await asyncio.to_thread(
                    self._change, record, process=process, started_at=int(time.time())
                )
            while await asyncio.to_thread(_is_training, record, adapter):  # noqa: ASYNC110
                await asyncio.sleep(_POLL)
            await asyncio.to_thread(self._end, record)
        except BalcaoError as error:
            param = "training_file" if isinstance(error, DataError) else None
            await asyncio.to_thread(self._fail, record, str(error), param)

    def _prepare(self, record: JobRecord) -> None:
        """Write the rows of a job. Raises DataError if its files are unusable."""
        names = {TRAIN: record.training_file, VALID: record.validation_file}
        for name, file_id in names.items():
            if file_id:
                least = _LEAST_ROWS if name == TRAIN else 1
                _write_rows(self._files.path(file_id), self._rows(record) / name, least)

    def _start(self, record: JobRecord) -> int:
        rows, adapter = self._rows(record), self._adapter(record)
        with (rows / TRAIN).open("rb") as stream:
            count = sum(1 for _ in stream)
        changes = [*_changes(record.hyperparameters, count), f"seed={record.seed}"]
        arguments = ["--data", str(rows), "--base", record.base, "--out", str(adapter)]
        arguments += ["--recipe", str(RECIPE)]
        for change in changes:
            arguments += ["--set", change]
        process = start_detached(arguments, adapter)
        # It outlives the server; without a wait it would stay as a zombie.
        threading.Thread(target=process.wait, daemon=True).start()
        return process.pid

    def _end(self, record: JobRecord) -> None:
        """Note how the training ended, and make the adapter an engine."""
        adapter = self._adapter(record)
        if is_done(adapter):
            add_engine(adapter, record.engine)
            self._change(record, finished_at=int(time.time()))
            return
        view = view_run(adapter) if is_run(adapter) else None
        if view and view.state == "stopped":
            self._change(record, cancelled=True, finished_at=int(time.time()))
            return
        self._fail(record, (view.error if view else "") or _last_words(adapter), None)

    def _fail(self, record: JobRecord, failure: str, param: str | None) -> None:
        self._change(record, failure=failure, param=param, finished_at=int(time.time()))

    def _change(self, record: JobRecord, **values: Any) -> JobRecord:  # noqa: ANN401 - its fields
        """Write changed values over what another task has written; an end is final."""
        now = self._read(record.id)
        if now.finished_at:
            values = {name: value for name, value in values.items() if name == "process"}
        changed = replace(now, **values)
        self._write(changed)
        return changed

    def _write(self, record: JobRecord) -> None:
        target = self._folder / record.id / "job.json"
        with writing(target):
            private_folder(target.parent)
            write_atomic(target, encode_json(record, indent=2), private=True)

    def _read(self, job_id: str) -> JobRecord:
        if _ID.fullmatch(job_id):
            with suppress(OSError, *UNDECODABLE):
                data = (self._folder / job_id / "job.json").read_bytes()
                return msgspec.json.decode(data, type=JobRecord)
        raise ApiError(404, f"No such job: {one_line(job_id, 100)}", param="fine_tuning_job_id")

    def _records(self) -> list[JobRecord]:
        """Return all jobs, oldest first."""
        found = []
        for folder in self._folder.glob("ftjob-*"):
            with suppress(ApiError):
                found.append(self._read(folder.name))
        return sorted(found, key=lambda one: (one.created_at, one.id))

    def _rows(self, record: JobRecord) -> Path:
        return self._folder / record.id / "rows"

    def _adapter(self, record: JobRecord) -> Path:
        return self._folder / record.id / "adapter"

    def _status(self, record: JobRecord) -> str:
        if record.cancelled:
            return "cancelled"
        if record.failure:
            return "failed"
        if record.finished_at:
            return "succeeded"
        return "running" if record.started_at else "queued"

    def _view(self, record: JobRecord) -> RunView | None:
        adapter = self._adapter(record)
        return view_run(adapter) if is_run(adapter) else None

    def _job(self, record: JobRecord) -> Body:
        status, view = self._status(record), self._view(record)
        left = view.left if view and status == "running" else None
        error = {"code": "invalid_training_file" if record.param else "training_failed"}
        chosen = msgspec.to_builtins(record.hyperparameters)
        return {
            "id": record.id,
            "object": "fine_tuning.job",
            "created_at": record.created_at,
            "error": error | {"message": record.failure, "param": record.param}
            if status == "failed"
            else None,
            "fine_tuned_model": _model_name(record) if status == "succeeded" else None,
            "finished_at": record.finished_at or None,
            "estimated_finish": None if left is None else int(time.time() + left),
            "hyperparameters": chosen,
            "method": {"type": "supervised", "supervised": {"hyperparameters": chosen}},
            "model": record.model,
            "organization_id": "balcao",
            "result_files": [],
            "seed": record.seed,
            "status": status,
            "trained_tokens": _trained_tokens(self._adapter(record))
            if status == "succeeded"
            else None,
            "training_file": record.training_file,
            "validation_file": record.validation_file,
            "integrations": [],
            "metadata": record.metadata,
        }

    def _story(self, record: JobRecord) -> Iterator[tuple[int, str, str, Body]]:
        """Yield the time, level, message and metrics of each event, oldest first."""
        yield record.created_at, "info", f"Created fine-tuning job: {record.id}", {}
        if record.started_at:
            yield record.started_at, "info", "Fine-tuning job started", {}
            reader = MetricsReader(self._adapter(record))
            reader.refresh()
            view = self._view(record)
            steps = view.steps if view else 0
            for step, loss in reader.points:
                message = f"Step {step}/{steps}: training loss={loss:.4f}"
                metrics = {"step": step, "total_steps": steps, "train_loss": loss}
                yield record.started_at, "info", message, metrics
        match self._status(record):
            case "succeeded":
                made = f"New fine-tuned model created: {_model_name(record)}"
                yield record.finished_at, "info", made, {}
                yield record.finished_at, "info", "The job has successfully completed", {}
            case "failed":
                yield record.finished_at, "error", record.failure, {}
            case "cancelled":
                yield record.finished_at, "info", "The job has been cancelled", {}


def _event(
    record: JobRecord, number: int, when: int, level: str, message: str, metrics: Body
) -> Body:
    return {
        "id": f"ftevent-{record.id.removeprefix('ftjob-')}-{number}",
        "object": "fine_tuning.job.event",
        "created_at": when,
        "level": level,
        "message": message,
        "type": "metrics" if metrics else "message",
        "data": metrics,
    }


def _model_name(record: JobRecord) -> str:
    # The rows ask without a record.
    return f"{record.engine}:memory"


def _changes(chosen: Hyperparameters, rows: int = _LEAST_ROWS) -> list[str]:
    """Return the recipe's values that a job changes."""
    least, most = _AUTO_EPOCHS
    auto = min(max(ceil(_AUTO_ROWS / rows), least), most)
    changes = [f"epochs={auto if chosen.n_epochs == 'auto' else chosen.n_epochs}"]
    if chosen.batch_size != "auto":
        changes.append(f"batch_size={chosen.batch_size}")
    if chosen.learning_rate_multiplier != "auto":
        rate = read_recipe(RECIPE, []).learning_rate * float(chosen.learning_rate_multiplier)
        changes.append(f"learning_rate={rate}")
    return changes


def _write_rows(source: Path, target: Path, least: int) -> None:
    """Write a file's rows, with the chat's system prompt where a row has none."""
    checked = check_file(source, TokenCounter(lambda _: 0, exact=False), 2**62, least)
    if checked.problems:
        more = f"; and {checked.hidden:,} more" if checked.hidden else ""
        raise DataError(f"The file has problems: {'; '.join(checked.problems)}{more}.")
    decode = msgspec.json.Decoder(TrainingRow).decode
    private_folder(target.parent)
    with writing(target), source.open("rb") as lines, target.open("wb") as stream:
        for line in lines:
            if line.strip():
                stream.write(msgspec.json.encode(_with_system(decode(line))) + b"\n")


def _with_system(row: TrainingRow) -> TrainingRow:
    if row.messages[0].role == "system":
        return row
    return TrainingRow((RowMessage("system", SYSTEM), *row.messages))


def _has_begun(record: JobRecord, adapter: Path) -> bool:
    return is_run(adapter) or _is_training(record, adapter)


def _is_training(record: JobRecord, adapter: Path) -> bool:
    """Report whether a process trains in `adapter`, also one that an earlier server started."""
    if lock_holder(adapter) is not None:
        return True
    with suppress(psutil.Error):
        return bool(record.process) and str(adapter) in psutil.Process(record.process).cmdline()
    return False


def _last_words(adapter: Path) -> str:
    """Return the end of the log of a training that failed before its first step."""
    with suppress(OSError):
        lines = (adapter / LOG_FILE).read_text(encoding="utf-8", errors="replace").splitlines()
        told = [line for line in lines if line.strip()]
        return one_line(told[-1], 500) if told else "The training was killed."
    return "The training did not start."


def _trained_tokens(adapter: Path) -> int | None:
    with suppress(BalcaoError):
        made = read_manifest(adapter)
        epochs = made.settings.get("recipe", {}).get("epochs", 0)
        return int(made.counts.get("tokens", 0) * epochs)
    return None
