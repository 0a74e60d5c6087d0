"""What can go wrong with an OpenAI-compatible server, in plain values.

Knows no library: the edge fills a `Failure` from what was caught; callers ask here whether to
try again, and `explaining` has what to tell the person.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum, auto
from http import HTTPStatus

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
