"""How a provider is asked: reading as often as it may help, changing things never twice.

What must not be done twice is, after every unclear failure, looked for before it is done again.
Imported late, by openai_job_runtime.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar

import openai  # noqa: TID253 - this module is imported lazily

from engine.backends.openai.edge_runtime_part import Broken, failure_of
from engine.backends.openai.failures import Failure, Trouble, server_words
from engine.backends.openai.retries_part import FIRST_WAIT, wait_before_retry
from engine.training.openai.failures import is_not_ready, may_have_worked
from engine.training.openai.openai_replies_part import JobState, job_state

if TYPE_CHECKING:
    from openai._legacy_response import LegacyAPIResponse

_LOOKS = 3
"""How often something is looked for that may have been made: lists lag behind."""
_READY_TRIES = 60
_TELL_AFTER = 1
"""Tries in vain before the person is told."""
_TIMED_OUT = (Trouble.SILENT, Trouble.CONNECT_TIMEOUT, Trouble.CUT)

T = TypeVar("T")
Raw = Awaitable["LegacyAPIResponse[Any]"]


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds to connect and without a byte; how often to try again; seconds between two looks.

    `retries` is for what changes something, `reading` for what does not.
    """

    connect: float
    stall: float
    retries: int
    reading: int
    settle: float


class Asking:
    """Asks one server. `on_trouble` is told when a server does not answer for long."""

    def __init__(self, server: str, pace: Pace) -> None:
        self._server = server
        self._pace = pace
        self.on_trouble: Callable[[str], None] = lambda _: None

    async def read(self, ask: Callable[[], Raw], *, patient: bool = True) -> Mapping[str, Any]:
        """Ask for something that may be asked for any number of times; returns a JSON object."""
        retries = self._pace.reading if patient else self._pace.retries
        tried, patience = 0, self._pace.stall
        while True:
            try:
                return plain(await ask())
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


def plain(raw: LegacyAPIResponse[Any]) -> Mapping[str, Any]:
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
