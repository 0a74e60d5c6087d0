"""The edge: the one place where what the openai package raises becomes an error of ours.

Imported late, by the engine and the fine-tuning job.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import TracebackType

import httpx2
import openai  # noqa: TID253 - this module is imported lazily

from engine.backends.openai.explaining_part import Asked, explain
from engine.backends.openai.failures import Failure, Trouble, server_words
from engine.core.errors import EngineFailed, EngineUnavailable

Words = Callable[[Failure, Asked], tuple[str, str]]
"""What a failure is told as: the message, and what to do."""


class Broken(Exception):
    """A failure that the package does not see as one."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.trouble)
        self.failure = failure


class Edge:
    """A context in which the package is used; raises EngineUnavailable, or EngineFailed once begun.

    A traceback that shows local variables, as the chat's does, must not show the key. So the
    package's error, whose frames hold it, is no cause of ours (`from None`), and neither it nor a
    server's words that repeat the key are left in a local here.
    """

    def __init__(self, asked: Asked, key: str, *, began: bool, words: Words = explain) -> None:
        self._asked = asked
        self._key = key
        self._began = began
        self._words = words

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Raises ours for the package's; what else was raised goes on, cancelling above all."""
        failure = _any_failure(error, began=self._began)
        del error, trace
        if failure is None:
            return
        failure = replace(failure, words=failure.words.replace(self._key, "…"))
        message, remedy = self._words(failure, self._asked)
        raise (EngineFailed if self._began else EngineUnavailable)(message, remedy) from None


def failure_of(error: openai.APIError, *, began: bool = False) -> Failure:
    """The package's error in plain values; `began`: the stream was open already."""
    match error:
        case openai.APIStatusError():
            return _refusal(error)
        case openai.APITimeoutError():
            connecting = isinstance(error.__cause__, httpx2.ConnectTimeout)
            return Failure(Trouble.CONNECT_TIMEOUT if connecting else Trouble.SILENT)
        case openai.APIConnectionError():
            return _no_connection(error.__cause__, began=began)
        case _:
            code, param, words = server_words(error.body)
            return Failure(Trouble.ERROR_EVENT, 0, code, param, words)


def _any_failure(error: BaseException | None, *, began: bool) -> Failure | None:
    """The same for all that can come out of the package; None for what is not the server's."""
    match error:
        case openai.APIError():
            return failure_of(error, began=began)
        case Broken():
            return error.failure
        case ValueError() | RecursionError():
            # The package reads each event as UTF-8 and JSON and lets what that raises through.
            return Failure(Trouble.GARBLED)
        case httpx2.HTTPError() | httpx2.StreamError() | OSError():
            return _no_connection(error, began=began)
        case _:
            return None


def _refusal(error: openai.APIStatusError) -> Failure:
    headers = error.response.headers
    code, param, words = server_words(error.body)
    return Failure(
        Trouble.REFUSED,
        error.status_code,
        code,
        param,
        words,
        _retry_after(headers),
        {"true": True, "false": False}.get(headers.get("x-should-retry", "")),
    )


def _no_connection(cause: BaseException | None, *, began: bool) -> Failure:
    if began:
        return Failure(Trouble.CUT)
    answered_nothing = isinstance(cause, (httpx2.RemoteProtocolError, httpx2.ReadError))
    trouble = Trouble.HUNG_UP if answered_nothing else Trouble.UNREACHABLE
    return Failure(trouble, words=str(cause or ""))


def _retry_after(headers: httpx2.Headers) -> float | None:
    """Seconds, from Azure's milliseconds or the standard header; a date there is not read."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            wait = float(headers.get(name, "")) * unit
        except ValueError:
            continue
        if 0 <= wait < float("inf"):
            return wait
    return None
