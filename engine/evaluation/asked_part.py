"""Whom an evaluation asks: an engine, grounded or from memory, written `base:memory`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec

from engine.backends.openai.address_part import server_name
from engine.config import paths
from engine.config.settings import (
    CatalogueEngine,
    EngineSettings,
    LlamaEngine,
    OpenAIEngine,
    Settings,
)
from engine.core import manifest_part as manifest
from engine.core.errors import DataError, UsageError
from engine.core.types import Mode
from engine.prompts import PROMPT_VERSION

_ADAPTER = "adapter_model.safetensors"
_CONFIG = "config.json"
_SPOKEN = {Mode.GROUNDED: "grounded", Mode.MEMORY: "from memory"}


class Asked(msgspec.Struct, frozen=True):
    """An engine in a mode.

    `made_of` is what its answers hang on (model, adapter, limits, catalogue, prompt version), as
    the manifest shows it; `mark` stands for all of it, so that answers of another model or another
    catalogue are never taken for this one's.
    """

    key: str
    engine: str
    mode: Mode
    title: str
    made_of: dict[str, Any]

    @property
    def mark(self) -> str:
        """A few letters that change with anything in `made_of`."""
        data = msgspec.json.encode(self.made_of, order="deterministic")
        return blake2b(data, digest_size=8).hexdigest()


def parse(text: str, settings: Settings, catalogue: dict[str, Any]) -> list[Asked]:
    """Those that `text` names, as in `catalogue,base:memory,lora:grounded`.

    `catalogue` is what tells the catalogue from others. Raises UsageError.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise UsageError("No engine is named.", "Give --engines ID,ID; see `balcao engines`.")
    asked = [_asked(name, settings, catalogue) for name in names]
    keys = [one.key for one in asked]
    for key in keys:
        if keys.count(key) > 1:
            raise UsageError(f"“{key}” is named twice.", "Name each once.")
    return asked


def _asked(name: str, settings: Settings, catalogue: dict[str, Any]) -> Asked:
    engine, mode = _split(name, settings)
    row = settings.engines.get(engine)
    if row is None:
        raise UsageError(
            f"There is no engine named “{engine}”.",
            f"The engines are: {', '.join(settings.engines)}.",
        )
    made_of = {
        "engine": engine,
        "mode": mode.value,
        "prompt_version": PROMPT_VERSION,
        "catalogue": catalogue,
        **_made_of(row),
    }
    if isinstance(row, CatalogueEngine):
        if mode is Mode.MEMORY:
            raise UsageError(f"“{engine}” has no memory to ask.", f"Name it as {engine}.")
        return Asked(engine, engine, mode, row.title, made_of)
    return Asked(f"{engine}:{mode}", engine, mode, f"{row.title}, {_SPOKEN[mode]}", made_of)


def _split(name: str, settings: Settings) -> tuple[str, Mode]:
    """The engine's name may hold a colon of its own."""
    engine, _, mode = name.rpartition(":")
    if engine and name not in settings.engines:
        if mode not in tuple(Mode):
            raise UsageError(f"“{mode}” is no way to ask.", "Write ID:grounded or ID:memory.")
        return engine, Mode(mode)
    return name, Mode.GROUNDED


def _made_of(row: EngineSettings) -> dict[str, Any]:
    match row:
        case CatalogueEngine():
            return {"kind": "catalogue"}
        case LlamaEngine():
            return {
                "kind": "llama",
                "model": _name(row.model),
                "model_config": _file(row.model, _CONFIG),
                "adapter": _name(row.adapter),
                "adapter_weights": _file(row.adapter, _ADAPTER),
                "adapter_manifest": _manifest(row.adapter),
                "quantization": row.quantization,
                "context": row.context,
                "max_tokens": row.max_tokens,
                "temperature": row.temperature,
                "top_p": row.top_p,
                "system_prompt": row.system_prompt,
            }
        case OpenAIEngine():
            return {
                "kind": "openai",
                "model": row.model,
                # The variable is the package's own, as the engine reads it.
                "server": server_name(row.base_url or os.environ.get("OPENAI_BASE_URL")),
                "max_tokens": row.max_tokens,
                "temperature": row.temperature,
                "top_p": row.top_p,
                "system_prompt": row.system_prompt,
            }


def _name(folder: str | None) -> str | None:
    """As the settings have it; what came with the program by its name, wherever that lies."""
    shipped = (paths.demo_model_dir(), paths.demo_adapter_dir())
    return Path(folder).name if folder and Path(folder) in shipped else folder


def _file(folder: str | None, name: str) -> dict[str, Any] | None:
    """Name, SHA-256 and size of a file in a model's folder; None where there is none."""
    path = Path(folder).expanduser() / name if folder else None
    try:
        return msgspec.to_builtins(manifest.input_of(path)) if path else None
    except OSError:
        # A model by its hub id: the name is all that is known here.
        return None


def _manifest(folder: str | None) -> dict[str, Any] | None:
    try:
        made = manifest.read(Path(folder).expanduser()) if folder else None
    except DataError:
        return None
    return msgspec.to_builtins(made) if made else None


def names(asked: Sequence[Asked]) -> dict[str, str]:
    """Titles by key; where two are the same, the key is told as well."""
    titles = [one.title for one in asked]
    return {
        one.key: one.title if titles.count(one.title) == 1 else f"{one.title} ({one.key})"
        for one in asked
    }
