"""What is told about a failure of an OpenAI-compatible server, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus

from engine.backends.openai.failures import Failure, Trouble
from engine.core.i18n import tr
from engine.core.text import one_line

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
            tr("The conversation is too long for “{model}”{quoted}.").format(
                model=asked.model, quoted=_quoted(failure)
            ),
            tr("Begin a new conversation, or lower `max_tokens` of this engine."),
        )
    if failure.quota:
        return (
            tr("The account at {server} has no credit left{quoted}.").format(
                server=asked.server, quoted=_quoted(failure)
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
            tr("{server} cannot be reached{quoted}.").format(server=server, quoted=quoted),
            tr("Check the network, that the server is running, and `base_url` of this engine."),
        ),
        Trouble.CONNECT_TIMEOUT: (
            tr("{server} took no connection within {connect_timeout:g} seconds.").format(
                server=server, connect_timeout=asked.connect_timeout
            ),
            tr("Check the network and `base_url`, or raise `connect_timeout` of this engine."),
        ),
        Trouble.HUNG_UP: (
            tr("{server} hung up without an answer{quoted}.").format(server=server, quoted=quoted),
            tr("Ask again."),
        ),
        Trouble.SILENT: (
            tr("Nothing came from {server} for {stall_timeout:g} seconds.").format(
                server=server, stall_timeout=asked.stall_timeout
            ),
            tr("Ask again, or raise `stall_timeout` of this engine for a server that is slow."),
        ),
        Trouble.NOT_A_STREAM: (
            tr("{server} answered, but not with a stream of words{quoted}.").format(
                server=server, quoted=quoted
            ),
            tr(
                "Check `base_url` (it mostly ends in /v1), and whether the network asks for a "
                "log-in."
            ),
        ),
        Trouble.ERROR_EVENT: (
            tr("{server} broke the answer off with an error{quoted}.").format(
                server=server, quoted=quoted
            ),
            again,
        ),
        Trouble.CUT: (
            tr("The connection to {server} broke before the answer was whole.").format(
                server=server
            ),
            again,
        ),
        Trouble.GARBLED: (
            tr("{server} sent something that is no part of an answer.").format(server=server),
            again,
        ),
        Trouble.FILTERED: (
            tr("The content filter of {server} ended the answer.").format(server=server),
            tr("Put the question in other words, or switch to another engine."),
        ),
        Trouble.WANTED_TOOL: (
            tr("“{model}” called for a tool, and this program offers none.").format(
                model=asked.model
            ),
            tr("Choose a model that answers in words."),
        ),
    }[failure.trouble]


def _explain_status(failure: Failure, asked: Asked) -> tuple[str, str]:
    server, model, quoted = asked.server, asked.model, _quoted(failure)
    match failure.status:
        case HTTPStatus.FORBIDDEN:
            return (
                tr("{server} does not let this account use “{model}”{quoted}.").format(
                    server=server, model=model, quoted=quoted
                ),
                tr("Check the account's rights and region there, or switch to another engine."),
            )
        case HTTPStatus.TOO_MANY_REQUESTS:
            wait = (
                tr(", and asks to wait {retry_after:g} s").format(retry_after=failure.retry_after)
                if failure.retry_after
                else ""
            )
            return tr("{server} is asked too often{wait}{quoted}.").format(
                server=server, wait=wait, quoted=quoted
            ), tr("Wait a while and ask again.")
        case status if _names_model(failure, model):
            return (
                tr("{server} does not serve a model “{model}”{quoted}.").format(
                    server=server, model=model, quoted=quoted
                ),
                tr("Set `model` of [engines.{engine_id}] to one that it serves.").format(
                    engine_id=asked.engine_id
                ),
            )
        case HTTPStatus.NOT_FOUND:
            return (
                tr("{server} has no chat at this address{quoted}.").format(
                    server=server, quoted=quoted
                ),
                tr("Check `base_url` of this engine: it mostly ends in /v1."),
            )
        case status if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return tr("{server} is in trouble (status {status}){quoted}.").format(
                server=server, status=status, quoted=quoted
            ), tr("Ask again in a while.")
        case status:
            return (
                tr("{server} refused the request (status {status}){quoted}.").format(
                    server=server, status=status, quoted=quoted
                ),
                tr("Check the settings under [engines.{engine_id}].").format(
                    engine_id=asked.engine_id
                ),
            )


def _explain_key(asked: Asked) -> tuple[str, str]:
    if not asked.key_env:
        return (
            tr("{server} asks for a key.").format(server=asked.server),
            tr("Name the variable that holds it: `api_key_env` of [engines.{engine_id}].").format(
                engine_id=asked.engine_id
            ),
        )
    if asked.has_key:
        told = tr("{server} does not accept the key in {key_env}.").format(
            server=asked.server, key_env=asked.key_env
        )
    else:
        told = tr("{server} asks for a key, and {key_env} is not set.").format(
            server=asked.server, key_env=asked.key_env
        )
    return told, tr("Put a valid key into {key_env} and start the program again.").format(
        key_env=asked.key_env
    )


def _names_model(failure: Failure, model: str) -> bool:
    if failure.code in {"model_not_found", "DeploymentNotFound"}:
        return True
    return any(f"{mark}{model}{mark}" in failure.words for mark in "'`\"")


def _quoted(failure: Failure) -> str:
    words = one_line(failure.words, _QUOTE_WIDTH).rstrip(".")
    return f": “{words}”" if words else ""
