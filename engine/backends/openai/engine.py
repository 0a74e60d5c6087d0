"""The engine for OpenAI and compatible servers: vLLM, Ollama and others (docs/guide/openai.md).

The first frame of the chat waits for this module: the openai package is imported by client.py, in
a thread, when the engine is first used.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from datetime import UTC, date, datetime, timedelta
from math import inf
from threading import Lock
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import SplitResult, urlsplit

from msgspec import Meta
from msgspec.structs import replace

from engine.backends.base import ModelConfig, ModelEngine
from engine.config import paths
from engine.core.errors import BalcaoError, EngineUnavailable, SettingsError
from engine.core.i18n import tr
from engine.core.process import install_command, pip_command
from engine.core.text import one_line
from engine.core.types import Availability, Chunk, EngineFacts, Progress, Request

if TYPE_CHECKING:
    from engine.backends.openai.client import OpenAIClient
    from engine.backends.openai.failures import Endpoint


_WARN_AHEAD = timedelta(days=183)
"""Half a year, enough to train or deploy another model."""

_SNAPSHOT = re.compile(r"-\d{4}-\d{2}-\d{2}$")

_SHUT_DOWN: dict[str, date | None] = {
    "gpt-4o": date(2027, 1, 14),
    "gpt-4o-mini": date(2027, 1, 14),
    "gpt-4.1": date(2027, 1, 14),
    "gpt-4.1-mini": date(2027, 1, 14),
    "gpt-4.1-nano": None,
}
"""By base model; None is in the past."""

_PREDICTING = frozenset(("gpt-4o", "gpt-4o-mini", "gpt-4.1", "gpt-4.1-mini", "gpt-4.1-nano"))
"""OpenAI's models that take a prediction of the answer."""

LAST_JOBS = date(2027, 1, 6)
"""The last day on which OpenAI accepts fine-tuning jobs."""


def base_model(model: str) -> str:
    """Return a model id's base: `gpt-4o-mini` for `ft:gpt-4o-mini-2024-07-18:org::id`."""
    if model.startswith("ft:"):
        model = model.removeprefix("ft:").partition(":")[0]
    return _SNAPSHOT.sub("", model)


def shutdown_notice(model: str, today: date) -> str:
    """Return a sentence about the shutdown of an OpenAI model; empty if that is far away."""
    base = base_model(model)
    if base not in _SHUT_DOWN:
        return ""
    day = _SHUT_DOWN[base]
    tuned = tr(", and with it this fine-tuned model") if model.startswith("ft:") else ""
    values = {"base": base, "day": day, "tuned": tuned}
    if day is None:
        return tr("OpenAI has reportedly shut down {base}{tuned}.", **values)
    if today >= day:
        return tr("OpenAI planned to shut down {base} on {day}{tuned}.", **values)
    if today >= day - _WARN_AHEAD:
        return tr("OpenAI will reportedly shut down {base} on {day}{tuned}.", **values)
    return ""


_FIRST_YEAR, _LAST_YEAR = 2020, 2100


def parse_day(value: object) -> date | None:
    """Return the day of a server's `shutdown_date`: ISO 8601, or Unix seconds. None if neither."""
    try:
        if isinstance(value, str):
            day = datetime.fromisoformat(value.strip()).date()
        else:
            day = datetime.fromtimestamp(value, UTC).date() if type(value) is int else date.min
    except (ValueError, OverflowError, OSError):
        return None
    return day if _FIRST_YEAR <= day.year <= _LAST_YEAR else None


def tuning_notice(today: date) -> str:
    """Return a sentence about the end of fine-tuning at OpenAI."""
    if today > LAST_JOBS:
        return tr(
            "OpenAI has reportedly not accepted fine-tuning jobs since {last_jobs}.",
            last_jobs=LAST_JOBS,
        )
    return tr(
        "OpenAI is closing self-serve fine-tuning: reportedly since 2026-05-07 "
        "to new organisations, since 2026-07-02 to those without a tuned model "
        "in use, and after {last_jobs} to all.",
        last_jobs=LAST_JOBS,
    )


def parse_address(base_url: str | None) -> SplitResult | None:
    """Split a web address into its parts; None if it is missing or invalid."""
    try:
        parts = urlsplit(base_url or "")
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        # The request's path is appended, and would become a part of a query.
        usable = usable and not parts.query and not parts.fragment
    except ValueError:
        return None
    return parts if usable else None


def without_password(base_url: str | None) -> str | None:
    """Return the address without its user and password."""
    address = parse_address(base_url)
    if address is None or "@" not in address.netloc:
        return base_url
    return address._replace(netloc=address.netloc.rpartition("@")[2]).geturl()


def server_name(base_url: str | None) -> str:
    """Return the server's host and port, without user and password; OpenAI for None."""
    address = parse_address(base_url)
    return address.netloc.rpartition("@")[2] if address else "OpenAI"


def is_local(base_url: str | None) -> bool:
    """Return whether the address is this machine."""
    import ipaddress

    address = parse_address(base_url)
    host = (address.hostname if address else None) or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


