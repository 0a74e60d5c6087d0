"""Fine-tuning jobs by OpenAI's calls, as `balcao train` processes, one at a time.

A training is a separate process, so it goes on when the server is killed; the next server
follows it. Of several servers with the same folder, one at a time runs the jobs.
"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import shutil
import signal
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from math import ceil
from pathlib import Path

import msgspec
import psutil

from engine.backends.registry import Registry
from engine.core.errors import BalcaoError, DataError
from engine.core.files import lock, private_folder, writing
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
from engine.training.runs.folder import LOG_FILE, is_done, last_checkpoint, lock_holder
from engine.training.runs.view import is_run, view_run
from scripts.api.bodies import ApiError, Body
from scripts.api.files import FileStore
from scripts.api.job_bodies import checkpoint_bodies, event_bodies, job_body
from scripts.api.job_store import Hyperparameters, JobRecord, JobRequest, JobStore
from scripts.train import RECIPES

RECIPE = RECIPES / "exact.toml"
_POLL = 0.5
"""Seconds between two looks at a run."""
_LOOK = 5.0
"""Seconds between two looks for jobs that another server has queued, or leaves."""
_LEAST_ROWS = 10
"""OpenAI's minimum."""
_AUTO_ROWS, _AUTO_EPOCHS = 600, (3, 50)
"""By default each row is learned so often that about so many pass; and the limits of that."""
_NO_NAME = re.compile(r"[^a-z0-9]+")
_MAX_SUFFIX = 24


class Jobs:
    """The jobs of a store, and the task that runs them in turn."""

    def __init__(self, folder: Path, files: FileStore, registry: Registry) -> None:
        self._store = JobStore(folder)
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
        await asyncio.to_thread(self._store.write, record)
        self._came.set()
        return self._body(record)

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
        return self._body(self._store.read(job_id))

    def _body(self, record: JobRecord) -> Body:
        return job_body(record, self._store.adapter(record))

    def newest(self) -> list[Body]:
        """Return all jobs, newest first."""
        return [self._body(record) for record in reversed(self._store.oldest())]

    def events(self, job_id: str) -> list[Body]:
        """Return what happened to a job, newest first. Raises ApiError if there is none."""
        record = self._store.read(job_id)
        return event_bodies(record, self._store.adapter(record))

    def checkpoints(self, job_id: str) -> list[Body]:
        """Return the models of a job: the last one. Raises ApiError if there is no such job."""
        record = self._store.read(job_id)
        return checkpoint_bodies(record, self._store.adapter(record))

    def cancel(self, job_id: str) -> Body:
        """Have a job stopped after its current step. Raises ApiError if it has ended."""
        record = self._store.read(job_id)
        if record.finished_at:
            raise ApiError(400, "The job has ended already.", code="invalid_value")
        record = self._store.change(record, cancelled=True, finished_at=int(time.time()))
        return self._body(record)

    async def work(self) -> None:
        """Run the queued jobs one after the other, for ever."""
        while True:
            self._came.clear()
            # A full disk, or a folder that somebody deletes, may not end this task.
            with suppress(BalcaoError, ApiError), writing(self._store.folder):
                private_folder(self._store.folder)
                with (self._store.folder / ".lock").open("a") as file:
                    while lock(file) and (waiting := await asyncio.to_thread(self._unfinished)):
                        await self._run(waiting)
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK):
                    await self._came.wait()

    def _unfinished(self) -> JobRecord | None:
        """Return the oldest job that runs or waits, also a cancelled one that still trains."""
        for record in self._store.oldest():
            trains = record.cancelled and _is_training(record, self._store.adapter(record))
            if trains or not record.finished_at:
                return record
        return None

    async def _run(self, record: JobRecord) -> None:
        adapter, asked = self._store.adapter(record), False
        try:
            if not record.cancelled:
                record = await asyncio.to_thread(self._begin, record)
            while await asyncio.to_thread(_is_training, record, adapter):
                record = await asyncio.to_thread(self._store.read, record.id)
                if record.cancelled and not asked:
                    asked = True
                    await asyncio.to_thread(_stop, record, adapter)
                await asyncio.sleep(_POLL)
            await asyncio.to_thread(self._end, record)
        except BalcaoError as error:
            param = "training_file" if isinstance(error, DataError) else None
            await asyncio.to_thread(self._fail, record, str(error), param)

    def _begin(self, record: JobRecord) -> JobRecord:
        """Start the training of a job, or find the one that an earlier server has started."""
        adapter = self._store.adapter(record)
        process, state = _trainer(adapter), view_run(adapter).state if is_run(adapter) else None
        if not process and state in (None, "killed"):
            process = self._start(record, adapter)
        started = record.started_at or int(time.time())
        return self._store.change(record, process=process, started_at=started)

    def _start(self, record: JobRecord, adapter: Path) -> int:
        """Start a training, or go on from the checkpoint of one that was killed."""
        arguments = ["--resume", "--out", str(adapter)]
        if not last_checkpoint(adapter):
            shutil.rmtree(adapter, ignore_errors=True)
            self._prepare(record)
            arguments = self._arguments(record)
        process = start_detached(arguments, adapter)
        # It outlives the server; without a wait it would stay as a zombie.
        threading.Thread(target=process.wait, daemon=True).start()
        return process.pid

    def _prepare(self, record: JobRecord) -> None:
        """Write the rows of a job. Raises DataError if its files are unusable."""
        names = {TRAIN: record.training_file, VALID: record.validation_file}
        for name, file_id in names.items():
            if file_id:
                least = _LEAST_ROWS if name == TRAIN else 1
                _write_rows(self._files.path(file_id), self._store.rows(record) / name, least)

    def _arguments(self, record: JobRecord) -> list[str]:
        rows = self._store.rows(record)
        with (rows / TRAIN).open("rb") as stream:
            count = sum(1 for _ in stream)
        arguments = ["--data", str(rows), "--base", record.base, "--recipe", str(RECIPE)]
        arguments += ["--out", str(self._store.adapter(record))]
        for change in (*_changes(record.hyperparameters, count), f"seed={record.seed}"):
            arguments += ["--set", change]
        return arguments

    def _end(self, record: JobRecord) -> None:
        """Note how the training ended, and make the adapter an engine."""
        adapter = self._store.adapter(record)
        if self._store.read(record.id).cancelled:
            return
        if is_done(adapter):
            add_engine(adapter, record.engine)
            self._store.change(record, finished_at=int(time.time()))
        elif is_run(adapter) and view_run(adapter).state == "stopped":
            self._store.change(record, cancelled=True, finished_at=int(time.time()))
        else:
            self._fail(record, _why_ended(adapter), None)

    def _fail(self, record: JobRecord, failure: str, param: str | None) -> None:
        now = int(time.time())
        self._store.change(record, failure=failure, param=param, finished_at=now)


