"""Turn the hub client's errors into errors with a remedy. Heavy: imports huggingface_hub.

The client's documented errors (huggingface_hub.errors) and the system's own never contain a token,
and neither do these.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus

import httpx2
from huggingface_hub.errors import (
    DisabledRepoError,
    GatedRepoError,
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from engine.core.errors import BalcaoError, why
from engine.core.i18n import tr
from engine.core.text import one_line

OPEN_MODELS = ("TinyLlama/TinyLlama-1.1B-Chat-v1.0", "HuggingFaceTB/SmolLM2-360M-Instruct")
"""Llama models with chat templates, under Apache 2.0 and not gated."""

TOKEN = "HF_TOKEN"  # noqa: S105 - its name
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True, slots=True)
class HubRequest:
    """A request to the hub, for its error messages. `page` is the model's page there."""

    model: str
    revision: str
    page: str
    has_token: bool


@contextmanager
def hub_errors(request: HubRequest) -> Iterator[None]:
    """Raise BalcaoError for what the client raises in the block."""
    try:
        yield
    except (OSError, httpx2.HTTPError) as error:
        raise _explain(_cause(error), request) from error


def gated(request: HubRequest, *, by_hand: bool = False) -> BalcaoError:
    """Return the error for a gated model; `by_hand`: its makers review each request."""
    open_models = tr(
        "Open models need none of this: {models}.", models=tr(" or ").join(OPEN_MODELS)
    )
    if request.has_token:
        wait = tr(" Its makers review each request, which can take days.") if by_hand else ""
        return BalcaoError(
            tr("“{model}” is gated, and your token cannot read it.", model=request.model),
            tr(
                "Accept its licence at {page} with the token's account, and let the token read "
                "gated models.{wait} {open_models}",
                page=request.page,
                wait=wait,
                open_models=open_models,
            ),
        )
    return BalcaoError(
        tr("“{model}” is gated and needs a token.", model=request.model),
        tr(
            "Accept its licence at {page}, create a token with read access there, and store it: "
            "balcao keys set {token}. {open_models}",
            page=request.page,
            token=TOKEN,
            open_models=open_models,
        ),
    )


def _cause(error: Exception) -> Exception:
    """Unwrap the client's "not found in the cache", which hides the failure of the network."""
    while isinstance(error.__cause__, OSError | httpx2.HTTPError) and isinstance(
        error, FileNotFoundError
    ):
        error = error.__cause__
    return error


def _explain(error: Exception, request: HubRequest) -> BalcaoError:
    resume = tr("Run the command again to resume the download.")
    match error:
        case OfflineModeIsEnabled():
            return BalcaoError(
                tr("The hub client is in offline mode."),
                tr("Unset HF_HUB_OFFLINE and TRANSFORMERS_OFFLINE."),
            )
        case HfHubHTTPError():
            return _explain_refusal(error, request)
        case httpx2.HTTPError():
            return BalcaoError(
                tr(
                    "Cannot reach the hub, or the connection was lost ({kind}: {error}).",
                    kind=type(error).__name__,
                    error=one_line(str(error), 120).rstrip("."),
                ),
                tr("Check the network, the proxy and HF_ENDPOINT. {resume}", resume=resume),
            )
        case OSError() if error.errno in _DISK_FULL:
            remedy = tr("Free some space, or choose another folder with HF_HUB_CACHE.")
            return BalcaoError(tr("The disk is full."), f"{remedy} {resume}")
        case OSError() if error.errno is not None:
            file = f"{error.filename}: " if error.filename else ""
            return BalcaoError(tr("Cannot save the model: {file}{why}.", file=file, why=why(error)))
        case _:
            message = one_line(str(error), 200).rstrip(".")
            return BalcaoError(tr("The download failed: {error}.", error=message), resume)


def _explain_refusal(error: HfHubHTTPError, request: HubRequest) -> BalcaoError:
    status = error.response.status_code
    forbidden = status == HTTPStatus.FORBIDDEN and not isinstance(error, DisabledRepoError)
    if forbidden or isinstance(error, GatedRepoError):
        return gated(request)
    if isinstance(error, RevisionNotFoundError):
        return BalcaoError(
            tr(
                "Revision “{revision}” of “{model}” not found.",
                revision=request.revision,
                model=request.model,
            ),
            tr("Its branches and tags are listed at {page}.", page=request.page),
        )
    if isinstance(error, RepositoryNotFoundError):
        private = tr("your token cannot read it") if request.has_token else tr("it is private")
        return BalcaoError(
            tr(
                "Model “{model}” not found on the hub, or {private}.",
                model=request.model,
                private=private,
            ),
            tr(
                "Check its name at {page}. For a private model, store a token with read access: "
                "balcao keys set {token}.",
                page=request.page,
                token=TOKEN,
            ),
        )
    if status == HTTPStatus.UNAUTHORIZED:
        return BalcaoError(
            tr("The hub rejected the token."),
            tr("Create a new one and store it: balcao keys set {token}.", token=TOKEN),
        )
    words = one_line(error.server_message or error.response.reason_phrase, 120).rstrip(".")
    return BalcaoError(
        tr("The hub replied with status {reply}.", reply=f"{status} {words}".strip()),
        tr("Try again later. Run the command again to resume the download."),
    )