_LIST_SECONDS = 8.0
"""Seconds to wait for a list of models."""
_MAX_MODELS, _MAX_ID = 500, 200
NO_KEY = "no-key-needed"
"""Sent to servers that need no key: the openai package insists on one."""


class OpenAIConfig(ModelConfig, frozen=True, forbid_unknown_fields=True):
    """The values of a model on an OpenAI-compatible server."""

    title: str = "OpenAI"
    model: str = ""
    """The model's id; OpenAI's fine-tuned ones begin with `ft:`."""
    base_url: str | None = None
    """None for OpenAI's own address."""
    # Only a name: a key that was written here by mistake would be shown as one.
    api_key_env: Annotated[str, Meta(pattern=r"\A([A-Za-z_]\w{0,127})?\Z")] = "OPENAI_API_KEY"
    """Name of the API key; empty for a server that needs none."""
    connect_timeout: Annotated[float, Meta(gt=0)] = 10.0
    """Seconds to connect."""
    stall_timeout: Annotated[float, Meta(gt=0)] = 60.0
    """Seconds without data before the answer fails, once it has begun."""
    first_token_timeout: Annotated[float, Meta(gt=0)] = 600.0
    """Seconds until the answer begins: a server may queue questions, or load the model."""
    max_retries: Annotated[int, Meta(ge=0, le=10)] = 2

    def key_name(self) -> str:
        """Return the name of the API key that the engine needs, or an empty string."""
        return self.api_key_env

    @property
    def address(self) -> str | None:
        """The server's address; None for OpenAI's own."""
        # The package reads that variable too: without it here, the chat would name another server.
        return self.base_url or os.environ.get("OPENAI_BASE_URL") or None

    def endpoint(self, engine_id: str, address: str | None) -> Endpoint:
        """Return the model at `address`, for a client."""
        from engine.backends.openai.failures import Endpoint
        from engine.config import keys

        return Endpoint(
            engine_id=engine_id,
            server=server_name(address),
            base_url=address,
            model=self.model,
            key_env=self.api_key_env,
            has_key=bool(self.api_key_env and keys.source(self.api_key_env)),
            connect_timeout=self.connect_timeout,
            stall_timeout=self.stall_timeout,
            first_token_timeout=self.first_token_timeout,
            max_retries=self.max_retries,
            predicts=address is None and _SNAPSHOT.sub("", self.model) in _PREDICTING,
        )


