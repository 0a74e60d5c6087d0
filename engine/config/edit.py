"""Write settings: the user's changes to settings.toml, and the program's own engines.toml.

The chat changes the user's file and no other. A second file would either lose such a change to
settings.toml at the next start, or hide an edit of settings.toml. Comments, order and spacing stay:
tomlkit edits the text, and nothing is written if it would change anything else.

engines.toml has the engines that the program makes of fine-tuned models and adapters. It is read
below settings.toml, so that the user can change them there.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from itertools import chain, count
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError

from engine.config import paths
from engine.config.settings import PREFIX, EngineTable, Settings, load, read_toml
from engine.core.errors import BalcaoError, UsageError
from engine.core.files import private_folder, write_atomic, writing
from engine.core.i18n import tr
from engine.core.text import one_line

Value = str | int | float | bool

_HEADER = (
    "# Engines that the program has added. settings.toml goes over this file: change them there.\n"
)
_ID = re.compile(r"[a-z0-9_-]{1,40}\Z")
_NO_ID = re.compile(r"[^a-z0-9_-]+")
_MAX_NAME = 30
_TITLE_WIDTH = 24


def save_engine(engine_id: str, values: Mapping[str, Value | None]) -> None:
    """Set values in the engine's table of settings.toml; None removes one."""
    save(values, ("engines", engine_id))


def overriding(engine_id: str, names: Mapping[str, Value | None]) -> list[str]:
    """Return the environment variables that override these values at the next start."""
    wanted = {f"{PREFIX}engines__{engine_id}__{name}".lower() for name in names}
    return sorted(name for name in os.environ if name.lower() in wanted)


def save(values: Mapping[str, Value | None], table: tuple[str, ...] = ()) -> None:
    """Set values in a table of settings.toml, by default outside any; None removes one."""
    own = paths.settings_file()
    file = own.resolve()  # a link, as into a folder of dotfiles, stays one
    settings = read_toml(file)
    with writing(file):
        # Decoded from bytes, which keeps the line endings.
        before = file.read_bytes().decode("utf-8-sig") if file.exists() else ""
        after = _edited(before, settings, table, values)
        if after != before:
            private_folder(own.parent)
            write_atomic(file, after.encode(), private=not own.is_symlink())


