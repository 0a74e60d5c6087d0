"""The files and fine-tuning jobs of an OpenAI-compatible server, with retries and errors.

Imports the openai package, which takes about a second. Its typed calls make the requests; replies
are read as plain JSON, because the package does not check them and returns HTML as a string.
"""

from __future__ import annotations

import asyncio
import functools
import io
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import date
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import httpx2
import openai
from openai import omit

from engine.backends.openai import failures
from engine.backends.openai.client import ErrorBoundary, make_client, to_failure
from engine.backends.openai.engine import parse_day
from engine.backends.openai.failures import FIRST_DELAY, Endpoint, Failure, FailureKind, explain
from engine.core.files import reading
from engine.core.text import Redactor, mend
from engine.training.openai import job as jobs
from engine.training.openai.job import JobEvent, JobSettings, JobState

if TYPE_CHECKING:
    from openai._legacy_response import LegacyAPIResponse

_LOOKUPS = 3
"""How often to look for a new file or job: the server's lists lag."""
_READY_TRIES = 60
_MOST_PAGES = 200
_MOST_NUMBER = 2**53
"""The largest number that is stored: larger ones are not exact in JSON."""
_READ_RETRIES = 30
"""For requests that change nothing: with growing pauses, about four minutes without an answer."""
_REPORT_AFTER = 1
"""Failed tries before the user sees a message."""
_TIMED_OUT = (FailureKind.SILENT, FailureKind.CONNECT_TIMEOUT, FailureKind.CUT)

T = TypeVar("T")
Reply = Awaitable["LegacyAPIResponse[Any]"]


class Retrier:
    """Send requests to one server again after failures; report long outages to `on_outage`.

    `settle` is the pause in seconds between two lookups of a new file or job.
    """

    def __init__(self, endpoint: Endpoint, key: str, settle: float) -> None:
        self._endpoint = endpoint
        self._secrets = endpoint.secrets(key)
        self._settle = settle
        self.on_outage: Callable[[str], None] = lambda _: None

    def json(self, raw: LegacyAPIResponse[Any]) -> Mapping[str, Any]:
        """Return the reply's JSON object. Raise StreamError for any other with a good status."""
        try:
            body = _clean(raw.http_response.json(), Redactor(*self._secrets))
        except ValueError:
            kind = raw.http_response.headers.get("content-type", "").partition(";")[0]
            raise failures.StreamError(Failure(FailureKind.NOT_A_STREAM, words=kind)) from None
        if not isinstance(body, Mapping):
            raise failures.StreamError(Failure(FailureKind.NOT_A_STREAM))
        return body

    async def read(self, send: Callable[[], Reply], *, patient: bool = True) -> Mapping[str, Any]:
        """Send an idempotent request until it succeeds; return the reply's JSON object."""
        retries = _READ_RETRIES if patient else self._endpoint.max_retries
        tried, patience = 0, self._endpoint.stall_timeout
        while True:
            try:
                return self.json(await send())
            except openai.APIError as error:
                failure = to_failure(error)
                again = Failure(FailureKind.HUNG_UP) if failure.kind in _TIMED_OUT else failure
                wait = failures.retry_delay(again, tried, retries, patience)
                if wait is None:
                    raise
                if tried == _REPORT_AFTER:
                    self.on_outage(f"no answer from {self._endpoint.server}; trying again")
            await asyncio.sleep(wait)
            tried, patience = tried + 1, patience - max(wait, FIRST_DELAY)

    async def pages(self, send: Callable[[str], Reply]) -> AsyncIterator[Mapping[str, Any]]:
        """Yield the objects of a list; `send` requests the page after an id."""
        after, first = "", ""
        for _ in range(_MOST_PAGES):
            page = await self.read(functools.partial(send, after))
            data = page.get("data") or []
            if not isinstance(data, list):
                raise _wrong_object(page)
            items = [item for item in data if isinstance(item, Mapping)]
            # Some providers ignore `after`, and send the first page for ever.
            if first and first in map(failures.text_of, (item.get("id") for item in items)):
                return
            for item in items:
                yield item
            if not page.get("has_more") or not items:
                return
            after, first = id_of(items[-1]), first or id_of(items[0])

    async def once(
        self,
        act: Callable[[], Awaitable[T]],
        find: Callable[[], Awaitable[T | None]],
        change: Callable[[Failure], bool] = lambda _: False,
    ) -> T:
        """Send a request that must not take effect twice.

        After an unclear failure, `find` looks for its result before it is sent again. `change` may
        alter the request after a refusal, and returns whether it did.
        """
        tried, patience, waits = 0, self._endpoint.stall_timeout, _READY_TRIES
        while True:
            try:
                return await act()
            except openai.APIError as error:
                failure = to_failure(error)
                if _may_have_worked(failure) and (found := await self.look_up(find)) is not None:
                    return found
                wait: float | None
                if change(failure):
                    wait = 0.0
                elif _is_not_ready(failure) and waits:
                    waits, wait = waits - 1, max(self._settle, FIRST_DELAY)
                else:
                    retries = self._endpoint.max_retries
                    wait = failures.retry_delay(failure, tried, retries, patience)
                    tried, patience = tried + 1, patience - max(wait or 0.0, FIRST_DELAY)
                if wait is None:
                    raise
            await asyncio.sleep(wait)

    async def look_up(self, find: Callable[[], Awaitable[T | None]]) -> T | None:
        """Call `find` a few times, for a file or job that may appear with a delay."""
        for number in range(_LOOKUPS):
            await asyncio.sleep(number * self._settle)
            if (found := await find()) is not None:
                return found
        return None


