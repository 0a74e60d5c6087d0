"""Run a fine-tuning job: upload, start, follow, add the engine; continue where it was left.

Each result is recorded before the next request, so that the process can be killed at any moment:
nothing is uploaded twice and no job is started twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from engine.backends.openai import engine as servers
from engine.backends.openai.engine import NO_KEY, OpenAIConfig, base_model, without_password
from engine.backends.registry import Registry
from engine.config import keys
from engine.config.edit import add_tuned
from engine.config.settings import Settings
from engine.core.errors import BalcaoError, UsageError
from engine.core.files import describe_file, reading
from engine.core.process import install_command
from engine.core.types import Progress
from engine.training.openai.job import ENDED, JobEvent, JobRecord, JobSettings, JobState, write_job

if TYPE_CHECKING:
    from engine.training.openai.client import FineTuningClient


_MAX_SETTLE = 2.0
"""Seconds."""


def default_provider(settings: Settings) -> OpenAIConfig:
    """Return the engine whose address, key and time limits are a job's defaults."""
    return Registry(settings).find("openai", OpenAIConfig) or OpenAIConfig()


def provider_url(given: str | None, provider: OpenAIConfig) -> str | None:
    """Return the server's address; None for OpenAI. Raise UsageError if it is invalid."""
    base_url = given or provider.address
    if base_url and servers.parse_address(base_url) is None:
        raise UsageError("Invalid server address.", "Write it like https://models.example/v1.")
    return base_url


def open_client(
    settings: JobSettings, provider: OpenAIConfig, interval: float, given: str | None = None
) -> FineTuningClient:
    """Load the openai package and make a client. Raise UsageError without a valid key.

    A password in the address is not in `settings`: it comes from the address `given`, or from
    the provider's.
    """
    if find_spec("openai") is None:
        raise BalcaoError("The openai package is not installed.", f"Run: {install_command()}")
    name = settings.api_key_env
    stored = name and keys.source(name) is not None
    if not stored and settings.base_url is None:
        raise UsageError(
            f"OpenAI needs an API key, but {name or 'its name'} is not set.",
            f"Store one: balcao keys set {name or 'OPENAI_API_KEY'}.",
        )
    key = keys.value(name) if stored else ""
    if key and not keys.is_sendable(key):
        raise UsageError(
            f"Invalid API key in {name}: it contains invalid characters.",
            f"Store it again: balcao keys set {name}.",
        )
    from engine.training.openai.client import FineTuningClient

    config = msgspec.structs.replace(provider, model=settings.model, api_key_env=name)
    known = (given, provider.address, settings.base_url)
    full = (url for url in known if without_password(url) == without_password(settings.base_url))
    endpoint = config.endpoint("openai", next(full))
    return FineTuningClient(endpoint, key or NO_KEY, min(interval, _MAX_SETTLE))


_JOB = "job"
_FIRST_PAUSE = 1.0
"""Seconds between the first two requests for a job's state."""


