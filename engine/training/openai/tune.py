"""Carries out a fine-tuning job: upload, start, follow, record; from wherever it was left.

What is known is written down before the next thing is done, so a job can be killed at any moment
and picked up again: nothing is uploaded twice and no job is started twice.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from engine.backends.openai.engine import base_model
from engine.backends.openai.failures import Asked, server_name, split
from engine.config import keys
from engine.config.engines import add_tuned
from engine.config.settings import OpenAIEngine, Settings
from engine.core.errors import BalcaoError, UsageError
from engine.core.files import describe_file
from engine.core.types import Progress
from engine.training.openai.job import (
    CurvePoint,
    JobEvent,
    JobRecord,
    JobSettings,
    JobState,
    upload_name,
    write_job,
)

if TYPE_CHECKING:
    from engine.training.openai.client import FineTuningClient


_NO_KEY = "no-key-needed"
"""Sent to a server that asks for none: the package insists on sending something."""
_RETRIES = 30
"""How often a job is asked for again: with growing pauses, some four minutes without a server."""
_LONGEST_SETTLE = 2.0


def default_provider(chosen: Settings) -> OpenAIEngine:
    """The engine whose address, key and time limits a job takes where no flag says otherwise."""
    row = chosen.engines.get("openai")
    return row if isinstance(row, OpenAIEngine) else OpenAIEngine()


def provider_url(given: str | None, row: OpenAIEngine) -> str | None:
    """The server's address; None is OpenAI's own. Raises UsageError if it is none."""
    # The variable is the package's own; without it the rows would go elsewhere than told.
    base_url = given or row.base_url or os.environ.get("OPENAI_BASE_URL") or None
    if base_url and split(base_url) is None:
        raise UsageError(
            "The server's address is no plain web address.",
            "Write it like https://models.example/v1.",
        )
    return base_url


def open_provider(settings: JobSettings, row: OpenAIEngine, every: float) -> FineTuningClient:
    """Load the openai package (about a second) and make a client; no network is used.

    Raises UsageError without a key, BalcaoError without the package.
    """
    if find_spec("openai") is None:
        raise BalcaoError("The openai package is missing.", "Install it: pip install openai.")
    name = settings.api_key_env
    found = keys.source(name) if name else None
    if found is None and settings.base_url is None:
        raise UsageError(
            f"OpenAI needs a key, and {name or 'none'} is not set.",
            f"Keep one: balcao keys set {name or 'OPENAI_API_KEY'}.",
        )
    if found and not keys.is_sendable(keys.value(name)):
        raise UsageError(
            f"What {name} holds cannot be a key: it has characters that none has.",
            f"Put the key there once more, by itself: balcao keys set {name}.",
        )
    from engine.training.openai.client import FineTuningClient, RetryPolicy

    asked = Asked(
        engine_id="openai",
        server=server_name(settings.base_url),
        model=settings.model,
        key_env=name,
        has_key=found is not None,
        connect_timeout=row.connect_timeout,
        stall_timeout=row.stall_timeout,
    )
    settle = min(every, _LONGEST_SETTLE)
    pace = RetryPolicy(row.connect_timeout, row.stall_timeout, row.max_retries, _RETRIES, settle)
    return FineTuningClient(
        asked, settings.base_url, (keys.value(name) if found else "") or _NO_KEY, pace
    )


_JOB = "job"
_FIRST_PAUSE = 1.0
"""Seconds between the first two looks at a job."""


@dataclass(frozen=True, slots=True)
class JobReporter:
    """Where a job's course is told: progress again and again, sentences once."""

    progress: Callable[[Progress], None]
    say: Callable[[str], None]