def _clean(value: object, redactor: Redactor) -> Any:  # noqa: ANN401 - any JSON
    """Return JSON without the key, halves of characters, and numbers that cannot be stored."""
    match value:
        case str():
            return redactor.add(mend(value), last=True)
        case dict():
            return {name: _clean(inner, redactor) for name, inner in value.items()}
        case list():
            return [_clean(inner, redactor) for inner in value]
        case int() | float():
            # False for NaN as well.
            return value if -_MOST_NUMBER <= value <= _MOST_NUMBER else None
    return None


def id_of(raw: Mapping[str, Any]) -> str:
    """Return the object's id. Raise StreamError if it is missing."""
    found = raw.get("id")
    if not jobs.is_id(found):
        raise _wrong_object(raw)
    return str(found)


def state_of(raw: Mapping[str, Any]) -> JobState:
    """Return the job's state. Raise StreamError if the object is not a job."""
    state = jobs.parse_state(raw)
    if state is None:
        raise _wrong_object(raw)
    return state


def _wrong_object(raw: Mapping[str, Any]) -> failures.StreamError:
    words = failures.parse_error(raw)[2] if "error" in raw else ""
    return failures.StreamError(Failure(FailureKind.NOT_A_STREAM, HTTPStatus.OK, words=words))


class _UploadFile(io.BufferedReader):
    def __init__(self, file: Path, on_read: Callable[[int], None]) -> None:
        super().__init__(io.FileIO(file))
        self._on_read = on_read

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self._on_read(self.tell())
        return data


_FILES_PAGE, _JOBS_PAGE, _EVENTS_PAGE = 1000, 100, 100
_CLOCK_TOLERANCE = 86_400
"""Seconds that the server's clock may differ from ours when lists are read backwards."""
_SLOWEST_UPLOAD = 100_000
"""Bytes a second, for the time limit of an upload."""


