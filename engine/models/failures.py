"""The hub client's errors as ours: what happened, and what to do about it.

By the client's documented errors (huggingface_hub.errors) and the system's own. No token is in any
of them, and none is put into ours.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
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
"""Of Llama's architecture, with chat templates, under Apache 2.0, without a gate."""

TOKEN = "HF_TOKEN"  # noqa: S105 - its name
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked of the hub, to tell of in an error. `page` is the model's page there."""

    model: str
    revision: str
    page: str
    has_token: bool


@contextmanager
def hub_errors(asked: Asked) -> Iterator[None]:
    """Turns what the client raises into BalcaoError."""
    try:
        yield
    except (OSError, httpx2.HTTPError) as error:
        raise _told(_cause(error), asked) from error


def gated(asked: Asked, *, by_hand: bool = False) -> BalcaoError:
    """The licence stands before the model; `by_hand`: its makers look at each request."""
    instead = tr("Open models need none of this: {models}.", models=tr(" or ").join(OPEN_MODELS))
    if asked.has_token:
        wait = tr(" Its makers look at each request, which may take days.") if by_hand else ""
        return BalcaoError(
            tr(
                "“{model}” is given only to who has accepted its licence, and the account of your "
                "token has not, or the token may not read it.",
                model=asked.model,
            ),
            tr(
                "Accept it at {page} with that account, and give the token the right to read gated "
                "models.{wait} {instead}",
                page=asked.page,
                wait=wait,
                instead=instead,
            ),
        )
    return BalcaoError(
        tr(
            "“{model}” is given only to who has accepted its licence, and there is no token that "
            "says who asks.",
            model=asked.model,
        ),
        tr(
            "With an account there: accept the licence at {page}, make a token that may read, "
            "and keep it: balcao keys set {token}. {instead}",
            page=asked.page,
            token=TOKEN,
            instead=instead,
        ),
    )


def _cause(error: Exception) -> Exception:
    """What the client wraps: it says "not found here" where it was the network that failed."""
    while isinstance(error.__cause__, OSError | httpx2.HTTPError) and isinstance(
        error, FileNotFoundError
    ):
        error = error.__cause__
    return error


def _told(error: Exception, asked: Asked) -> BalcaoError:
    for kind, tell in _OF_THE_HUB.items():
        # In the table's order: some are kinds of others.
        if isinstance(error, kind):
            return tell(asked)
    if isinstance(error, HfHubHTTPError):
        return _refused(error, asked)
    if isinstance(error, httpx2.HTTPError):
        return BalcaoError(
            tr(
                "The hub cannot be reached, or the connection broke off ({kind}: {error}).",
                kind=type(error).__name__,
                error=one_line(str(error), 120).rstrip("."),
            ),
            tr("Look after the network, a proxy, and HF_ENDPOINT. {goes_on}", goes_on=_goes_on()),
        )
    return _system(error)


def _shut_off(asked: Asked) -> BalcaoError:
    return BalcaoError(
        tr("The hub has shut off “{model}”.", model=asked.model), tr("Choose another model.")
    )


def _no_revision(asked: Asked) -> BalcaoError:
    return BalcaoError(
        tr("“{model}” has no revision “{revision}”.", model=asked.model, revision=asked.revision),
        tr("Its branches and tags are at {page}.", page=asked.page),
    )


def _no_model(asked: Asked) -> BalcaoError:
    private = tr("the token may not see it") if asked.has_token else tr("it is private")
    return BalcaoError(
        tr(
            "There is no model “{model}” on the hub, or {private}.",
            model=asked.model,
            private=private,
        ),
        tr(
            "Look for it at {page}; for a private one keep a token that may read it: balcao keys "
            "set {token}.",
            page=asked.page,
            token=TOKEN,
        ),
    )


def _offline(_: Asked) -> BalcaoError:
    return BalcaoError(
        tr("The hub's client is told to stay offline."),
        tr("Take HF_HUB_OFFLINE and TRANSFORMERS_OFFLINE out of the environment."),
    )


_OF_THE_HUB: dict[type[Exception], Callable[[Asked], BalcaoError]] = {
    GatedRepoError: gated,
    DisabledRepoError: _shut_off,
    RevisionNotFoundError: _no_revision,
    RepositoryNotFoundError: _no_model,
    OfflineModeIsEnabled: _offline,
}


def _goes_on() -> str:
    return tr("What has come is kept: the same command goes on from there.")


def _refused(error: HfHubHTTPError, asked: Asked) -> BalcaoError:
    status = error.response.status_code
    if status == HTTPStatus.UNAUTHORIZED:
        return BalcaoError(
            tr("The hub does not accept the token."),
            tr(
                "It may have expired: make another, and keep it: balcao keys set {token}.",
                token=TOKEN,
            ),
        )
    if status == HTTPStatus.FORBIDDEN:
        return gated(asked)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return BalcaoError(
            tr("The hub takes no more requests for now."),
            tr("Wait a while. {goes_on}", goes_on=_goes_on()),
        )
    said = one_line(error.server_message or "", 120).rstrip(".")
    return BalcaoError(
        tr(
            "The hub answered with status {status}{said}.",
            status=status,
            said=f": {said}" if said else "",
        ),
        tr("Try again later. {goes_on}", goes_on=_goes_on()),
    )


def _system(error: Exception) -> BalcaoError:
    if isinstance(error, OSError) and error.errno in _FULL:
        return BalcaoError(
            tr("The disk is full."),
            tr("Make room, or name another place with HF_HUB_CACHE. {goes_on}", goes_on=_goes_on()),
        )
    if isinstance(error, OSError) and error.errno is not None:
        where = f"{error.filename}: " if error.filename else ""
        return BalcaoError(
            tr("The model cannot be kept: {where}{why}.", where=where, why=why(error))
        )
    return BalcaoError(
        tr("The download failed: {error}.", error=one_line(str(error), 200).rstrip(".")),
        tr("Try again. {goes_on}", goes_on=_goes_on()),
    )
