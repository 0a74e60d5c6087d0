"""Writes into the person's settings.toml what they have changed in the chat.

Into their own file and no other: a second file would have to lie either below it, and then a change
in the chat would be lost at the next start wherever settings.toml has the value too, or above it,
and then an edit of settings.toml would do nothing. With one file the last change holds, wherever
it was made. Their comments, order and spacing stay (tomlkit), and what is about to be written is
read back first: if anything but the wanted values differed, nothing is written.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError

from engine.config import paths
from engine.core.errors import BalcaoError, SettingsError, why
from engine.core.files import write_atomic
from engine.core.i18n import tr

Value = str | int | float | bool


def save_engine(engine_id: str, values: Mapping[str, Value | None]) -> None:
    """Set values in the engine's table; None takes one out, so that its default holds.

    Raises SettingsError if the file cannot be understood, BalcaoError if it cannot be written.
    """
    _save(("engines", engine_id), values)


def save(values: Mapping[str, Value | None]) -> None:
    """Set values that stand in no table, as `theme`; otherwise as `save_engine`."""
    _save((), values)


def _save(table: tuple[str, ...], values: Mapping[str, Value | None]) -> None:
    # A link into a folder of dotfiles stays one.
    file = paths.settings_file().resolve()
    try:
        # Not as text: that would change the ends of lines.
        before = file.read_bytes().decode() if file.exists() else ""
        after = _edited(before, table, values)
        if after != before:
            file.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(file, after.encode())
    except OSError as error:
        raise BalcaoError(tr("Cannot write {path}: {why}.", path=file, why=why(error))) from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(
            tr("{file} is not valid TOML: {error}.", file=file, error=error),
            tr("Mend that line."),
        ) from error


def overriding(engine_id: str, names: Mapping[str, Value | None]) -> list[str]:
    """The environment's variables that go before such values at the next start."""
    wanted = {f"balcao_engines__{engine_id}__{name}".lower() for name in names}
    return sorted(name for name in os.environ if name.lower() in wanted)


def _edited(text: str, name: tuple[str, ...], values: Mapping[str, Value | None]) -> str:
    settings = tomllib.loads(text)
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
    except (TOMLKitError, tomllib.TOMLDecodeError, TypeError, KeyError, AttributeError):
        # A form of TOML that the library does not edit well: told below.
        pass
    raise BalcaoError(
        tr(
            "{settings_file} is written in a way that the program cannot change safely.",
            settings_file=paths.settings_file(),
        ),
        tr("Change it by hand, under [{table}].", table=".".join(name))
        if name
        else tr("Change it by hand, at its top."),
    )


def _table(document: tomlkit.TOMLDocument, engine_id: str) -> Any:  # noqa: ANN401 - any of its tables
    """The engine's table, made if there is none."""
    engines = document.get("engines")
    if engines is None:
        # Without a header of its own: only the tables below it have one.
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
    """The settings as they are to be."""
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
