"""Read the settings: `settings.toml`, then `BALCAO_…` variables, then the command line's options.

Each source overrides the ones before it. `engines.toml`, which the program writes for fine-tuned
models and adapters, is read first of all.

The settings hold engines as raw tables: engine/backends/registry.py decodes them, because each kind
of engine has other values. API keys are never among the settings.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from engine.config import paths
from engine.core import i18n
from engine.core.errors import SettingsError
from engine.core.files import read_file, reading
from engine.core.i18n import tr
from engine.core.text import byte_count
from engine.core.types import Mode

PREFIX = "BALCAO_"
TOKEN_VARIABLE = "BALCAO_API_TOKEN"  # noqa: S105 - its name
"""The variable with the token of `balcao serve --api`."""
_OTHER_VARIABLES = ("BALCAO_HOME", TOKEN_VARIABLE)
"""Variables with the prefix that are no settings."""
"""Of the variables; `BALCAO_ENGINES__BASE__MODEL` is the value `engines.base.model`."""

EngineTable = dict[str, Any]
"""A table `[engines.ID]`: its `kind`, and the values of that kind."""

_ENGINES: dict[str, EngineTable] = {
    "catalogue": {"kind": "catalogue"},
    "base": {"kind": "llama", "title": "Base Llama"},
    "lora": {"kind": "llama", "title": "LoRA Llama", "needs_adapter": True},
    "openai": {"kind": "openai"},
}
"""Engines that exist without a settings file; a table in the file changes only its own values."""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All values that a user can set."""

    engine: str = "catalogue"
    """The engine of a new chat."""
    mode: Mode = Mode.QUOTE
    catalogue: str | None = None
    """A folder written by `balcao index`, or a PostgreSQL address; None is the sample catalogue."""
    language: i18n.Choice = "auto"
    """Language of the program; answers follow the language of the question."""
    theme: str = "auto"
    """The name of a theme (docs/guide/terminals.md). `auto` is dark if the terminal has
    enough colours, else the terminal's own colours."""
    motion: Literal["full", "reduced"] = "full"
    """`reduced` neither slides nor blinks."""
    plain: bool = False
    """Whether the chat runs line by line, as with --plain."""
    unicode: Literal["auto", "always", "never"] = "auto"
    """Whether to draw characters outside ASCII; `auto` follows the locale."""
    slash_commands: bool = True
    """Whether a question that begins with “/” is a command."""
    complete_titles: bool = True
    """Whether to suggest titles while the user types a question."""
    notify: bool = True
    """Whether a long answer rings once it is complete, if the terminal has lost the focus."""
    keys: dict[str, str] = {}
    """Keys by action (docs/guide/keys.md), as in `next_engine = "f12"`."""
    engines: dict[str, EngineTable] = {}
    naming_demo: tuple[str, ...] = ()
    """Not a setting: the values that name the demo model of older versions."""

    @property
    def notice(self) -> str:
        """A sentence for the user about values that no longer mean what they did, or nothing."""
        if not self.naming_demo:
            return ""
        return tr(
            "{small} has replaced the demo model, which your settings name in {names}; adapters of "
            "the demo model must be trained again.",
            small=paths.SMALL,
            names=", ".join(self.naming_demo),
        )


def load(
    file: Path | None = None,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, Any] | None = None,
) -> Settings:
    """Merge all sources; `flags` are options of the command line, None if not set."""
    file = paths.settings_file() if file is None else file
    raw: dict[str, Any] = {"engines": {name: dict(table) for name, table in _ENGINES.items()}}
    added = read_toml(file.with_name(paths.engines_file().name))
    _merge(raw, {"engines": added.get("engines", {})})
    _merge(raw, read_toml(file))
    _merge(raw, _from_environ(os.environ if environ is None else environ))
    given = {name: value for name, value in (flags or {}).items() if value is not None}
    _merge(raw, {name: str(one) if isinstance(one, Path) else one for name, one in given.items()})
    _use_own_catalogue(raw, given)
    raw["naming_demo"] = _replace_demo(raw)
    settings = _convert(raw)
    if settings.engine not in settings.engines:
        raise unknown_engine(settings.engine, settings.engines)
    return settings


def defaults() -> Settings:
    """Return the settings of a user who has set nothing."""
    return Settings(engines=_ENGINES)


def invalid(error: object) -> SettingsError:
    """Describe a value that is wrong, and where values come from."""
    return SettingsError(
        tr("Invalid setting: {error}.", error=error),
        tr(
            "Correct it in {file}, in {engines_file}, or in a variable named {prefix}….",
            file=paths.settings_file(),
            engines_file=paths.engines_file().name,
            prefix=PREFIX,
        ),
    )