class FineTuningClient:
    """The files and fine-tuning jobs of one server. Every call may raise EngineUnavailable."""

    def __init__(self, endpoint: Endpoint, key: str, settle: float) -> None:
        self._endpoint = endpoint
        self._retrier = Retrier(endpoint, key, settle)
        self._client = make_client(endpoint, key)
        self.has_password = any(endpoint.secrets(""))
        """Whether the address has one, which is stored nowhere."""

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    def report_outages(self, on_outage: Callable[[str], None]) -> None:
        """Call `on_outage` with a message when the server does not answer for long."""
        self._retrier.on_outage = on_outage

    async def shutdown_date(self, model: str) -> date | None:
        """Return the day on which the server will shut a model down, if it says so.

        OpenAI refuses unknown models here; other servers need not list theirs.
        """
        get = self._client.models.with_raw_response.retrieve
        with self._errors():
            try:
                found = await self._retrier.read(lambda: get(model), patient=False)
            except openai.APIStatusError as error:
                if self._endpoint.base_url is None or isinstance(error, openai.AuthenticationError):
                    raise
                return None
        return parse_day(found.get("shutdown_date"))

    async def upload(
        self, file: Path, size: int, name: str, began: int, on_read: Callable[[int], None]
    ) -> str:
        """Upload a file of `size` bytes under a unique name and return the server's id.

        `on_read` gets the bytes sent so far; `began` is the Unix time of the job's start.
        """
        stall = self._endpoint.stall_timeout
        # Buffers on the way may still hold the file when the wait for an answer begins.
        wait = stall + size / _SLOWEST_UPLOAD
        limit = httpx2.Timeout(stall, connect=self._endpoint.connect_timeout, read=wait)
        create = self._client.files.with_raw_response.create

        async def act() -> str:
            with reading(file):
                stream = _UploadFile(file, on_read)
            with stream:
                sent = (name, stream, "application/jsonl")
                raw = await create(file=sent, purpose="fine-tune", timeout=limit)
            return id_of(self._retrier.json(raw))

        with self._errors():
            return await self._retrier.once(act, lambda: self._find_file(name, began))

    async def find_file(self, name: str, began: int) -> str | None:
        """Return the id of the file of that name, uploaded since `began`, or None."""
        with self._errors():
            return await self._retrier.look_up(lambda: self._find_file(name, began))

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
                **jobs.optional_fields(settings, run, left_out),
            )
            return state_of(self._retrier.json(raw))

        def without(failure: Failure) -> bool:
            refused = [name for name in jobs.OPTIONAL_FIELDS - left_out if failure.refuses(name)]
            left_out.update(refused)
            for name in refused:
                self._retrier.on_outage(f"{self._endpoint.server} refuses `{name}`: left out")
            return bool(refused)

        with self._errors():
            return await self._retrier.once(
                act, lambda: self._find_job(files[0], run, began), change=without
            )

    async def find_job(self, training_file: str, run: str, began: int) -> JobState | None:
        """Return the job of that run, or None."""
        with self._errors():
            return await self._retrier.look_up(lambda: self._find_job(training_file, run, began))

    async def job(self, job_id: str) -> JobState:
        """Return the state of a job."""
        get = self._client.fine_tuning.jobs.with_raw_response.retrieve
        with self._errors():
            return state_of(await self._retrier.read(lambda: get(job_id)))

    async def cancel(self, job_id: str) -> JobState:
        """Cancel a job; a second time has no effect."""
        post = self._client.fine_tuning.jobs.with_raw_response.cancel
        with self._errors():
            return state_of(await self._retrier.read(lambda: post(job_id), patient=False))

    async def events(self, job_id: str, last: str) -> list[JobEvent]:
        """Return the events after the one with the id `last` (empty: all), oldest first."""
        call = self._client.fine_tuning.jobs.with_raw_response.list_events
        pages = self._retrier.pages(
            lambda after: call(job_id, after=after or omit, limit=_EVENTS_PAGE)
        )
        found: list[JobEvent] = []
        with self._errors():
            async for raw in pages:
                event = jobs.parse_event(raw)
                if last and event.id == last:
                    break
                if event.id:  # without one, it would come again each time
                    found.append(event)
        return found[::-1]

    def _errors(self) -> ErrorBoundary:
        return ErrorBoundary(self._endpoint, self._client.api_key, began=False, explain=_explain)

    async def _find_file(self, name: str, began: int) -> str | None:
        call = self._client.files.with_raw_response.list
        pages = self._retrier.pages(
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
        pages = self._retrier.pages(lambda after: call(after=after or omit, limit=_JOBS_PAGE))
        async for job in pages:
            metadata = job.get("metadata")
            marked = isinstance(metadata, Mapping) and metadata.get("balcao_run") == run
            # Only this run uses the file: that works where a server drops the metadata.
            if marked or job.get("training_file") == training_file:
                return state_of(job)
            if _is_before(job, began):
                return None
        return None


def _is_before(raw: Mapping[str, Any], began: int) -> bool:
    created = raw.get("created_at")
    return isinstance(created, int | float) and created < began - _CLOCK_TOLERANCE


_OTHER_WAYS = (
    "Use another provider (--base-url), or train a LoRA on your own machine: balcao train."
)
_CLOSED = re.compile(
    r"fine-?tun\w*\b.{0,80}\b(not available|no longer|unavailable|closed|disabled|deprecated"
    r"|not enabled|not supported)",
    re.IGNORECASE,
)
_NOT_READY = re.compile(r"not ready|still (being )?process|being processed", re.IGNORECASE)
_RESUME = "Nothing is lost: add --resume to continue."


def _explain(failure: Failure, asked: Endpoint) -> tuple[str, str]:
    words = failures.quoted(failure)
    if failure.quota:
        return explain(failure, asked)[0], f"Add credit or raise the limit there. {_RESUME}"
    if failure.kind in (FailureKind.NOT_A_STREAM, FailureKind.GARBLED):
        return (
            f"{asked.server} sent an unexpected answer{words}.",
            "Check the address (it usually ends in /v1), and whether the network needs a log-in.",
        )
    if failure.kind in (FailureKind.REDIRECTED, FailureKind.TOO_LARGE):
        return explain(failure, asked)
    if failure.kind is not FailureKind.REFUSED:
        return explain(failure, asked)[0], f"Check the network. {_RESUME}"
    if _is_closed(failure):
        return (
            f"{asked.server} does not let this account fine-tune “{asked.model}”{words}.",
            f"OpenAI is closing self-serve fine-tuning (docs/guide/fine-tuning.md). {_OTHER_WAYS}",
        )
    return _explain_status(failure, asked, words)


def _explain_status(failure: Failure, asked: Endpoint, words: str) -> tuple[str, str]:
    status = failure.status
    if status == HTTPStatus.UNAUTHORIZED:
        return explain(failure, asked)[0], f"Run: balcao keys set {asked.key_env}. {_RESUME}"
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return f"The file is too large for {asked.server}{words}.", "Prepare fewer rows."
    if status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return explain(failure, asked)[0], f"Wait a while. {_RESUME}"
    if status == HTTPStatus.NOT_FOUND and asked.model in failure.words:
        return (
            f"{asked.server} does not serve the model “{asked.model}”{words}.",
            f"Choose another model with --model. {_OTHER_WAYS}",
        )
    if status == HTTPStatus.NOT_FOUND:
        return (
            f"{asked.server} did not find the file or job{words}.",
            "It may belong to another account or project, or the server does not fine-tune.",
        )
    return (
        f"{asked.server} refused the job (status {status}){words}.",
        f"Change the settings that it names. {_RESUME}",
    )


def _is_closed(failure: Failure) -> bool:
    if failure.status == HTTPStatus.FORBIDDEN:
        return True
    refused = failure.status in (HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND, HTTPStatus.GONE)
    return refused and bool(_CLOSED.search(failure.words))


def _is_not_ready(failure: Failure) -> bool:
    return failure.status == HTTPStatus.BAD_REQUEST and bool(_NOT_READY.search(failure.words))


def _may_have_worked(failure: Failure) -> bool:
    """Return whether the request may have taken effect in spite of the failure."""
    if failure.kind is FailureKind.REFUSED:
        unclear = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT)
        return failure.status in unclear or failure.status >= HTTPStatus.INTERNAL_SERVER_ERROR
    return failure.kind is not FailureKind.CONNECT_TIMEOUT
