"""What the person has chosen: a TOML file, `BALCAO_…` variables over it, flags over those.

Below the file lies `engines.toml` beside it, which the program writes: the engines that it has
made itself, such as fine-tuned models. The person's file changes them like any other.

An engine is a table: `[engines.NAME]` with a `kind`. The four that come with the program are there
without any file; a table of the same name changes only the values it gives. A variable names a
value by its path, parts joined with two underscores: `BALCAO_ENGINE=lora`,
`BALCAO_ENGINES__BASE__MODEL=/models/tiny`. Keys are never kept here: `api_key_env` names the
environment variable that holds one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from engine.config import paths
from engine.core import i18n
from engine.core.errors import SettingsError, why
from engine.core.hub_cache import find_snapshot
from engine.core.i18n import tr
from engine.core.types import Mode

_PREFIX = "BALCAO_"
LLAMA2 = "meta-llama/Llama-2-7b-chat-hf"
"""The model that the engines are made for."""

_DEMO = " (demo)"
_RESERVED = {"BALCAO_HOME"}


class CatalogueEngine(
    msgspec.Struct, frozen=True, tag_field="kind", tag="catalogue", forbid_unknown_fields=True
):
    """The catalogue itself."""

    title: str = "Catalogue"


class LlamaEngine(
    msgspec.Struct, frozen=True, tag_field="kind", tag="llama", forbid_unknown_fields=True
):
    """A Llama-architecture model on this machine, with or without a LoRA adapter."""

    title: str = "Llama"
    model: str = ""
    """A folder, or a hub id whose files are on disk; `load` fills it in where none is given."""
    adapter: str | None = None
    """A peft adapter's folder; None asks the plain base, or the demo adapter where it is needed."""
    needs_adapter: bool = False
    """Whether the engine makes no sense without an adapter."""
    quantization: Literal["auto", "nf4", "int8", "none"] = "auto"
    """`auto`: NF4 on an NVIDIA GPU; by llama.cpp 4 bits (Q4_K_M) for all but small models; none
    elsewhere. By llama.cpp, `nf4` is Q4_K_M and `int8` is Q8_0."""
    runtime: Literal["auto", "transformers", "llama.cpp"] = "auto"
    """`auto`: transformers where there is an NVIDIA GPU, else llama.cpp if it is installed."""
    context: Annotated[int, msgspec.Meta(ge=64)] | None = None
    """Tokens of prompt and answer together; None takes the model's own limit."""
    max_tokens: Annotated[int, msgspec.Meta(ge=1)] = 1024
    temperature: Annotated[float, msgspec.Meta(ge=0.0, le=2.0)] = 0.0
    top_p: Annotated[float, msgspec.Meta(gt=0.0, le=1.0)] = 1.0
    """Of the likeliest next tokens, those that make up this share; needs a temperature above 0."""
    system_prompt: str = ""
    """What the model is told before all else; empty: the program's own, as in training."""


class OpenAIEngine(
    msgspec.Struct, frozen=True, tag_field="kind", tag="openai", forbid_unknown_fields=True
):
    """A model behind an OpenAI-compatible address."""

    title: str = "OpenAI"
    model: str = ""
    """The model's id, for a fine-tuned one `ft:…`."""
    base_url: str | None = None
    """None: OpenAI's own address."""
    api_key_env: str = "OPENAI_API_KEY"
    max_tokens: Annotated[int, msgspec.Meta(ge=1)] = 1024
    temperature: Annotated[float, msgspec.Meta(ge=0.0, le=2.0)] = 0.0
    top_p: Annotated[float, msgspec.Meta(gt=0.0, le=1.0)] = 1.0
    """Of the likeliest next tokens, those that make up this share; needs a temperature above 0."""
    system_prompt: str = ""
    """What the model is told before all else; empty: the program's own, as in training."""
    connect_timeout: Annotated[float, msgspec.Meta(gt=0)] = 10.0
    """Seconds."""
    stall_timeout: Annotated[float, msgspec.Meta(gt=0)] = 60.0
    """Seconds without a byte after which a stream is given up."""
    max_retries: Annotated[int, msgspec.Meta(ge=0, le=10)] = 2


EngineSettings = CatalogueEngine | LlamaEngine | OpenAIEngine

_DEFAULT_ENGINES: dict[str, dict[str, Any]] = {
    "catalogue": {"kind": "catalogue"},
    "base": {"kind": "llama", "title": "Base Llama"},
    "lora": {"kind": "llama", "title": "LoRA Llama", "needs_adapter": True},
    "openai": {"kind": "openai"},
}


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that can be chosen."""

    engine: str = "catalogue"
    """The engine a chat opens with."""
    mode: Mode = Mode.GROUNDED
    catalogue: str | None = None
    """The folder that `balcao index` wrote, or the address of a server that it filled; None is the
    sample catalogue."""
    language: i18n.Choice = "auto"
    """The chat's own language: `en`, `pt`, or by the locale. Answers go by the question."""
    demo: bool = True
    """Whether the model that comes with the program stands in where none is set nor at hand."""
    theme: str = "auto"
    """A theme of ours (docs/guide/terminals.md) or of Textual's, by name. `auto` is dark where the
    terminal has enough colours, else the terminal's own."""
    motion: Literal["full", "reduced"] = "full"
    """`reduced`: nothing slides, nothing blinks."""
    plain: bool = False
    """Whether the chat goes line by line, as with --plain."""
    unicode: Literal["auto", "always", "never"] = "auto"
    """Whether the terminal shows more than ASCII; `auto` goes by the locale."""
    slash_commands: bool = True
    """Whether a question that begins with “/” is a command; off, it is asked as it stands."""
    complete_titles: bool = True
    """Whether titles are offered while a question is typed."""
    keys: dict[str, str] = {}
    """Keys for the chat's actions by their names in docs/guide/keys.md: `next_engine = "f7"`."""
    engines: dict[str, EngineSettings] = {}


