"""Failures of an OpenAI-compatible server: their kinds, whether to retry, how to explain them.

Imports no library: client.py makes a `Failure` of the openai package's errors.
"""

from __future__ import annotations

import random
import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum, auto
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote, urlsplit

from engine.config import paths
from engine.core.i18n import tr
from engine.core.text import one_line

_QUOTA_CODES = {"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"}
_CONTEXT_CODES = {"context_length_exceeded", "exceed_context_size_error"}
# OpenAI and vLLM, llama.cpp, Ollama, in that order.
_CONTEXT_WORDS = re.compile(
    r"maximum context length|context length exceeded|exceeds? the (available )?context"
    r"|context window|prompt (is )?too long|longer than the (model|context)",
    re.IGNORECASE,
)
# OpenAI and vLLM; DeepSeek; Groq and Zhipu; Anthropic.
_LIMIT_WORDS = re.compile(
    r"\bmax_(completion_)?tokens\b.{0,60}?"
    r"(too (large|high|big)|valid range|(less|greater) than|> ?\d)",
    re.IGNORECASE | re.DOTALL,
)
_CONTEXT_SIZE = re.compile(r"context length is (?:only )?(\d{1,9})\b", re.IGNORECASE)
_ASKED_TOKENS = re.compile(
    r"too large: (\d{1,9})\b|requested (\d{1,9}) output|, (\d{1,9}) in the completion",
    re.IGNORECASE,
)
_REFUSAL_CODES = {"unsupported_parameter", "unsupported_value", "unknown_parameter"}
_REFUSAL_WORDS = re.compile(
    r"unsupported|not supported|does not support|unknown|unrecognized|unexpected"
    r"|extra (inputs|fields)|not permitted|not allowed",
    re.IGNORECASE,
)
_RETRYABLE = {
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.CONFLICT,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.INTERNAL_SERVER_ERROR,
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
    529,  # not in the standard library: "overloaded"
}


class FailureKind(StrEnum):
    """Failures that need different remedies."""

    UNREACHABLE = auto()  # the connection failed
    CONNECT_TIMEOUT = auto()  # the connection took too long
    HUNG_UP = auto()  # the connection ended before any answer
    SILENT = auto()  # no data arrived for too long
    NO_TEXT = auto()  # nothing of the answer arrived for too long
    TOO_LARGE = auto()  # the server sent more than an answer can have
    REFUSED = auto()  # the server answered with an error status
    REDIRECTED = auto()  # the server answered with another address, `words`
    NOT_A_STREAM = auto()  # the status is 200, but the body is not a stream of events
    ERROR_EVENT = auto()  # the stream contains an error
    CUT = auto()  # the stream ended before the answer did
    GARBLED = auto()  # the stream contains an invalid event
    FILTERED = auto()  # the server's content filter ended the answer
    WANTED_TOOL = auto()  # the model called a tool
    NO_TOKENS_LEFT = auto()  # all tokens were used for reasoning, which the server does not show


@dataclass(frozen=True, slots=True)
class Failure:
    """A failure. `status` is the HTTP status or 0, `words` the server's message, cut.

    `retry_after` is in seconds; `may_retry` is the server's `x-should-retry` header.
    """

    kind: FailureKind
    status: int = 0
    code: str = ""
    param: str = ""
    words: str = ""
    retry_after: float | None = None
    may_retry: bool | None = None

    @property
    def quota(self) -> bool:
        """Whether the account is out of credit."""
        return self.status == HTTPStatus.PAYMENT_REQUIRED or self.code in _QUOTA_CODES

    @property
    def limit_too_large(self) -> bool:
        """Whether the model cannot give an answer of `max_tokens`, after any conversation."""
        size, asked = _CONTEXT_SIZE.search(self.words), _ASKED_TOKENS.search(self.words)
        if not self._is_bad_request:
            return False
        if size and asked and asked.lastindex:
            # Both are in the context: a limit of more than half of it is the one to lower.
            return 2 * int(asked[asked.lastindex]) > int(size[1])
        return bool(_LIMIT_WORDS.search(self.words))

    @property
    def too_long(self) -> bool:
        """Whether prompt and answer exceed the model's context."""
        if self.limit_too_large:
            return False
        if self.code in _CONTEXT_CODES or self.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            return True
        return self._is_bad_request and bool(_CONTEXT_WORDS.search(self.words))

    @property
    def _is_bad_request(self) -> bool:
        """Whether the request is at fault: refused so, or in an event."""
        return self.status in (0, HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY)

    @property
    def retryable(self) -> bool:
        """Whether a retry may help."""
        if self.quota:
            return False
        if self.kind is FailureKind.REFUSED:
            return self.status in _RETRYABLE if self.may_retry is None else self.may_retry
        return self.kind in (FailureKind.UNREACHABLE, FailureKind.HUNG_UP)

    def refuses(self, field: str) -> bool:
        """Return whether the server rejected the request because of that field."""
        refused = self.code in _REFUSAL_CODES or _REFUSAL_WORDS.search(self.words)
        bad = self.status and self._is_bad_request
        if not bad or self.too_long or self.limit_too_large or not refused:
            return False
        if self.param:
            return self.param.partition(".")[0] == field
        return bool(re.search(rf"\b{field}\b", self.words))


