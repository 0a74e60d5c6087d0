"""The engine for OpenAI and every server that speaks its chat language: vLLM, Ollama, and more.

Light: the openai package is imported by openai_runtime, in a thread, when the engine is first used.
docs/guide/openai.md has the settings for each server.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, date, datetime, timedelta
from importlib.util import find_spec
from typing import TYPE_CHECKING

from msgspec.structs import replace

from engine.backends.openai.failures import Asked, is_here, server_name, split
from engine.config import keys, settings
from engine.core.errors import BalcaoError, EngineUnavailable, SettingsError
from engine.core.i18n import tr
from engine.core.types import Availability, Chunk, EngineFacts, EngineInfo, Progress, Request

if TYPE_CHECKING:
    from engine.backends.openai.client import Session


_WARN_AHEAD = timedelta(days=183)
"""Half a year: time enough to train or deploy something else."""

_SNAPSHOT = re.compile(r"-\d{4}-\d{2}-\d{2}$")

_SHUT_DOWN: dict[str, date | None] = {
    "gpt-4o": date(2027, 1, 14),
    "gpt-4o-mini": date(2027, 1, 14),
    "gpt-4.1": date(2027, 1, 14),
    "gpt-4.1-mini": date(2027, 1, 14),
    "gpt-4.1-nano": None,
}
"""By base model; None: shut already."""

LAST_JOBS = date(2027, 1, 6)
"""The last day on which anybody can start a fine-tuning job at OpenAI."""


def base_model(model: str) -> str:
    """The base that a model id stands on: without `ft:`, the owner's parts and the snapshot date.

    `ft:gpt-4o-mini-2024-07-18:org::id` gives `gpt-4o-mini`.
    """
    if model.startswith("ft:"):
        model = model.removeprefix("ft:").partition(":")[0]
    return _SNAPSHOT.sub("", model)


def notice(model: str, today: date) -> str:
    """A sentence about the end of one of OpenAI's models, or nothing while it is far off."""
    base = base_model(model)
    if base not in _SHUT_DOWN:
        return ""
    day = _SHUT_DOWN[base]
    tuned = tr(", and with it this fine-tuned model") if model.startswith("ft:") else ""
    if day is None:
        return tr("OpenAI is said to have shut down {base} already{tuned}.", base=base, tuned=tuned)
    if today >= day:
        return tr(
            "OpenAI was to shut down {base} on {day}{tuned}.", base=base, day=day, tuned=tuned
        )
    if today >= day - _WARN_AHEAD:
        return tr(
            "OpenAI is said to shut down {base} on {day}{tuned}.", base=base, day=day, tuned=tuned
        )
    return ""


def tuning_notice(today: date) -> str:
    """A sentence about the end of fine-tuning at OpenAI."""
    if today > LAST_JOBS:
        return tr(
            "OpenAI is said to take no fine-tuning jobs since {last_jobs}.", last_jobs=LAST_JOBS
        )
    return tr(
        "OpenAI is closing self-serve fine-tuning: organisations new to it are said to be "
        "shut out since 2026-05-07, those without a tuned model in use since 2026-07-02, and "
        "everybody after {last_jobs}.",
        last_jobs=LAST_JOBS,
    )


_NO_KEY = "no-key-needed"
"""Sent to a server of one's own that asks for none: the package insists on sending something."""