def load(
    file: Path | None = None,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, Any] | None = None,
) -> Settings:
    """The settings in force.

    `flags` holds values given on the command line by setting name; None means not given. Raises
    SettingsError that names the file or variable and the value that is wrong.
    """
    file = paths.settings_file() if file is None else file
    added = file.with_name(paths.engines_file().name)
    raw: dict[str, Any] = {
        "engines": {name: dict(table) for name, table in _DEFAULT_ENGINES.items()}
    }
    _merge(raw, {"engines": _read(added).get("engines", {})})
    _merge(raw, _read(file))
    _merge(raw, _from_environ(os.environ if environ is None else environ))
    _merge(raw, {name: _plain(value) for name, value in (flags or {}).items() if value is not None})
    settings = _convert(raw, file)
    if settings.engine not in settings.engines:
        raise SettingsError(
            tr("There is no engine named “{engine}”.", engine=settings.engine),
            tr("The engines are: {engines}.", engines=", ".join(settings.engines)),
        )
    return _with_models(settings)


def shown_title(row: EngineSettings) -> str:
    """What an engine is called on the screen: our own titles are translated, a person's are not.

    Here and not where they are set, since the settings say which language it is.
    """
    title = row.title.removesuffix(_DEMO)
    ours = {
        "Catalogue": tr("Catalogue"),
        "Base Llama": tr("Base Llama"),
        "LoRA Llama": tr("LoRA Llama"),
    }
    return ours.get(title, title) + row.title[len(title) :]


def defaults() -> Settings:
    """The settings of someone who has set nothing."""
    return _with_models(msgspec.convert({"engines": _DEFAULT_ENGINES}, Settings))


def _read(file: Path) -> dict[str, Any]:
    try:
        text = file.read_bytes().decode()
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            tr("{file} cannot be read: {error}.", file=file, error=why(error))
        ) from error
    import tomllib  # most people have no such file, and the first frame waits

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(
            tr("{file} is not valid TOML: {error}.", file=file, error=error),
            tr("Mend that line."),
        ) from error


def _from_environ(environ: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, text in environ.items():
        if not name.startswith(_PREFIX) or name in _RESERVED:
            continue
        *tables, key = name.removeprefix(_PREFIX).lower().split("__")
        target = found
        for table in tables:
            target = target.setdefault(table, {})
        target[key] = text
    return found


def _merge(into: dict[str, Any], over: Mapping[str, Any]) -> None:
    for key, value in over.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value


def _convert(raw: dict[str, Any], file: Path) -> Settings:
    try:
        # Not strict: what comes from the environment is always a string.
        return msgspec.convert(raw, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise SettingsError(
            tr("A setting is wrong: {error}.", error=str(error).replace("$.", "")),
            tr(
                "Settings come from {file}, {engines_file} beside it, and variables named "
                "{prefix}….",
                file=file,
                engines_file=paths.engines_file().name,
                prefix=_PREFIX,
            ),
        ) from error


def _with_models(settings: Settings) -> Settings:
    rows = {name: _with_model(row, demo=settings.demo) for name, row in settings.engines.items()}
    return msgspec.structs.replace(settings, engines=rows)


def _with_model(row: EngineSettings, *, demo: bool) -> EngineSettings:
    """A Llama that names no model gets Llama 2, or where that is not at hand the demo model."""
    if not isinstance(row, LlamaEngine):
        return row
    # So small a model says nothing right in 4 bits, and has no need of them.
    whole = "none" if row.quantization == "auto" else row.quantization
    if row.model == paths.DEMO:
        named = paths.model_named(row.model)
        return msgspec.structs.replace(row, model=named, quantization=whole)
    if row.model:
        return row
    # An adapter of one's own was made for a model of one's own.
    if row.adapter or not demo or find_snapshot(LLAMA2) or not paths.demo_model_dir().is_dir():
        return msgspec.structs.replace(row, model=LLAMA2)
    return msgspec.structs.replace(
        row,
        title=f"{row.title}{_DEMO}",
        model=str(paths.demo_model_dir()),
        adapter=str(paths.demo_adapter_dir()) if row.needs_adapter else None,
        quantization=whole,
    )


def _plain(value: object) -> object:
    return str(value) if isinstance(value, Path) else value