def _edited(
    text: str, settings: dict[str, Any], name: tuple[str, ...], values: Mapping[str, Value | None]
) -> str:
    try:
        wanted = _changed(settings, name, values)
        if wanted == tomllib.loads(text):
            return text
        document = tomlkit.parse(text)
        table = _table(document, name[1]) if name else document
        for key, value in values.items():
            if value is None:
                table.pop(key, None)
            else:
                table[key] = value
        edited = tomlkit.dumps(document)
        if tomllib.loads(edited) == wanted:
            return edited
    except (TOMLKitError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        pass  # a form of TOML that tomlkit does not edit well
    place = f"[{'.'.join(name)}]" if name else tr("the top")
    raise BalcaoError(
        tr("Cannot change {file} without changing more of it.", file=paths.settings_file()),
        tr("Edit it yourself, at {place}.", place=place),
    )


def _table(document: tomlkit.TOMLDocument, engine_id: str) -> Any:  # noqa: ANN401 - any of its tables
    engines = document.get("engines")
    if engines is None:
        # Without a header: only the tables below it have one.
        engines = document["engines"] = tomlkit.table(is_super_table=True)
    if engine_id not in engines:
        table = tomlkit.table()
        # A blank line before it.
        table.trivia.indent = "\n" if document.as_string().strip() else ""
        engines[engine_id] = table
    return engines[engine_id]


def _changed(
    settings: dict[str, Any], name: tuple[str, ...], values: Mapping[str, Value | None]
) -> dict[str, Any]:
    """Return the settings as the edited file must decode."""
    there = settings
    for part in name:
        there = there.get(part, {})
    kept = {key: value for key, value in there.items() if key not in values}
    table = kept | {key: value for key, value in values.items() if value is not None}
    if not name:
        return table
    if table != there:
        settings.setdefault(name[0], {})[name[1]] = table
    return settings


def check_free(engine_id: str, settings: Settings, *, adapter: bool = False) -> None:
    """Raise UsageError if a fine-tuned model, or an adapter, cannot be the engine of that id."""
    if not _ID.match(engine_id):
        raise UsageError(
            tr("Invalid engine id “{engine_id}”.", engine_id=engine_id),
            tr("Use at most 40 small letters, digits, - and _."),
        )
    if engine_id in settings.engines and (adapter or not _is_free(engine_id, settings)):
        raise UsageError(
            tr("There is already an engine named “{engine_id}”.", engine_id=engine_id),
            tr("Choose another name: --engine."),
        )


def add_tuned(
    model: str, base: str, base_url: str | None, api_key_env: str, wanted: str = ""
) -> str:
    """Make an engine of `model`, fine-tuned from `base`, unless it is one; return its id.

    The id is `wanted` if that is free, else `openai` if that has no model, else `openai-2`, …
    """
    title = tr("Tuned {model}", model=one_line(base, _TITLE_WIDTH))
    table = {"title": title, "model": model, "api_key_env": api_key_env}
    if base_url:
        table["base_url"] = base_url
    return _add_remote(table, [wanted, "openai"] if wanted else ["openai"])


def add_server(server: str, model: str, base_url: str, api_key_env: str = "") -> str:
    """Make an engine of a server's model, unless it is one; return its id, after the server."""
    title = one_line(model, _TITLE_WIDTH)
    table = {"title": title, "model": model, "base_url": base_url, "api_key_env": api_key_env}
    return _add_remote(table, [_as_id(server)])


def _add_remote(table: EngineTable, ids: list[str]) -> str:
    added = _read_engines()
    for engine_id, known in added.items():
        if all(known.get(name) == table.get(name) for name in ("model", "base_url")):
            return engine_id
    settings = load()
    names = chain(ids, _numbered(ids[-1]))
    engine_id = next(name for name in names if _is_free(name, settings))
    _write_engines(added | {engine_id: {"kind": "openai", **table}})
    return engine_id


def add_adapter(
    model: str,
    adapter: Path,
    wanted: str = "",
    catalogue: Path | None = None,
    *,
    instead: bool = False,
) -> str:
    """Make an engine of `model` with the adapter in a folder, unless it is one; return its id.

    The id is `wanted`, or else `lora-NAME`, with a number if that is taken, unless it comes
    `instead` of that engine. `catalogue` is the one of the products that it was trained on.
    """
    own = {"catalogue": str(catalogue)} if catalogue else {}
    added, folder = _read_engines(), adapter.resolve()
    if (known := engine_of(adapter)) and not instead:
        if own:
            _write_engines(added | {known: added[known] | own})
        return known
    first = wanted or adapter_id(folder)
    taken = () if instead else load().engines
    engine_id = next(name for name in chain([first], _numbered(first)) if name not in taken)
    title = one_line(f"LoRA {folder.name.removeprefix('lora-')}", _TITLE_WIDTH)
    table = {"kind": "llama", "title": title, "model": model, "adapter": str(folder), **own}
    _write_engines(added | {engine_id: table})
    return engine_id


def adapter_id(folder: Path) -> str:
    """Return the id of an adapter's engine that nobody named: `lora-NAME`."""
    return f"lora-{_as_id(folder.name)}"


def _as_id(name: str) -> str:
    return _NO_ID.sub("-", name.lower())[:_MAX_NAME]


def engine_of(adapter: Path) -> str | None:
    """Return the id of the engine that was made of the adapter in that folder, if any."""
    folder = str(adapter.resolve())
    tables = _read_engines().items()
    return next((name for name, table in tables if table.get("adapter") == folder), None)


def _is_free(engine_id: str, settings: Settings) -> bool:
    table = settings.engines.get(engine_id)
    return table is None or (table.get("kind") == "openai" and not table.get("model"))


def _numbered(name: str) -> Iterator[str]:
    return (f"{name}-{number}" for number in count(2))


def _read_engines() -> dict[str, EngineTable]:
    found = read_toml(paths.engines_file()).get("engines", {})
    return found if isinstance(found, dict) else {}


def _write_engines(engines: dict[str, EngineTable]) -> None:
    file = paths.engines_file()
    with writing(file):
        private_folder(file.parent)
        data = (_HEADER + tomlkit.dumps({"engines": engines})).encode()
        write_atomic(file, data, private=True)  # an address may contain a password
