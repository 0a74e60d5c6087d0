"""What is told when a server refuses a fine-tuning job, or breaks off, and what to do then."""

from __future__ import annotations

import re
from http import HTTPStatus

from engine.backends.openai.failures import Asked, Failure, Trouble, explain
from engine.core.text import one_line

_OTHER_WAYS = (
    "Use another provider's address (--base-url), or train a LoRA on a machine of yours:"
    " `balcao train`."
)
_CLOSED = re.compile(
    r"fine-?tun\w*\b.{0,80}\b(not available|no longer|unavailable|closed|disabled|deprecated"
    r"|not enabled|not supported)",
    re.IGNORECASE,
)
_NOT_READY = re.compile(r"not ready|still (being )?process|being processed", re.IGNORECASE)
_AGAIN = "Nothing is lost: the same command with --resume goes on from here."
_WIDTH = 300
_TROUBLE = HTTPStatus.INTERNAL_SERVER_ERROR


def explain_job(failure: Failure, asked: Asked) -> tuple[str, str]:
    """What happened and what to do about it, as two sentences for a person."""
    quoted = _quoted(failure)
    if failure.quota:
        return explain(failure, asked)[0], f"Add credit or raise the limit there. {_AGAIN}"
    if failure.trouble in (Trouble.NOT_A_STREAM, Trouble.GARBLED):
        return (
            f"{asked.server} answered with something else than it should{quoted}.",
            "Check the address (it mostly ends in /v1), and whether the network asks for a log-in.",
        )
    if failure.trouble is not Trouble.REFUSED:
        return explain(failure, asked)[0], f"Check the network. {_AGAIN}"
    if is_closed(failure):
        return (
            f"{asked.server} lets this account start no fine-tuning of “{asked.model}”{quoted}.",
            f"OpenAI is closing self-serve fine-tuning (docs/guide/fine-tuning.md). {_OTHER_WAYS}",
        )
    return _explain_status(failure, asked, quoted)


def is_closed(failure: Failure) -> bool:
    """Whether the account may not tune at all, rather than this once."""
    if failure.status == HTTPStatus.FORBIDDEN:
        return True
    bad = failure.status in (HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND, HTTPStatus.GONE)
    return bad and bool(_CLOSED.search(failure.words))


def is_not_ready(failure: Failure) -> bool:
    """Whether the server is not yet done with a file that was uploaded."""
    return failure.status == HTTPStatus.BAD_REQUEST and bool(_NOT_READY.search(failure.words))


def may_have_worked(failure: Failure) -> bool:
    """Whether the server may have done what it was asked for, in spite of the failure."""
    if failure.trouble is Trouble.REFUSED:
        unclear = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT)
        return failure.status in unclear or failure.status >= HTTPStatus.INTERNAL_SERVER_ERROR
    return failure.trouble is not Trouble.CONNECT_TIMEOUT


def _explain_status(failure: Failure, asked: Asked, quoted: str) -> tuple[str, str]:
    match failure.status:
        case HTTPStatus.UNAUTHORIZED:
            return explain(failure, asked)[0], f"Run `balcao keys set {asked.key_env}`. {_AGAIN}"
        case HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            return f"The file is too large for {asked.server}{quoted}.", "Prepare fewer rows."
        case status if status == HTTPStatus.TOO_MANY_REQUESTS or status >= _TROUBLE:
            return explain(failure, asked)[0], f"Wait a while. {_AGAIN}"
        case HTTPStatus.NOT_FOUND if asked.model not in failure.words:
            return (
                f"{asked.server} does not know what was asked for{quoted}.",
                "It may be another account's or project's than the key is; or there is no tuning.",
            )
        case HTTPStatus.NOT_FOUND:
            return (
                f"{asked.server} does not serve a model “{asked.model}”{quoted}.",
                f"Name one that can be tuned there: --model. {_OTHER_WAYS}",
            )
        case status:
            return (
                f"{asked.server} refused the job (status {status}){quoted}.",
                f"Change what it names. {_AGAIN}",
            )


def _quoted(failure: Failure) -> str:
    words = one_line(failure.words, _WIDTH).rstrip(".")
    return f": “{words}”" if words else ""
