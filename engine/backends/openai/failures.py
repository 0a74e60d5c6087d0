"""What can go wrong with an OpenAI-compatible server, in plain values.

Knows no library: the edge fills a `Failure` from what was caught; callers ask here whether to
try again, and `explaining` has what to tell the person.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum, auto
from http import HTTPStatus

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
_REFUSAL_CODES = {"unsupported_parameter", "unsupported_value", "unknown_parameter"}
_REFUSAL_WORDS = re.compile(
    r"unsupported|not supported|does not support|unknown|unrecognized|unexpected"
    r"|extra (inputs|fields)|not permitted|not allowed",
    re.IGNORECASE,
)
_AGAIN = {
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.CONFLICT,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.INTERNAL_SERVER_ERROR,
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
    529,  # not in the standard library: "overloaded"
}


class Trouble(StrEnum):
    """The kinds of failure that a person has to tell apart."""

    UNREACHABLE = auto()
    """No connection came about."""
    CONNECT_TIMEOUT = auto()
    """No connection came about in time."""
    HUNG_UP = auto()
    """The connection ended without a word of an answer."""
    SILENT = auto()
    """Nothing came for too long."""
    REFUSED = auto()
    """An error status."""
    NOT_A_STREAM = auto()
    """Something else than a stream of events, with a status that says all is well."""
    ERROR_EVENT = auto()
    """An error in the midst of the stream."""
    CUT = auto()
    """The stream ended before the answer did."""
    GARBLED = auto()
    """The stream holds what is no event."""
    FILTERED = auto()
    """The server's content filter ended the answer."""
    WANTED_TOOL = auto()
    """The model called a tool; none was offered."""


@dataclass(frozen=True, slots=True)
class Failure:
    """One failure. `status` is 0 where there was none; `words` are the server's, of any length.

    `retry_after` is in seconds; `may_retry` is the server's own word on it, if it gave one.
    """

    trouble: Trouble
    status: int = 0
    code: str = ""
    param: str = ""
    words: str = ""
    retry_after: float | None = None
    may_retry: bool | None = None

    @property
    def quota(self) -> bool:
        """Whether the account has run dry: no waiting helps."""
        return self.status == HTTPStatus.PAYMENT_REQUIRED or self.code in _QUOTA_CODES

    @property
    def too_long(self) -> bool:
        """Whether prompt and answer do not fit the model's context."""
        if self.code in _CONTEXT_CODES or self.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            return True
        bad = self.status in (HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY)
        return (bad or not self.status) and bool(_CONTEXT_WORDS.search(self.words))

    @property
    def retryable(self) -> bool:
        """Whether asking again may help. A time limit that ran out is not stretched by that."""
        if self.quota:
            return False
        if self.trouble is Trouble.REFUSED:
            return self.status in _AGAIN if self.may_retry is None else self.may_retry
        return self.trouble in (Trouble.UNREACHABLE, Trouble.HUNG_UP)

    def refuses(self, field: str) -> bool:
        """Whether it is the request's field of that name that the server will not have."""
        bad = self.status in (HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY)
        refused = self.code in _REFUSAL_CODES or _REFUSAL_WORDS.search(self.words)
        if not bad or self.too_long or not refused:
            return False
        if self.param:
            return self.param.partition(".")[0] == field
        return bool(re.search(rf"\b{field}\b", self.words))


def server_words(body: object) -> tuple[str, str, str]:
    """Code, parameter and message from an error's body, in any of the shapes that servers use.

    OpenAI's `{"error": {…}}`, a bare string under `error`, FastAPI's `{"detail": …}` and vLLM's
    flat object. Each is an empty string where it is missing.
    """
    if isinstance(body, Mapping):
        inner = body.get("error", body)
        if not isinstance(inner, Mapping):
            return "", "", _words(inner)
        # vLLM and llama.cpp repeat the status as a numeric code; their `type` tells more.
        code = inner.get("code")
        code = code if isinstance(code, str) else inner.get("type")
        message = inner.get("message") or inner.get("detail") or ""
        return _text(code), _text(inner.get("param")), _words(message)
    return "", "", _words(body)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _words(value: object) -> str:
    if isinstance(value, str):
        # An error page says nothing to a person.
        return "" if value.lstrip().startswith("<") else value
    if isinstance(value, list):
        return "; ".join(_detail(part) for part in value)
    return "" if value is None else str(value)


