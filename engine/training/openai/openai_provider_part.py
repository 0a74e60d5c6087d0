"""Finds out which server a job goes to and with which key, and opens it when it is needed."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import TYPE_CHECKING

from engine.backends.openai.address_part import server_name, split
from engine.backends.openai.explaining_part import Asked
from engine.config import keys
from engine.config.settings import OpenAIEngine, Settings
from engine.core.errors import BalcaoError, UsageError
from engine.training.openai.job import JobSettings

if TYPE_CHECKING:
    from engine.training.openai.client import Provider

_NO_KEY = "no-key-needed"
"""Sent to a server that asks for none: the package insists on sending something."""
_RETRIES = 30
"""How often a job is asked for again: with growing pauses, some four minutes without a server."""
_LONGEST_SETTLE = 2.0


def provider_row(chosen: Settings) -> OpenAIEngine:
    """The engine whose address, key and time limits a job takes where no flag says otherwise."""
    row = chosen.engines.get("openai")
    return row if isinstance(row, OpenAIEngine) else OpenAIEngine()


def address(given: str | None, row: OpenAIEngine) -> str | None:
    """The server's address; None is OpenAI's own. Raises UsageError if it is none."""
    # The variable is the package's own; without it the rows would go elsewhere than told.
    base_url = given or row.base_url or os.environ.get("OPENAI_BASE_URL") or None
    if base_url and split(base_url) is None:
        raise UsageError(
            "The server's address is no plain web address.",
            "Write it like https://models.example/v1.",
        )
    return base_url


def open_provider(settings: JobSettings, row: OpenAIEngine, every: float) -> Provider:
    """Load the openai package (about a second) and make a client; no network is used.

    Raises UsageError without a key, BalcaoError without the package.
    """
    if find_spec("openai") is None:
        raise BalcaoError("The openai package is missing.", "Install it: pip install openai.")
    name = settings.api_key_env
    found = keys.source(name) if name else None
    if found is None and settings.base_url is None:
        raise UsageError(
            f"OpenAI needs a key, and {name or 'none'} is not set.",
            f"Keep one: balcao keys set {name or 'OPENAI_API_KEY'}.",
        )
    if found and not keys.is_sendable(keys.value(name)):
        raise UsageError(
            f"What {name} holds cannot be a key: it has characters that none has.",
            f"Put the key there once more, by itself: balcao keys set {name}.",
        )
    from engine.training.openai.client import Provider
    from engine.training.openai.openai_asking_runtime_part import Pace

    asked = Asked(
        engine_id="openai",
        server=server_name(settings.base_url),
        model=settings.model,
        key_env=name,
        has_key=found is not None,
        connect_timeout=row.connect_timeout,
        stall_timeout=row.stall_timeout,
    )
    settle = min(every, _LONGEST_SETTLE)
    pace = Pace(row.connect_timeout, row.stall_timeout, row.max_retries, _RETRIES, settle)
    return Provider(asked, settings.base_url, (keys.value(name) if found else "") or _NO_KEY, pace)