class OpenAIEngine:
    """One model behind one address. Holds the key's name, never the key."""

    def __init__(self, engine_id: str, row: settings.OpenAIEngine) -> None:
        self._row = row
        # The variable is the package's own; without it the question would go elsewhere than told.
        self._base_url = row.base_url or os.environ.get("OPENAI_BASE_URL") or None
        here = is_here(self._base_url)
        self._info = EngineInfo(engine_id, settings.shown_title(row), "openai", remote=not here)
        self._session: Session | None = None

    @property
    def info(self) -> EngineInfo:
        """Who this is."""
        return self._info

    @property
    def loaded(self) -> bool:
        """Whether there is a client."""
        return self._session is not None

    def availability(self) -> Availability:
        """Whether model, address, package and key are there; no network is used."""
        table = f"[engines.{self._info.id}]"
        if not self._row.model:
            return _not_ready(
                tr("No model is set for “{title}”.", title=self._info.title),
                tr("Set `model` under {table}.", table=table),
            )
        if self._base_url and split(self._base_url) is None:
            return _not_ready(
                tr("The address of “{title}” is no plain web address.", title=self._info.title),
                tr("Write `base_url` under {table} like http://localhost:8000/v1.", table=table),
            )
        if find_spec("openai") is None:
            return _not_ready(
                tr("The openai package is missing."), tr("Install it: pip install openai.")
            )
        return self._key_availability()

    def facts(self) -> EngineFacts:
        """The model's name, the server without user and password, and what the model refused."""
        return EngineFacts(
            model=self._row.model,
            address=server_name(self._base_url),
            refused=self._session.refused if self._session else (),
        )

    async def load(self) -> AsyncGenerator[Progress]:
        """Import the package and make the client; no network is used. Raises EngineError."""
        yield Progress(tr("loading the openai package"))
        await self._ready()
        yield Progress(tr("ready"), 1.0)

    async def unload(self) -> None:
        """Close the client and its connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def stream(self, request: Request) -> AsyncGenerator[Chunk]:
        """Answer in chunks as they come. Raises EngineError; what came before stays valid."""
        session = await self._ready()
        async with aclosing(session.answer(request)) as chunks:
            async for chunk in chunks:
                yield self._with_notice(chunk)

    def _with_notice(self, chunk: Chunk) -> Chunk:
        if chunk.stop_reason is None or self._base_url:
            # Another server's model of the same name has a life of its own.
            return chunk
        lifetime = notice(self._row.model, datetime.now(UTC).date())
        return replace(chunk, notice=f"{chunk.notice} {lifetime}".strip())

    async def _ready(self) -> Session:
        if self._session is None:
            state = self.availability()
            if not state.ready:
                raise EngineUnavailable(state.reason, state.remedy)
            return self._keep(await asyncio.to_thread(self._open))
        return self._session

    def _keep(self, session: Session) -> Session:
        """The first client that was made, should several questions have asked for it at once."""
        if self._session is None:
            self._session = session
        return self._session

    def _open(self) -> Session:
        try:
            from engine.backends.openai.client import Limits, Session
        except ImportError as error:
            raise EngineUnavailable(
                tr("The openai package cannot be loaded: {error}.", error=error),
                tr("Install it again: pip install --force-reinstall openai."),
            ) from error
        row = self._row
        limits = Limits(row.connect_timeout, row.stall_timeout, row.max_retries)
        return Session(self._asked(), self._base_url, self._key() or _NO_KEY, limits)

    def _asked(self) -> Asked:
        row = self._row
        return Asked(
            engine_id=self._info.id,
            server=server_name(self._base_url),
            model=row.model,
            key_env=row.api_key_env,
            has_key=bool(self._row.api_key_env and keys.source(self._row.api_key_env)),
            connect_timeout=row.connect_timeout,
            stall_timeout=row.stall_timeout,
        )

    def _key_availability(self) -> Availability:
        variable = self._row.api_key_env
        try:
            found = keys.source(variable) if variable else None
        except SettingsError as error:
            return _not_ready(error.message, error.remedy)
        if found is None:
            return self._no_key_availability()
        # A key in the keyring is looked at when it is needed: opening one may take its time.
        if found is not keys.Source.KEYRING and not keys.is_sendable(keys.value(variable)):
            # It could not be sent, and the error of trying would show it.
            return _not_ready(
                tr(
                    "What {variable} holds cannot be a key: it has characters that none has.",
                    variable=variable,
                ),
                tr("Put the key into {variable} once more, by itself.", variable=variable),
            )
        return Availability(ready=True)

    def _no_key_availability(self) -> Availability:
        variable = self._row.api_key_env
        if self._base_url is not None:
            return Availability(ready=True)
        named = (
            tr("{variable} is not set", variable=variable)
            if variable
            else tr("`api_key_env` names no variable")
        )
        keeping = (
            tr(", or keep it: balcao keys set {variable}", variable=variable) if variable else ""
        )
        return _not_ready(
            tr("“{title}” needs a key, and {named}.", title=self._info.title, named=named),
            tr(
                "Put the key into {variable} before starting the program{keeping}.",
                variable=variable or tr("a variable"),
                keeping=keeping,
            ),
        )

    def _key(self) -> str:
        """The key, or nothing. Raises EngineUnavailable if the keyring keeps it to itself."""
        try:
            return keys.value(self._row.api_key_env) if self._row.api_key_env else ""
        except BalcaoError as error:
            raise EngineUnavailable(error.message, error.remedy) from None


def _not_ready(reason: str, remedy: str) -> Availability:
    return Availability(ready=False, reason=reason, remedy=remedy)
