"""An OpenAI-compatible server's files and fine-tuning jobs; imported late.

Requests are made by the openai package's typed calls; replies are read as plain JSON, since the
package checks none and gives a page of HTML out as a string.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx2
import openai  # noqa: TID253 - this module is imported lazily
from openai import omit  # noqa: TID253 - as above

from engine.backends.openai.client_runtime_part import make_client
from engine.backends.openai.edge_runtime_part import Edge
from engine.backends.openai.explaining_part import Asked
from engine.backends.openai.failures import Failure
from engine.training.openai.counted_file_part import open_counted
from engine.training.openai.failures import explain_job
from engine.training.openai.job import JobSettings
from engine.training.openai.openai_asking_runtime_part import Asking, Pace, id_of, plain, state_of
from engine.training.openai.openai_replies_part import JobEvent, JobState, job_event
from engine.training.openai.openai_request_part import CAN_GO, optional_fields

_FILES_PAGE, _JOBS_PAGE, _EVENTS_PAGE = 1000, 100, 100
_SLACK = 86_400
"""Seconds by which the server's clock may differ from ours, when lists are read backwards."""
_SLOWEST_LINK = 100_000
"""Bytes a second, for the time limit of an upload."""


class Provider:
    """One server's files and fine-tuning jobs. Every call raises EngineUnavailable."""

    def __init__(self, asked: Asked, base_url: str | None, key: str, pace: Pace) -> None:
        self._asked = asked
        self._own = base_url is None
        self._pace = pace
        self._asking = Asking(asked.server, pace)
        self._client = make_client(
            asked.server, base_url, key, connect=pace.connect, stall=pace.stall
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    def tell(self, on_trouble: Callable[[str], None]) -> None:
        """Have `on_trouble` told what a person should know while a call takes its time."""
        self._asking.on_trouble = on_trouble

    def without_key(self, text: str) -> str:
        """`text`, which is a server's, without the key that it may repeat."""
        return text.replace(self._client.api_key, "…")

    async def shutdown_date(self, model: str) -> str:
        """When the server says that it shuts a model down, or nothing.

        An unknown model is an error at OpenAI's own address; others need not list theirs.
        """
        get = self._client.models.with_raw_response.retrieve
        with self._edge():
            try:
                found = await self._asking.read(lambda: get(model), patient=False)
            except openai.APIStatusError as error:
                if self._own or isinstance(error, openai.AuthenticationError):
                    raise
                return ""
        day = found.get("shutdown_date")
        return day if isinstance(day, str) else ""

    async def upload(
        self, file: Path, size: int, name: str, began: int, on_read: Callable[[int], None]
    ) -> str:
        """Upload a file of `size` bytes under a name of its own; returns the server's id.

        `on_read` is told the bytes that have gone out, `began` is the run's Unix time.
        """
        pace = self._pace
        # What is sent lies in buffers on the way when the wait for an answer begins.
        wait = pace.stall + size / _SLOWEST_LINK
        limit = httpx2.Timeout(pace.stall, connect=pace.connect, read=wait)
        create = self._client.files.with_raw_response.create

        async def act() -> str:
            with open_counted(file, on_read) as stream:
                sent = (name, stream, "application/jsonl")
                raw = await create(file=sent, purpose="fine-tune", timeout=limit)
            return id_of(plain(raw))

        with self._edge():
            return await self._asking.once(act, lambda: self._find_file(name, began))

    async def find_file(self, name: str, began: int) -> str | None:
        """The id of the file of that name that was uploaded since `began`, if there is one."""
        with self._edge():
            return await self._asking.look(lambda: self._find_file(name, began))

    async def create(
        self, settings: JobSettings, files: Sequence[str], run: str, began: int
    ) -> JobState:
        """Start a job on the training file and, if there is a second, the validation file."""
        left_out: set[str] = set()

        async def act() -> JobState:
            raw = await self._client.fine_tuning.jobs.with_raw_response.create(
                model=settings.model,
                training_file=files[0],
                validation_file=files[1] if len(files) > 1 else omit,
                **optional_fields(settings, run, left_out),
            )
            return state_of(plain(raw))

        def without(failure: Failure) -> bool:
            refused = [name for name in CAN_GO - left_out if failure.refuses(name)]
            left_out.update(refused)
            for name in refused:
                self._asking.on_trouble(f"{self._asked.server} takes no `{name}`: it is left out")
            return bool(refused)

        with self._edge():
            return await self._asking.once(
                act, lambda: self._find_job(files[0], run, began), change=without
            )

    async def find_job(self, training_file: str, run: str, began: int) -> JobState | None:
        """The job of that run, if the server has one."""
        with self._edge():
            return await self._asking.look(lambda: self._find_job(training_file, run, began))

    async def job(self, job_id: str) -> JobState:
        """How a job stands."""
        get = self._client.fine_tuning.jobs.with_raw_response.retrieve
        with self._edge():
            return state_of(await self._asking.read(lambda: get(job_id)))

    async def cancel(self, job_id: str) -> JobState:
        """Cancel a job; doing so twice does no harm."""
        post = self._client.fine_tuning.jobs.with_raw_response.cancel
        with self._edge():
            return state_of(await self._asking.read(lambda: post(job_id), patient=False))

    async def events(self, job_id: str, last: str) -> list[JobEvent]:
        """The events after the one with the id `last` (empty: all), oldest first."""
        found: list[JobEvent] = []
        with self._edge():
            async for raw in self._events(job_id):
                event = job_event(raw)
                if last and event.id == last:
                    break
                found.append(event)
        return found[::-1]

    def _edge(self) -> Edge:
        return Edge(self._asked, self._client.api_key, began=False, words=explain_job)

    def _events(self, job_id: str) -> AsyncIterator[Mapping[str, Any]]:
        call = self._client.fine_tuning.jobs.with_raw_response.list_events
        return self._asking.pages(
            lambda after: call(job_id, after=after or omit, limit=_EVENTS_PAGE)
        )

    async def _find_file(self, name: str, began: int) -> str | None:
        call = self._client.files.with_raw_response.list
        pages = self._asking.pages(
            lambda after: call(
                purpose="fine-tune", order="desc", limit=_FILES_PAGE, after=after or omit
            )
        )
        async for file in pages:
            if file.get("filename") == name:
                return id_of(file)
            if _is_before(file, began):
                return None
        return None

    async def _find_job(self, training_file: str, run: str, began: int) -> JobState | None:
        call = self._client.fine_tuning.jobs.with_raw_response.list
        pages = self._asking.pages(lambda after: call(after=after or omit, limit=_JOBS_PAGE))
        async for job in pages:
            metadata = job.get("metadata")
            marked = isinstance(metadata, Mapping) and metadata.get("balcao_run") == run
            # The file is this run's alone: that holds where a server drops the metadata.
            if marked or job.get("training_file") == training_file:
                return state_of(job)
            if _is_before(job, began):
                return None
        return None


def _is_before(raw: Mapping[str, Any], began: int) -> bool:
    made = raw.get("created_at")
    return isinstance(made, int | float) and made < began - _SLACK