class JobRunner:
    """One job on one provider. `folder` holds the rows and the record."""

    def __init__(
        self,
        folder: Path,
        record: JobRecord,
        provider: FineTuningClient,
        report: JobReporter,
        every: float,
    ) -> None:
        self._folder = folder
        self._record = record
        self._provider = provider
        self._report = report
        provider.tell(report.say)
        self._every = every
        self._total = 0
        self._told_paused = False

    async def run(self) -> JobRecord:
        """Go on until the job has ended; returns the record. Raises BalcaoError."""
        if not self._record.job:
            await self._start()
        if self._record.status != "succeeded" or not self._record.model:
            await self._follow()
        if self._record.status == "succeeded" and not self._record.engine:
            self._add_engine()
        return self._record

    async def cancel(self) -> JobRecord:
        """Cancel the job, wherever it is; returns the record. Raises BalcaoError."""
        if not self._record.job and _JOB in self._record.begun:
            self._keep_job(await self._find_job())
        if not self._record.job:
            self._keep(status="cancelled")
            return self._record
        self._keep_state(await self._provider.job(self._record.job))
        if not self._record.ended and self._record.status != "succeeded":
            self._keep_state(await self._provider.cancel(self._record.job))
        return self._record

    async def _start(self) -> None:
        # First, since a job that is there already makes all else unnecessary.
        if _JOB in self._record.begun:
            self._keep_job(await self._find_job())
        if self._record.job:
            return
        for number, given in enumerate(self._record.inputs):
            if given.name not in self._record.files:
                await self._upload(given.name, number)
        self._keep(begun=_with(self._record.begun, _JOB))
        record = self._record
        files = [record.files[given.name] for given in record.inputs]
        self._keep_job(await self._provider.create(record.settings, files, record.run, self._began))
        self._report.say(f"job {self._record.job} has begun; --resume picks it up at any time")

    async def _find_job(self) -> JobState | None:
        record = self._record
        training_file = record.files[record.inputs[0].name]
        return await self._provider.find_job(training_file, record.run, self._began)

    async def _upload(self, file: str, number: int) -> None:
        record, name = self._record, upload_name(self._record, file)
        found = None
        if file in record.begun:
            found = await self._provider.find_file(name, self._began)
        if found is None:
            self._check_unchanged(file, number)
            self._keep(begun=_with(record.begun, file))
            size = max(record.inputs[number].bytes, 1)

            def sent(count: int) -> None:
                self._report.progress(Progress(f"uploading {file}", count / size))

            found = await self._provider.upload(self._folder / file, size, name, self._began, sent)
        self._keep(files=self._record.files | {file: found})
        self._report.say(f"{file} is uploaded as {found}")

    def _check_unchanged(self, file: str, number: int) -> None:
        try:
            now = describe_file(self._folder / file)
        except OSError as error:
            raise BalcaoError(f"{self._folder / file} cannot be read: {error.strerror}.") from error
        if now.sha256 != self._record.inputs[number].sha256:
            raise BalcaoError(
                f"{self._folder / file} has changed since this job was agreed upon.",
                "Put the old rows back, or begin anew with --again.",
            )

    async def _follow(self) -> None:
        # Files are looked at within seconds; what is trained then takes minutes or hours.
        pause = min(_FIRST_PAUSE, self._every)
        while True:
            state = await self._provider.job(self._record.job)
            events = await self._provider.events(self._record.job, self._record.last_event)
            self._note(events)
            self._keep_state(state)
            self._show(state)
            if state.ended:
                return
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, self._every)

    def _note(self, events: list[JobEvent]) -> None:
        """Keep the curve, tell the rest."""
        if not events:
            return
        points = [
            CurvePoint(event.step or 0, event.loss or 0.0, event.valid_loss)
            for event in events
            if event.is_metric
        ]
        for event in events:
            self._total = event.total or self._total
            if not event.is_metric:
                self._report.say(self._provider.without_key(event.message))
        self._keep(curve=[*self._record.curve, *points], last_event=events[-1].id)

    def _show(self, state: JobState) -> None:
        label, fraction = state.status, None
        if self._record.curve:
            point = self._record.curve[-1]
            of = f"/{self._total}" if self._total else ""
            valid = "" if point.valid_loss is None else f", on valid {point.valid_loss:.3f}"
            label = f"{state.status}, step {point.step}{of}, loss {point.loss:.3f}{valid}"
            fraction = min(point.step / self._total, 1.0) if self._total else None
        self._report.progress(Progress(self._provider.without_key(label), fraction))
        if state.status == "paused" and not self._told_paused:
            self._report.say("the job is paused; it goes on when it is resumed at the server")
        self._told_paused = state.status == "paused"

    def _add_engine(self) -> None:
        settings = self._record.settings
        model = self._record.model
        base = base_model(model)
        engine = add_tuned(model, base, settings.base_url, settings.api_key_env, settings.engine)
        self._keep(engine=engine)

    def _keep_job(self, state: JobState | None) -> None:
        if state is not None:
            self._keep(job=state.id, status=state.status)

    def _keep_state(self, state: JobState) -> None:
        clean = self._provider.without_key
        self._keep(
            status=clean(state.status),
            model=clean(state.model),
            trained_tokens=state.trained_tokens,
            error=clean(state.error),
        )

    def _keep(self, **changed: object) -> None:
        record = msgspec.structs.replace(self._record, **changed)
        if record != self._record:
            write_job(self._folder, record)
            self._record = record

    @property
    def _began(self) -> int:
        return int(datetime.fromisoformat(self._record.created).timestamp())


def _with(names: list[str], name: str) -> list[str]:
    return names if name in names else [*names, name]