def _stop(record: JobRecord, adapter: Path) -> None:
    with suppress(BalcaoError, OSError):
        if lock_holder(adapter) is not None:
            stop_run(adapter)
        elif record.process:
            os.kill(record.process, signal.SIGTERM)


def _is_training(record: JobRecord, adapter: Path) -> bool:
    """Report whether a process trains in `adapter`, or is about to."""
    if lock_holder(adapter) is not None:
        return True
    with suppress(psutil.Error):
        return bool(record.process) and _trains(psutil.Process(record.process).cmdline(), adapter)
    return False


def _trains(command: Sequence[str], adapter: Path) -> bool:
    return "scripts.train" in command and str(adapter) in command


def _trainer(adapter: Path) -> int:
    """Return the process that trains in `adapter`, or 0; it may not have locked it yet."""
    if holder := lock_holder(adapter):
        return holder
    found = psutil.process_iter(["cmdline"])
    return next((one.pid for one in found if _trains(one.info["cmdline"] or (), adapter)), 0)


def _why_ended(adapter: Path) -> str:
    """Return why a training ended without an adapter: its error, or the end of its log."""
    if is_run(adapter):
        view = view_run(adapter)
        return view.error or f"The training was killed at step {view.step} of {view.steps}."
    with suppress(OSError):
        lines = (adapter / LOG_FILE).read_text(encoding="utf-8", errors="replace").splitlines()
        said = [line for line in lines if line.strip()]
        return one_line(said[-1], 500) if said else "The training was killed."
    return "The training did not start."


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