def _detail(part: object) -> str:
    """One of FastAPI's complaints: where, and what."""
    if not isinstance(part, Mapping):
        return str(part)
    where = part.get("loc")
    path = ".".join(str(step) for step in where) if isinstance(where, (list, tuple)) else ""
    return f"{path}: {part.get('msg', '')}".strip(": ")


FIRST_WAIT, LONGEST_WAIT = 0.5, 8.0
"""Seconds between tries where the server names no time: doubled each time, as openai's own."""


def wait_before_retry(failure: Failure, tried: int, retries: int, patience: float) -> float | None:
    """Seconds until the next try; None: leave it.

    `tried` counts the tries that `retries` limits. A server that names a time is asked again for
    as long as `patience` (seconds left) allows, so that many questions at once are paced by it.
    """
    if not failure.retryable or not retries:
        return None
    if failure.retry_after:
        return failure.retry_after if failure.retry_after <= patience else None
    if tried >= retries:
        return None
    jitter = random.uniform(0.75, 1.0)  # noqa: S311 - spreads the load, guards nothing
    return min(FIRST_WAIT * 2.0**tried, LONGEST_WAIT) * jitter


_QUOTE_WIDTH = 300
"""Characters of a server's own words that an error quotes."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Who was asked, for the sentences: the engine's id, the server's name, the model, limits."""

    engine_id: str
    server: str
    model: str
    key_env: str
    has_key: bool
    connect_timeout: float
    stall_timeout: float


def explain(failure: Failure, asked: Asked) -> tuple[str, str]:
    """What happened and what to do about it, as two sentences for a person."""
    if failure.too_long:
        return (
            tr(
                "The conversation is too long for “{model}”{quoted}.",
                model=asked.model,
                quoted=_quoted(failure),
            ),
            tr("Begin a new conversation, or lower `max_tokens` of this engine."),
        )
    if failure.quota:
        return (
            tr(
                "The account at {server} has no credit left{quoted}.",
                server=asked.server,
                quoted=_quoted(failure),
            ),
            tr("Add credit or raise the limit in that account, or switch to another engine."),
        )
    if failure.trouble is not Trouble.REFUSED:
        return _explain_trouble(failure, asked)
    if failure.status == HTTPStatus.UNAUTHORIZED:
        # The server's words are not quoted: some repeat a part of the key.
        return _explain_key(asked)
    return _explain_status(failure, asked)


def _explain_trouble(failure: Failure, asked: Asked) -> tuple[str, str]:
    server, quoted = asked.server, _quoted(failure)
    again = tr("Ask again; what came is kept.")
    return {
        Trouble.UNREACHABLE: (
            tr("{server} cannot be reached{quoted}.", server=server, quoted=quoted),
            tr("Check the network, that the server is running, and `base_url` of this engine."),
        ),
        Trouble.CONNECT_TIMEOUT: (
            tr(
                "{server} took no connection within {connect_timeout:g} seconds.",
                server=server,
                connect_timeout=asked.connect_timeout,
            ),
            tr("Check the network and `base_url`, or raise `connect_timeout` of this engine."),
        ),
        Trouble.HUNG_UP: (
            tr("{server} hung up without an answer{quoted}.", server=server, quoted=quoted),
            tr("Ask again."),
        ),
        Trouble.SILENT: (
            tr(
                "Nothing came from {server} for {stall_timeout:g} seconds.",
                server=server,
                stall_timeout=asked.stall_timeout,
            ),
            tr("Ask again, or raise `stall_timeout` of this engine for a server that is slow."),
        ),
        Trouble.NOT_A_STREAM: (
            tr(
                "{server} answered, but not with a stream of words{quoted}.",
                server=server,
                quoted=quoted,
            ),
            tr(
                "Check `base_url` (it mostly ends in /v1), and whether the network asks for a "
                "log-in."
            ),
        ),
        Trouble.ERROR_EVENT: (
            tr(
                "{server} broke the answer off with an error{quoted}.", server=server, quoted=quoted
            ),
            again,
        ),
        Trouble.CUT: (
            tr("The connection to {server} broke before the answer was whole.", server=server),
            again,
        ),
        Trouble.GARBLED: (
            tr("{server} sent something that is no part of an answer.", server=server),
            again,
        ),
        Trouble.FILTERED: (
            tr("The content filter of {server} ended the answer.", server=server),
            tr("Put the question in other words, or switch to another engine."),
        ),
        Trouble.WANTED_TOOL: (
            tr("“{model}” called for a tool, and this program offers none.", model=asked.model),
            tr("Choose a model that answers in words."),
        ),
    }[failure.trouble]