def unknown_engine(name: str, known: Mapping[str, object]) -> SettingsError:
    """Describe an engine id that does not exist, and list those that do."""
    return SettingsError(
        tr("There is no engine named “{engine}”.", engine=name),
        tr("The engines are: {engines}.", engines=", ".join(known)),
    )


def read_toml(file: Path) -> dict[str, Any]:
    """Parse a TOML file; a missing one is empty. Raises SettingsError."""
    with reading(file, SettingsError):
        try:
            return parse_toml(read_file(file, MAX_BYTES + 1))
        except FileNotFoundError:
            return {}
        except UnicodeDecodeError:
            raise
        except ValueError as error:
            raise SettingsError(
                tr("{file} is not valid TOML: {error}.", file=file, error=error),
                tr("Correct that line."),
            ) from error


MAX_BYTES = 250_000
"""Of a TOML file: the parser takes about a second for the worst file of that size."""
_PART = r"""[ \t]*+(?:[\w-]++|"(?:\\.|[^"\\\n])*+"|'[^'\n]*+')[ \t]*+"""
_LONG_NAME = re.compile(rf"(?:\.{_PART}){{64}}")
"""A name of more than 64 parts: for thousands, the parser would take minutes."""


def parse_toml(data: bytes) -> dict[str, Any]:
    """Parse TOML. Raises ValueError, also for what would take the parser too long."""
    import tomllib  # few users have such a file, and the first frame waits for this module

    if len(data) > MAX_BYTES:
        raise ValueError(tr("it is larger than {size}", size=byte_count(MAX_BYTES)))
    text = data.decode("utf-8-sig")  # editors of Windows put a mark before the first line
    if _LONG_NAME.search(text):
        raise ValueError(tr("a name has more than {count} parts", count=64))
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise
    except ValueError as error:
        raise ValueError(tr("a number has too many digits")) from error
    except RecursionError as error:
        raise ValueError(tr("it is nested too deeply")) from error


def _from_environ(environ: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in sorted(environ, key=str.lower):  # a table's own value comes before those in it
        if not name.startswith(PREFIX) or name in _OTHER_VARIABLES:
            continue
        *tables, key = name.removeprefix(PREFIX).lower().split("__")
        target = found
        for table in tables:
            target = target.setdefault(table, {})
            if not isinstance(target, dict):
                raise invalid(tr("{name}: `{table}` is a value", name=name, table=table))
        target[key] = environ[name]
    return found


def _merge(into: dict[str, Any], over: Mapping[str, Any]) -> None:
    for key, value in over.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value


def own_catalogue(table: object) -> str | None:
    """Return the catalogue that an engine's table names, if it is still there."""
    folder = table.get("catalogue") if isinstance(table, Mapping) else None
    return folder if isinstance(folder, str) and folder and paths.expand(folder).is_dir() else None


def _use_own_catalogue(raw: dict[str, Any], given: Mapping[str, Any]) -> None:
    """Let an engine that is asked for bring its own catalogue, unless another one is."""
    wanted = "engine" in given or raw.get("catalogue") is None
    engines = raw["engines"] if isinstance(raw["engines"], dict) else {}
    own = own_catalogue(engines.get(str(raw.get("engine"))))
    if own and wanted and "catalogue" not in given:
        raw["catalogue"] = own


def _replace_demo(raw: dict[str, Any]) -> list[str]:
    """Let values that name the demo model name smollm2; return their names."""
    names = [] if raw.pop("demo", None) is None else ["demo"]
    engines = raw["engines"] if isinstance(raw["engines"], dict) else {}
    return names + [f"engines.{name}" for name, table in engines.items() if _rename_demo(table)]


def _rename_demo(table: object) -> bool:
    if not isinstance(table, dict) or table.get("kind") != "llama":
        return False
    of_demo = table.get("model") == "demo" or _is_gone(table.get("model"), "demo_model")
    shipped = _is_gone(table.get("adapter"), "demo_adapter")
    if of_demo or shipped:
        table["model"] = paths.SMALL
    if shipped:
        table["adapter"] = str(paths.small_adapter_dir())
    return of_demo or shipped


def _is_gone(folder: object, name: str) -> bool:
    named = isinstance(folder, str) and Path(folder).name == name
    return named and not paths.expand(str(folder)).is_dir()


def _convert(raw: dict[str, Any]) -> Settings:
    try:
        # Not strict: values of the environment are always strings.
        return msgspec.convert(raw, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise invalid(str(error).replace("$.", "")) from error
