"""The engines that the program adds by itself: `engines.toml`, read below the person's settings."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from itertools import chain, count
from pathlib import Path
from typing import Any

import tomlkit

from engine.config import paths, settings
from engine.config.settings import Settings
from engine.core.errors import SettingsError, UsageError
from engine.core.files import reading, write_atomic, writing
from engine.core.i18n import tr
from engine.core.text import one_line

_HEADER = (
    "# Engines that the program has added. settings.toml goes over this file: change them there.\n"
)
_ID = re.compile(r"[a-z0-9_-]{1,40}\Z")
_NO_ID = re.compile(r"[^a-z0-9_-]+")
_LONGEST_NAME = 30
_TITLE_WIDTH = 24


def check_free(engine_id: str, chosen: Settings) -> None:
    """Raises UsageError if that is no id for a new engine."""
    if not _ID.match(engine_id):
        raise UsageError(_wrong_id())
    if not _is_free(engine_id, chosen):
        raise UsageError(_taken(engine_id), tr("Name another: --engine."))


def _wrong_id() -> str:
    return tr("An engine's id has small letters, digits, - and _, at most 40.")


def _taken(engine_id: str) -> str:
    return tr("There is an engine named “{engine_id}” already.", engine_id=engine_id)


def add_tuned(
    model: str, base: str, base_url: str | None, api_key_env: str, wanted: str = ""
) -> str:
    """Make a fine-tuned `model`, trained from `base`, an engine; returns its id.

    It becomes `wanted` if that is free, else `openai` while that has no model, else `openai-2` and
    so on. A model that is an engine already stays that one. Raises BalcaoError if it cannot be
    written, SettingsError if the settings cannot be understood.
    """
    added = _read()
    row = {"kind": "openai", "title": _title(base), "model": model, "api_key_env": api_key_env}
    if base_url:
        row["base_url"] = base_url
    for engine_id, table in added.items():
        if table.get("model") == model and table.get("base_url") == base_url:
            return str(engine_id)
    chosen = settings.load()
    engine_id = next(found for found in _ids(wanted) if _is_free(found, chosen))
    _write(added | {engine_id: row})
    return engine_id


def check_unused(engine_id: str, chosen: Settings) -> None:
    """Raises UsageError if an adapter's engine cannot have that id."""
    if not _ID.match(engine_id):
        raise UsageError(_wrong_id())
    if engine_id in chosen.engines:
        raise UsageError(_taken(engine_id), tr("Name another: --engine."))


def adapter_id(folder: Path) -> str:
    """The id that an adapter's engine gets where nobody named one: `lora-NAME`."""
    return f"lora-{_NO_ID.sub('-', folder.name.lower())[:_LONGEST_NAME]}"


def engine_of(adapter: Path) -> str | None:
    """The engine that was made of the adapter in that folder, if one was."""
    folder = str(adapter.resolve())
    return next((name for name, row in _read().items() if row.get("adapter") == folder), None)


def add_adapter(model: str, adapter: Path, wanted: str = "") -> str:
    """Make a base with an adapter's folder an engine; returns its id.

    It becomes `wanted`, or `lora-NAME`, with a number after it where that is taken. An adapter that
    is an engine already stays that one. Raises as `add_tuned` does.
    """
    if known := engine_of(adapter):
        return known
    row = {
        "kind": "llama",
        "title": one_line(f"LoRA {adapter.resolve().name}", _TITLE_WIDTH),
        "model": model,
        "adapter": str(adapter.resolve()),
    }
    first = wanted or adapter_id(adapter.resolve())
    taken = settings.load().engines
    names = chain([first], (f"{first}-{number}" for number in count(2)))
    engine_id = next(name for name in names if name not in taken)
    _write(_read() | {engine_id: row})
    return engine_id


def _ids(wanted: str) -> Iterator[str]:
    if wanted:
        yield wanted
    yield "openai"
    yield from (f"openai-{number}" for number in count(2))


def _is_free(engine_id: str, chosen: Settings) -> bool:
    table = chosen.engines.get(engine_id)
    return table is None or (table.get("kind") == "openai" and not table.get("model"))


def _title(base: str) -> str:
    return tr("Tuned {model}", model=one_line(base, _TITLE_WIDTH))


def _read() -> dict[str, Any]:
    file = paths.engines_file()
    remedy = tr("Fix it, or delete it.")
    with reading(file, SettingsError, remedy):
        try:
            found = tomllib.loads(file.read_text(encoding="utf-8")).get("engines", {})
        except FileNotFoundError:
            return {}
        except tomllib.TOMLDecodeError as error:
            raise SettingsError(
                tr("{file} is not valid TOML: {error}.", file=file, error=error), remedy
            ) from error
    return found if isinstance(found, dict) else {}


def _write(engines: dict[str, Any]) -> None:
    file = paths.engines_file()
    with writing(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(file, (_HEADER + tomlkit.dumps({"engines": engines})).encode())