class OpenAIEngine(ModelEngine):
    """A model on a server. Stores the key's name, never the key."""

    kind = "openai"
    config_type = OpenAIConfig
    config: OpenAIConfig

    def __init__(self, engine_id: str, config: OpenAIConfig) -> None:
        self._base_url = config.address
        super().__init__(engine_id, config, remote=not is_local(self._base_url))
        self._session: OpenAIClient | None = None
        self._looked_up = False
        self._shutdown_day: date | None = None
        self._opening = Lock()

    @property
    def loaded(self) -> bool:
        """Whether there is a client."""
        return self._session is not None

    @property
    def queue(self) -> str:
        """The server: its engines share its limit."""
        return server_name(self._base_url)

    def availability(self) -> Availability:
        """Check the model, the address, the package and the key, without using the network."""
        table = paths.engine_table(self.info.id)
        if not self.config.model:
            return _not_ready(
                tr("No model is set for “{title}”.", title=self.info.title),
                tr("Set `model` under {table}.", table=table),
            )
        if self._base_url and parse_address(self._base_url) is None:
            return _not_ready(
                tr("The address of “{title}” is not a web address.", title=self.info.title),
                tr("Write `base_url` in {table} like http://localhost:8000/v1.", table=table),
            )
        from importlib.util import find_spec

        if find_spec("openai") is None:
            return _not_ready(
                tr("The openai package is not installed."),
                tr("Run: {command}", command=install_command()),
            )
        return self._key_availability()

    def facts(self) -> EngineFacts:
        """Return the model, the server, and the parameters that the model has refused."""
        return EngineFacts(
            model=self.config.model,
            address=self.queue,
            refused=self._session.refused if self._session else (),
        )

    def provenance(self) -> dict[str, Any]:
        """Return all that decides an answer, to compare evaluations of different days."""
        return {
            "kind": self.kind,
            "model": self.config.model,
            "server": self.queue,
            **self.config.sampling(),
            "system_prompt": self.system_prompt,
        }

    def summary(self) -> str:
        """Return the model and its server."""
        return tr("{model} at {address}", model=self.config.model, address=self.queue)

    def details(self) -> list[tuple[str, str]]:
        """Return the model, its server and the parameters."""
        return [
            (tr("model"), self.config.model),
            (tr("address"), self.queue),
            *self.parameter_details(),
        ]

    def warnings(self) -> list[str]:
        """Return a sentence for each thing to know before asking."""
        found = super().warnings()
        if refused := self.facts().refused:
            names = tr(" and no ").join(refused)
            found.append(
                tr("The model takes no {refused}: the server's default is used.", refused=names)
            )
        if self._shutdown_day is not None:
            values = {"address": self.queue, "day": self._shutdown_day}
            found.append(tr("The model is shut down on {day}, says {address}.", **values))
        return found

    async def look_up(self) -> None:
        """Ask the server, once, when it will shut the model down."""
        if self._looked_up:
            return
        self._looked_up = True
        with suppress(EngineUnavailable):
            for row in await self._models():
                if row.get("id") == self.config.model:
                    self._shutdown_day = parse_day(row.get("shutdown_date"))

    async def model_ids(self, key: str = "") -> list[str]:
        """Return the ids of the server's models, asked with `key` or the stored one.

        Raises EngineUnavailable.
        """
        ids = {row.get("id") for row in await self._models(key, _LIST_SECONDS)}
        # Others cannot be shown as they are.
        usable = (one for one in ids if isinstance(one, str) and one == one_line(one, _MAX_ID))
        return sorted(filter(None, usable))[:_MAX_MODELS]

    async def use_model(self, model: str) -> None:
        """Answer with this model, and a stored key read again, from now on."""
        self.config = replace(self.config, model=model)
        await self.unload()

    async def _models(self, key: str = "", patience: float = inf) -> list[dict[str, object]]:
        client = await asyncio.to_thread(self._make_client, key, patience)
        try:
            return await client.models()
        finally:
            await client.close()

    async def load(self) -> AsyncGenerator[Progress]:
        """Import the package and make the client, without using the network. Raises EngineError."""
        yield Progress(tr("loading the openai package"))
        await self._ready()
        yield Progress(tr("ready"), 1.0)

    async def unload(self) -> None:
        """Close the client and its connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def stream(self, request: Request) -> AsyncGenerator[Chunk]:
        """Answer. Raises EngineError."""
        session = await self._ready()
        async with aclosing(session.answer(request)) as chunks:
            async for chunk in chunks:
                yield self._with_notice(chunk)

    def _with_notice(self, chunk: Chunk) -> Chunk:
        if chunk.stop_reason is None or self._base_url:
            # Another server's model of the same name is not shut down with OpenAI's.
            return chunk
        lifetime = shutdown_notice(self.config.model, datetime.now(UTC).date())
        return replace(chunk, notice=f"{chunk.notice} {lifetime}".strip())

    async def _ready(self) -> OpenAIClient:
        if self._session is None:
            state = self.availability()
            if not state.ready:
                raise EngineUnavailable(state.reason, state.remedy)
            return await asyncio.to_thread(self._open)
        return self._session

    def _open(self) -> OpenAIClient:
        # A client reads all certificates: twenty first questions at once share one.
        with self._opening:
            if self._session is None:
                self._session = self._make_client()
            return self._session

    def _make_client(self, key: str = "", patience: float = inf) -> OpenAIClient:
        from engine.config import keys

        name = self.config.api_key_env
        try:
            from engine.backends.openai.client import OpenAIClient

            key = key or (keys.value(name) if name else "")
        except BalcaoError as error:
            raise EngineUnavailable(error.message, error.remedy) from None
        except ImportError as error:
            raise EngineUnavailable(
                tr("Cannot load the openai package: {error}.", error=error),
                tr("Run: {command}", command=pip_command("--force-reinstall", "openai")),
            ) from error
        config = replace(
            self.config,
            connect_timeout=min(self.config.connect_timeout, patience),
            stall_timeout=min(self.config.stall_timeout, patience),
        )
        return OpenAIClient(config.endpoint(self.info.id, self._base_url), key or NO_KEY)

    def _key_availability(self) -> Availability:
        from engine.config import keys

        variable = self.config.api_key_env
        try:
            found = keys.source(variable) if variable else None
        except SettingsError as error:
            return _not_ready(error.message, error.remedy)
        if found is None:
            return self._no_key_availability()
        # Not a key in the keyring: opening one may take seconds.
        if found is not keys.Source.KEYRING and not keys.is_sendable(keys.value(variable)):
            # Sending it would raise an error that shows it.
            names = {"variable": variable}
            return _not_ready(
                tr("Invalid API key in {variable}: it contains invalid characters.", **names),
                tr("Set {variable} to the key alone.", **names),
            )
        return Availability(ready=True)

    def _no_key_availability(self) -> Availability:
        name = self.config.api_key_env
        if self._base_url is not None:
            return Availability(ready=True)
        title, table = self.info.title, paths.engine_table(self.info.id)
        if not name:
            return _not_ready(
                tr("“{title}” needs an API key.", title=title),
                tr("Set `api_key_env` in {table} to its name.", table=table),
            )
        return _not_ready(
            tr("“{title}” needs an API key, but {name} is not set.", title=title, name=name),
            tr("Store it with `balcao keys set {name}`, or set the variable.", name=name),
        )


def _not_ready(reason: str, remedy: str) -> Availability:
    return Availability(ready=False, reason=reason, remedy=remedy)
