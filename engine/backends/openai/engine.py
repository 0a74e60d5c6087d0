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
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import SplitResult, urlsplit

from msgspec import Meta
from msgspec.structs import replace

from engine.backends.base import ModelConfig, ModelEngine
from engine.config import keys
from engine.core.errors import BalcaoError, EngineUnavailable, SettingsError
from engine.core.i18n import tr
from engine.core.types import Availability, Chunk, EngineFacts, Progress, Request

if TYPE_CHECKING:
    from engine.backends.openai.client import Session
    from engine.backends.openai.failures import Asked


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


def split(base_url: str | None) -> SplitResult | None:
    """The parts of a web address; None for none, and for what is not one."""
    try:
        parts = urlsplit(base_url or "")
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        # The path of a request is put behind it, where a query would swallow that path.
        usable = usable and not parts.query and not parts.fragment
    except ValueError:
        return None
    return parts if usable else None


def server_name(base_url: str | None) -> str:
    """The server for a sentence: host and port without user and password; OpenAI for none."""
    address = split(base_url)
    return address.netloc.rpartition("@")[2] if address else "OpenAI"


def is_here(base_url: str | None) -> bool:
    """Whether the address is this machine."""
    import ipaddress

    address = split(base_url)
    host = (address.hostname if address else None) or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


_NO_KEY = "no-key-needed"
"""Sent to a server of one's own that asks for none: the package insists on sending something."""


class OpenAIConfig(ModelConfig, frozen=True, forbid_unknown_fields=True):
    """The values of a model behind an OpenAI-compatible address."""

    title: str = "OpenAI"
    model: str = ""
    """The model's id; OpenAI's fine-tuned ones begin with `ft:`."""
    base_url: str | None = None
    """None for OpenAI's own address."""
    api_key_env: str = "OPENAI_API_KEY"
    """Name of the API key; empty for a server that needs none."""
    connect_timeout: Annotated[float, Meta(gt=0)] = 10.0
    """Seconds to connect."""
    stall_timeout: Annotated[float, Meta(gt=0)] = 60.0
    """Seconds without data before the answer fails."""
    max_retries: Annotated[int, Meta(ge=0, le=10)] = 2

    def key_name(self) -> str:
        """Return the name of the API key that the engine needs, or an empty string."""
        return self.api_key_env

    @property
    def address(self) -> str | None:
        """The server's address; None for OpenAI's own."""
        # The package reads that variable too: without it here, the chat would name another server.
        return self.base_url or os.environ.get("OPENAI_BASE_URL") or None


class OpenAIEngine(ModelEngine):
    """One model behind one address. Holds the key's name, never the key."""

    kind = "openai"
    config_type = OpenAIConfig
    concurrent = True
    config: OpenAIConfig

    def __init__(self, engine_id: str, config: OpenAIConfig) -> None:
        self._base_url = config.address
        super().__init__(engine_id, config, remote=not is_here(self._base_url))
        self._session: Session | None = None

    @property
    def loaded(self) -> bool:
        """Whether there is a client."""
        return self._session is not None

    def availability(self) -> Availability:
        """Whether model, address, package and key are there; no network is used."""
        table = f"[engines.{self.info.id}]"
        if not self.config.model:
            return _not_ready(
                tr("No model is set for “{title}”.", title=self.info.title),
                tr("Set `model` under {table}.", table=table),
            )
        if self._base_url and split(self._base_url) is None:
            return _not_ready(
                tr("The address of “{title}” is no plain web address.", title=self.info.title),
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
            model=self.config.model,
            address=server_name(self._base_url),
            refused=self._session.refused if self._session else (),
        )

    def provenance(self) -> dict[str, Any]:
        """Return all that decides an answer, to compare evaluations of different days."""
        config = self.config
        return {
            "kind": self.kind,
            "model": config.model,
            "server": server_name(self._base_url),
            "max_tokens": config.max_tokens,
            "temperature": config.temperature,
            "top_p": config.top_p,
            "system_prompt": config.system_prompt,
        }

    def summary(self, products: int) -> str:  # noqa: ARG002 - the catalogue's
        """Return the model and its server."""
        address = server_name(self._base_url)
        return tr("{model} at {address}", model=self.config.model, address=address)

    def details(self) -> list[tuple[str, str]]:
        """Return the model, its server and the parameters."""
        return [
            (tr("model"), self.config.model),
            (tr("address"), server_name(self._base_url)),
            *self.parameter_details(),
        ]

    def warnings(self) -> list[str]:
        """Return a sentence for each thing to know before asking."""
        found = super().warnings()
        if refused := self.facts().refused:
            found.append(
                tr(
                    "The model takes no {refused}: the server's own holds.",
                    refused=tr(" and no ").join(refused),
                )
            )
        return found

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
        lifetime = notice(self.config.model, datetime.now(UTC).date())
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
        config = self.config
        limits = Limits(config.connect_timeout, config.stall_timeout, config.max_retries)
        return Session(self._asked(), self._base_url, self._key() or _NO_KEY, limits)

    def _asked(self) -> Asked:
        from engine.backends.openai.failures import Asked

        config = self.config
        return Asked(
            engine_id=self.info.id,
            server=server_name(self._base_url),
            model=config.model,
            key_env=config.api_key_env,
            has_key=bool(self.config.api_key_env and keys.source(self.config.api_key_env)),
            connect_timeout=config.connect_timeout,
            stall_timeout=config.stall_timeout,
        )

    def _key_availability(self) -> Availability:
        variable = self.config.api_key_env
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
        variable = self.config.api_key_env
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
            tr("“{title}” needs a key, and {named}.", title=self.info.title, named=named),
            tr(
                "Put the key into {variable} before starting the program{keeping}.",
                variable=variable or tr("a variable"),
                keeping=keeping,
            ),
        )

    def _key(self) -> str:
        """The key, or nothing. Raises EngineUnavailable if the keyring keeps it to itself."""
        try:
            return keys.value(self.config.api_key_env) if self.config.api_key_env else ""
        except BalcaoError as error:
            raise EngineUnavailable(error.message, error.remedy) from None


def _not_ready(reason: str, remedy: str) -> Availability:
    return Availability(ready=False, reason=reason, remedy=remedy)
