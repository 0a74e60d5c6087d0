"""An OpenAI-compatible server's files and fine-tuning jobs; imported late.

Requests are made by the openai package's typed calls; replies are read as plain JSON, since the
package checks none and gives a page of HTML out as a string.
"""

from __future__ import annotations

import asyncio
import functools
import io
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import httpx2
import openai
from openai import omit

from engine.backends.openai.client import Broken, Edge, failure_of, make_client
from engine.backends.openai.failures import (
    FIRST_WAIT,
    Asked,
    Failure,
    Trouble,
    server_words,
    wait_before_retry,
)
from engine.core.errors import BalcaoError
from engine.training.openai.failures import explain_job, is_not_ready, may_have_worked
from engine.training.openai.job import (
    DROPPABLE_FIELDS,
    JobEvent,
    JobSettings,
    JobState,
    job_event,
    job_state,
    optional_fields,
)

if TYPE_CHECKING:
    from openai._legacy_response import LegacyAPIResponse


class ProgressFile(io.BufferedReader):
    """Calls `on_read` with the bytes that have been read so far."""

    def __init__(self, file: Path, on_read: Callable[[int], None]) -> None:
        super().__init__(io.FileIO(file))
        self._on_read = on_read

    def read(self, size: int | None = -1, /) -> bytes:
        """As every file's."""
        data = super().read(size)
        self._on_read(self.tell())
        return data


def open_with_progress(file: Path, on_read: Callable[[int], None]) -> ProgressFile:
    """Open a file for reading. Raises BalcaoError."""
    try:
        return ProgressFile(file, on_read)
    except OSError as error:
        raise BalcaoError(f"{file} cannot be read: {error.strerror}.") from None


_LOOKS = 3
"""How often something is looked for that may have been made: lists lag behind."""
_READY_TRIES = 60
_TELL_AFTER = 1
"""Tries in vain before the person is told."""
_TIMED_OUT = (Trouble.SILENT, Trouble.CONNECT_TIMEOUT, Trouble.CUT)

T = TypeVar("T")
Raw = Awaitable["LegacyAPIResponse[Any]"]


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Seconds to connect and without a byte; how often to try again; seconds between two looks.

    `retries` is for what changes something, `reading` for what does not.
    """

    connect: float
    stall: float
    retries: int
    reading: int
    settle: float


class RetryingClient:
    """Asks one server. `on_trouble` is told when a server does not answer for long."""

    def __init__(self, server: str, pace: RetryPolicy) -> None:
        self._server = server
        self._pace = pace
        self.on_trouble: Callable[[str], None] = lambda _: None

    async def read(self, ask: Callable[[], Raw], *, patient: bool = True) -> Mapping[str, Any]:
        """Ask for something that may be asked for any number of times; returns a JSON object."""
        retries = self._pace.reading if patient else self._pace.retries
        tried, patience = 0, self._pace.stall
        while True:
            try:
                return json_object(await ask())
            except openai.APIError as error:
                failure = failure_of(error)
                again = Failure(Trouble.HUNG_UP) if failure.trouble in _TIMED_OUT else failure
                wait = wait_before_retry(again, tried, retries, patience)
                if wait is None:
                    raise
                if tried == _TELL_AFTER:
                    self.on_trouble(f"no answer from {self._server}; trying again")
            await asyncio.sleep(wait)
            tried, patience = tried + 1, patience - max(wait, FIRST_WAIT)

    async def pages(self, ask: Callable[[str], Raw]) -> AsyncIterator[Mapping[str, Any]]:
        """The objects of a list, page by page; `ask` takes the id that the page comes after."""
        after = ""
        while True:
            page = await self.read(functools.partial(ask, after))
            data = page.get("data")
            items = [item for item in data if isinstance(item, Mapping)] if data else []
            for item in items:
                yield item
            if not page.get("has_more") or not items:
                return
            after = id_of(items[-1])

    async def once(
        self,
        act: Callable[[], Awaitable[T]],
        find: Callable[[], Awaitable[T | None]],
        change: Callable[[Failure], bool] = lambda _: False,
    ) -> T:
        """Do what must not be done twice. After an unclear failure it is looked for first.

        `change` may alter what is asked for, after a refusal; it returns whether it did.
        """
        tried, patience, waits = 0, self._pace.stall, _READY_TRIES
        while True:
            try:
                return await act()
            except openai.APIError as error:
                failure = failure_of(error)
                if may_have_worked(failure) and (found := await self.look(find)) is not None:
                    return found
                wait: float | None
                if change(failure):
                    wait = 0.0
                elif is_not_ready(failure) and waits:
                    waits, wait = waits - 1, max(self._pace.settle, FIRST_WAIT)
                else:
                    wait = wait_before_retry(failure, tried, self._pace.retries, patience)
                    tried, patience = tried + 1, patience - max(wait or 0.0, FIRST_WAIT)
                if wait is None:
                    raise
            await asyncio.sleep(wait)

    async def look(self, find: Callable[[], Awaitable[T | None]]) -> T | None:
        """Look for something that may be there or may be about to be."""
        for look in range(_LOOKS):
            await asyncio.sleep(look * self._pace.settle)
            if (found := await find()) is not None:
                return found
        return None


def json_object(raw: LegacyAPIResponse[Any]) -> Mapping[str, Any]:
    """The reply's JSON object. Raises Broken for anything else that came with a good status."""
    try:
        body = raw.http_response.json()
    except ValueError:
        kind = raw.http_response.headers.get("content-type", "").partition(";")[0]
        raise Broken(Failure(Trouble.NOT_A_STREAM, words=kind)) from None
    if not isinstance(body, Mapping):
        raise Broken(Failure(Trouble.NOT_A_STREAM))
    return body


def id_of(raw: Mapping[str, Any]) -> str:
    """The object's id. Raises Broken if it has none."""
    found = raw.get("id")
    if not isinstance(found, str) or not found:
        raise _no_answer(raw)
    return found


def state_of(raw: Mapping[str, Any]) -> JobState:
    """The job's state. Raises Broken if that is no job."""
    state = job_state(raw)
    if state is None:
        raise _no_answer(raw)
    return state


def _no_answer(raw: Mapping[str, Any]) -> Broken:
    words = server_words(raw)[2] if "error" in raw else ""
    return Broken(Failure(Trouble.NOT_A_STREAM, HTTPStatus.OK, words=words))


_FILES_PAGE, _JOBS_PAGE, _EVENTS_PAGE = 1000, 100, 100
_SLACK = 86_400
"""Seconds by which the server's clock may differ from ours, when lists are read backwards."""
_SLOWEST_LINK = 100_000
"""Bytes a second, for the time limit of an upload."""


class FineTuningClient:
    """One server's files and fine-tuning jobs. Every call raises EngineUnavailable."""

    def __init__(self, asked: Asked, base_url: str | None, key: str, pace: RetryPolicy) -> None:
        self._asked = asked
        self._own = base_url is None
        self._pace = pace
        self._asking = RetryingClient(asked.server, pace)
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
            with open_with_progress(file, on_read) as stream:
                sent = (name, stream, "application/jsonl")
                raw = await create(file=sent, purpose="fine-tune", timeout=limit)
            return id_of(json_object(raw))

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
            return state_of(json_object(raw))

        def without(failure: Failure) -> bool:
            refused = [name for name in DROPPABLE_FIELDS - left_out if failure.refuses(name)]
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