class JobRunner:
    """Run the job in `folder`, which holds its rows and its record, on one server.

    `show` draws progress, `say` prints a message that stays.
    """

    def __init__(
        self,
        folder: Path,
        record: JobRecord,
        client: FineTuningClient,
        show: Callable[[Progress], None],
        say: Callable[[str], None],
        interval: float,
    ) -> None:
        self._folder = folder
        self._record = record
        self._client = client
        self._draw, self._say = show, say
        client.report_outages(say)
        self._interval = interval
        self._total = 0
        self._paused = False
        self._began = int(datetime.fromisoformat(record.created).timestamp())

    async def run(self) -> JobRecord:
        """Continue until the job has ended and return the record. Raise BalcaoError."""
        if not self._record.job:
            await self._start()
        if self._record.status != "succeeded" or not self._record.model:
            await self._follow()
        if self._record.status == "succeeded" and not self._record.engine:
            self._add_engine()
        return self._record

    async def cancel(self) -> JobRecord:
        """Cancel the job in any state and return the record. Raise BalcaoError."""
        await self._find_job()
        if not self._record.job:
            self._save(status="cancelled")
            return self._record
        self._save_state(await self._client.job(self._record.job))
        if self._record.status not in ENDED:
            self._save_state(await self._client.cancel(self._record.job))
        return self._record

    async def _start(self) -> None:
        # First: an existing job makes all other requests unnecessary.
        await self._find_job()
        if self._record.job:
            return
        for given in self._record.inputs:
            if given.name not in self._record.files:
                await self._upload(given.name, given.bytes, given.sha256)
        self._mark_begun(_JOB)
        record = self._record
        files = [record.files[given.name] for given in record.inputs]
        self._save_job(await self._client.create(record.settings, files, record.run, self._began))
        self._say(f"job {self._record.job} has started; --resume follows it at any time")

    async def _find_job(self) -> None:
        record = self._record
        if not record.job and _JOB in record.begun:
            training_file = record.files[record.inputs[0].name]
            self._save_job(await self._client.find_job(training_file, record.run, self._began))

    async def _upload(self, file: str, size: int, sha256: str) -> None:
        # The name identifies this job on the server.
        name = f"balcao-{self._record.run}-{Path(file).stem}.jsonl"
        found = None
        if file in self._record.begun:
            found = await self._client.find_file(name, self._began)
        if found is None:
            path = self._folder / file
            with reading(path):
                unchanged = describe_file(path).sha256 == sha256
            if not unchanged:
                raise BalcaoError(
                    f"{path} has changed since this job was confirmed.",
                    "Restore the old rows, or start a new job with --again.",
                )
            self._mark_begun(file)

            def sent(count: int) -> None:
                self._draw(Progress(f"uploading {file}", count / max(size, 1)))

            found = await self._client.upload(path, size, name, self._began, sent)
        self._save(files=self._record.files | {file: found})
        self._say(f"{file} is uploaded as {found}")

    async def _follow(self) -> None:
        # Files are checked within seconds; training then takes minutes or hours.
        pause = min(_FIRST_PAUSE, self._interval)
        while True:
            state = await self._client.job(self._record.job)
            self._save_events(await self._client.events(self._record.job, self._record.last_event))
            self._save_state(state)
            self._show(state.status)
            if state.status in ENDED:
                return
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, self._interval)

    def _save_events(self, events: list[JobEvent]) -> None:
        if not events:
            return
        for event in events:
            self._total = event.total_steps or self._total
            if event.point is None:
                self._say(event.message)
        curve = list(self._record.curve)
        for point in (event.point for event in events):
            if point is not None and (not curve or point.step > curve[-1].step):
                curve.append(point)
        self._save(curve=curve, last_event=events[-1].id)

    def _show(self, status: str) -> None:
        label, fraction = status, None
        if self._record.curve:
            point = self._record.curve[-1]
            total = f"/{self._total}" if self._total else ""
            label += f", step {point.step}{total}, loss {point.loss:.3f}"
            if point.valid_loss is not None:
                label += f", validation {point.valid_loss:.3f}"
            fraction = min(point.step / self._total, 1.0) if self._total else None
        self._draw(Progress(label, fraction))
        paused = status == "paused"
        if paused and not self._paused:
            self._say("the job is paused; resume it on the server")
        self._paused = paused

    def _add_engine(self) -> None:
        settings, model = self._record.settings, self._record.model
        base_url, key = without_password(settings.base_url), settings.api_key_env
        self._save(engine=add_tuned(model, base_model(model), base_url, key, settings.engine))
        if self._client.has_password:
            self._say(
                "the address's password is not stored: add it to `base_url` under"
                f" [engines.{self._record.engine}] in settings.toml, if it is not there"
            )

    def _mark_begun(self, request: str) -> None:
        if request not in self._record.begun:
            self._save(begun=[*self._record.begun, request])

    def _save_job(self, state: JobState | None) -> None:
        if state is not None:
            self._save(job=state.id, status=state.status)

    def _save_state(self, state: JobState) -> None:
        self._save(
            status=state.status,
            model=state.model,
            trained_tokens=state.trained_tokens,
            error=state.error,
        )

    def _save(self, **changed: object) -> None:
        record = msgspec.structs.replace(self._record, **changed)
        if record != self._record:
            write_job(self._folder, record)
            self._record = record