class StreamError(Exception):
    """A failure that is not an error to the package."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.kind)
        self.failure = failure


MOST_WORDS = 4096
"""Characters of a server's message that are read: it may have 300 MB."""
_MOST_DETAILS = 20


def parse_error(body: object) -> tuple[str, str, str]:
    """Return code, parameter and message from an error's body; empty strings where missing.

    Reads OpenAI's `{"error": {…}}`, a bare string under `error`, FastAPI's `{"detail": …}` and
    vLLM's flat object.
    """
    if isinstance(body, Mapping):
        inner = body.get("error", body)
        if not isinstance(inner, Mapping):
            return "", "", _words(inner)
        # vLLM and llama.cpp repeat the status as a numeric code: their `type` is more specific.
        code = inner.get("code")
        code = code if isinstance(code, str) else inner.get("type")
        message = inner.get("message") or inner.get("detail") or ""
        return text_of(code), text_of(inner.get("param")), _words(message)
    return "", "", _words(body)


def text_of(value: object) -> str:
    """Return a JSON value that is a string; empty for any other."""
    return value if isinstance(value, str) else ""


def _words(value: object) -> str:
    if isinstance(value, list):
        return "; ".join(_detail(part) for part in value[:_MOST_DETAILS])[:MOST_WORDS]
    words = _plain(value)
    # Not an HTML error page.
    return "" if words.lstrip().startswith("<") else words


def _detail(part: object) -> str:
    if not isinstance(part, Mapping):
        return _plain(part)
    where = part.get("loc")
    path = ".".join(map(_plain, where)) if isinstance(where, list) else ""
    return f"{path}: {_plain(part.get('msg'))}".strip(": ")


def _plain(value: object) -> str:
    """Return a JSON value that is no list or object, which may be deep, as a text."""
    words = str(value) if isinstance(value, (str, int, float)) else ""
    return words[:MOST_WORDS]


FIRST_DELAY, MAX_DELAY = 0.5, 8.0
"""Seconds between tries if the server does not name a time: doubled each time, as openai does."""


def retry_delay(failure: Failure, tried: int, retries: int, patience: float) -> float | None:
    """Return the seconds until the next try; None to give up.

    `retries` limits `tried`, but not if the server names a time: then `patience`, in seconds, is
    the limit, so that the server can pace many questions at once.
    """
    if not failure.retryable or not retries:
        return None
    if failure.retry_after:
        return failure.retry_after if failure.retry_after <= patience else None
    if tried >= retries:
        return None
    jitter = random.uniform(0.75, 1.0)  # noqa: S311 - spreads the load, guards nothing
    return min(FIRST_DELAY * 2.0**tried, MAX_DELAY) * jitter


_QUOTE_WIDTH = 300
"""Characters of a server's message that an error quotes."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A model on a server, for one engine; `base_url` None is OpenAI. Timeouts are in seconds."""

    engine_id: str
    server: str
    base_url: str | None = field(repr=False)  # may have a password
    model: str
    key_env: str
    has_key: bool
    connect_timeout: float
    stall_timeout: float
    first_token_timeout: float
    max_retries: int
    predicts: bool = False
    """Whether the model takes a prediction of the answer."""

    def secrets(self, key: str) -> tuple[str, ...]:
        """Return what a server's words must not show: the key, and the address's password."""
        address = urlsplit(self.base_url or "")
        user, password = unquote(address.username or ""), unquote(address.password or "")
        basic = b64encode(f"{user}:{password}".encode()).decode()
        found = (key if self.has_key else "", password, basic if password else "")
        return tuple(filter(None, found))


def explain(failure: Failure, endpoint: Endpoint) -> tuple[str, str]:
    """Return the message and the remedy for the user."""
    values = {**asdict(endpoint), **asdict(failure), "quoted": quoted(failure)}
    values["table"] = paths.engine_table(endpoint.engine_id)
    values["target"] = one_line(failure.words, _QUOTE_WIDTH)
    if failure.limit_too_large:
        return (
            tr("“{model}” cannot give answers of that many tokens{quoted}.", **values),
            tr("Lower `max_tokens` in {table}.", **values),
        )
    if failure.too_long:
        return (
            tr("The conversation is too long for “{model}”{quoted}.", **values),
            tr("Start a new conversation, or lower the engine's `max_tokens`."),
        )
    if failure.quota:
        return (
            tr("The account at {server} has no credit left{quoted}.", **values),
            tr("Add credit, raise the account's limit, or switch to another engine."),
        )
    if failure.kind is not FailureKind.REFUSED:
        return _explain_kind(failure.kind, values)
    if failure.status == HTTPStatus.UNAUTHORIZED:
        # Without the server's message: some repeat a part of the key.
        return _explain_key(endpoint, values)
    return _explain_status(failure, values)