def _explain_status(failure: Failure, asked: Asked) -> tuple[str, str]:
    server, model, quoted = asked.server, asked.model, _quoted(failure)
    match failure.status:
        case HTTPStatus.FORBIDDEN:
            return (
                tr(
                    "{server} does not let this account use “{model}”{quoted}.",
                    server=server,
                    model=model,
                    quoted=quoted,
                ),
                tr("Check the account's rights and region there, or switch to another engine."),
            )
        case HTTPStatus.TOO_MANY_REQUESTS:
            wait = (
                tr(", and asks to wait {retry_after:g} s", retry_after=failure.retry_after)
                if failure.retry_after
                else ""
            )
            return tr(
                "{server} is asked too often{wait}{quoted}.",
                server=server,
                wait=wait,
                quoted=quoted,
            ), tr("Wait a while and ask again.")
        case status if _names_model(failure, model):
            return (
                tr(
                    "{server} does not serve a model “{model}”{quoted}.",
                    server=server,
                    model=model,
                    quoted=quoted,
                ),
                tr(
                    "Set `model` of [engines.{engine_id}] to one that it serves.",
                    engine_id=asked.engine_id,
                ),
            )
        case HTTPStatus.NOT_FOUND:
            return (
                tr("{server} has no chat at this address{quoted}.", server=server, quoted=quoted),
                tr("Check `base_url` of this engine: it mostly ends in /v1."),
            )
        case status if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return tr(
                "{server} is in trouble (status {status}){quoted}.",
                server=server,
                status=status,
                quoted=quoted,
            ), tr("Ask again in a while.")
        case status:
            return (
                tr(
                    "{server} refused the request (status {status}){quoted}.",
                    server=server,
                    status=status,
                    quoted=quoted,
                ),
                tr("Check the settings under [engines.{engine_id}].", engine_id=asked.engine_id),
            )


def _explain_key(asked: Asked) -> tuple[str, str]:
    if not asked.key_env:
        return (
            tr("{server} asks for a key.", server=asked.server),
            tr(
                "Name the variable that holds it: `api_key_env` of [engines.{engine_id}].",
                engine_id=asked.engine_id,
            ),
        )
    if asked.has_key:
        told = tr(
            "{server} does not accept the key in {key_env}.",
            server=asked.server,
            key_env=asked.key_env,
        )
    else:
        told = tr(
            "{server} asks for a key, and {key_env} is not set.",
            server=asked.server,
            key_env=asked.key_env,
        )
    return told, tr(
        "Put a valid key into {key_env} and start the program again.", key_env=asked.key_env
    )


def _names_model(failure: Failure, model: str) -> bool:
    if failure.code in {"model_not_found", "DeploymentNotFound"}:
        return True
    return any(f"{mark}{model}{mark}" in failure.words for mark in "'`\"")


def _quoted(failure: Failure) -> str:
    words = one_line(failure.words, _QUOTE_WIDTH).rstrip(".")
    return f": “{words}”" if words else ""