def _explain_kind(kind: FailureKind, values: dict[str, Any]) -> tuple[str, str]:
    again = tr("Ask again. The text so far is saved.")
    return {
        FailureKind.UNREACHABLE: (
            tr("Cannot reach {server}{quoted}.", **values),
            tr("Check the network, the server, and the engine's `base_url`."),
        ),
        FailureKind.CONNECT_TIMEOUT: (
            tr(
                "{server} did not accept a connection within {connect_timeout:g} seconds.",
                **values,
            ),
            tr("Check the network and `base_url`, or raise the engine's `connect_timeout`."),
        ),
        FailureKind.HUNG_UP: (
            tr("{server} closed the connection without an answer{quoted}.", **values),
            tr("Ask again."),
        ),
        FailureKind.SILENT: (
            tr("{server} sent nothing for {stall_timeout:g} seconds.", **values),
            tr("Ask again. For a slow server, raise the engine's `stall_timeout`."),
        ),
        FailureKind.NO_TEXT: (
            tr("{server} sent no text for {first_token_timeout:g} seconds.", **values),
            tr("Ask again. For a busy server, raise the engine's `first_token_timeout`."),
        ),
        FailureKind.TOO_LARGE: (
            tr("{server} sent more than an answer can have.", **values),
            tr("Check the server, and the engine's `base_url`."),
        ),
        FailureKind.REDIRECTED: (
            tr("{server} redirects to {target}, which is not followed.", **values),
            tr("Set `base_url` to it if you trust it, or check whether to log in to the network."),
        ),
        FailureKind.NOT_A_STREAM: (
            tr("{server} did not answer with a stream of events{quoted}.", **values),
            tr("Check `base_url` (most end in /v1), and whether the network needs a log-in."),
        ),
        FailureKind.ERROR_EVENT: (
            tr("{server} ended the answer with an error{quoted}.", **values),
            again,
        ),
        FailureKind.CUT: (
            tr("The connection to {server} broke before the end of the answer.", **values),
            again,
        ),
        FailureKind.GARBLED: (tr("{server} sent an invalid event.", **values), again),
        FailureKind.FILTERED: (
            tr("The content filter of {server} ended the answer.", **values),
            tr("Rephrase the question, or switch to another engine."),
        ),
        FailureKind.WANTED_TOOL: (
            tr("“{model}” called a tool, which this program does not offer.", **values),
            tr("Choose a model that answers in text."),
        ),
        FailureKind.NO_TOKENS_LEFT: (
            tr("“{model}” used all its tokens for thinking.", **values),
            tr("Raise `max_tokens` under {table}.", **values),
        ),
    }[kind]


def _explain_status(failure: Failure, values: dict[str, Any]) -> tuple[str, str]:
    match failure.status:
        case HTTPStatus.FORBIDDEN:
            return (
                tr("{server} does not let this account use “{model}”{quoted}.", **values),
                tr("Check the account's permissions and region, or switch to another engine."),
            )
        case HTTPStatus.TOO_MANY_REQUESTS:
            asks = failure.retry_after
            wait = tr(", which asks to wait {retry_after:g} s", **values) if asks else ""
            return (
                tr("Too many requests to {server}{wait}{quoted}.", wait=wait, **values),
                tr("Wait a moment, then ask again."),
            )
        case _ if _names_model(failure, values["model"]):
            return (
                tr("{server} does not serve a model “{model}”{quoted}.", **values),
                tr("Set `model` in {table} to a model that it serves.", **values),
            )
        case HTTPStatus.NOT_FOUND:
            return (
                tr("{server} does not offer chat completions at this address{quoted}.", **values),
                tr("Check the engine's `base_url`: most end in /v1."),
            )
        case status if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            message = tr("{server} failed (status {status}){quoted}.", **values)
            return message, tr("Ask again later.")
    return (
        tr("{server} refused the request (status {status}){quoted}.", **values),
        tr("Check the settings in {table}.", **values),
    )


def _explain_key(endpoint: Endpoint, values: dict[str, Any]) -> tuple[str, str]:
    if not endpoint.key_env:
        return (
            tr("{server} needs an API key.", **values),
            tr("Set `api_key_env` in {table} to the key's name.", **values),
        )
    if endpoint.has_key:
        message = tr("{server} rejected the API key in {key_env}.", **values)
    else:
        message = tr("{server} needs an API key, but {key_env} is not set.", **values)
    return message, tr("Set {key_env} to a valid key and start the program again.", **values)


def _names_model(failure: Failure, model: str) -> bool:
    if failure.code in {"model_not_found", "DeploymentNotFound"}:
        return True
    return any(f"{mark}{model}{mark}" in failure.words for mark in "'`\"")


def quoted(failure: Failure) -> str:
    """Return the server's message to append to an error; empty without one."""
    words = one_line(failure.words, _QUOTE_WIDTH).rstrip(".")
    return f": “{words}”" if words else ""
