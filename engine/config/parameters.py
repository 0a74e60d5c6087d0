"""The parameters of an engine that a user changes in the chat: their form, and how to read it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from msgspec import Struct
from msgspec.structs import replace

from engine.core.errors import UsageError
from engine.core.i18n import numeral, tr
from engine.core.text import number_up_to, printable

Value = str | int | float
_Config = TypeVar("_Config", bound=Struct)
_MAX_TEMPERATURE = 2.0
_MAX_TOKENS = 10**9


@dataclass(frozen=True, slots=True)
class Parameter:
    """A field of the form: `name` as in the settings, `title` and `hint` for the user."""

    name: str
    title: str
    hint: str
    read: Callable[[str], Value]
    """Parse what the user typed, which is not blank. Raises UsageError with the valid range."""
    multiline: bool = False


def sampling_parameters() -> tuple[Parameter, ...]:
    """Return the parameters of a language model, in the order of the form."""
    told = tr("0 to 2; 0: always the likeliest word")
    blank = tr("empty: as in training")
    return (
        Parameter("temperature", tr("Temperature"), told, _temperature),
        Parameter("top_p", tr("Top-p"), tr("0 to 1; used if temperature > 0"), _top_p),
        Parameter("max_tokens", tr("Maximum tokens"), tr("the longest answer"), _max_tokens),
        Parameter("system_prompt", tr("System prompt"), blank, printable, multiline=True),
    )


def _temperature(text: str) -> float:
    number = _number(text)
    if number is None or not 0 <= number <= _MAX_TEMPERATURE:
        raise UsageError(tr("A number from 0 to 2."))
    return number


def _top_p(text: str) -> float:
    number = _number(text)
    if number is None or not 0 < number <= 1:
        raise UsageError(tr("A number above 0, at most 1."))
    return number


def _max_tokens(text: str) -> int:
    digits = text.strip().replace(numeral(1000, ",")[1], "").replace(" ", "")
    number = number_up_to(_MAX_TOKENS, digits)
    if number is None:
        raise UsageError(tr("A whole number, at least 1."))
    return number


def _number(text: str) -> float | None:
    try:
        value = float(text.strip().replace(",", "."))
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def default(config: Struct, name: str) -> Value:
    """Return a parameter's default."""
    value: Value = getattr(type(config)(), name)
    return value


def shown(config: Struct, name: str) -> str:
    """Return a parameter's value as a user would type it; empty for the default."""
    value: Value = getattr(config, name)
    if value == default(config, name):
        return ""
    return numeral(value, "g") if isinstance(value, float) else str(value)


def read(
    parameters: Iterable[Parameter], typed: Mapping[str, str]
) -> tuple[dict[str, Value | None], dict[str, str]]:
    """Parse a form. Return the values by name (None for a blank field), and the errors by name."""
    values: dict[str, Value | None] = {}
    errors: dict[str, str] = {}
    for parameter in parameters:
        text = typed[parameter.name]
        try:
            values[parameter.name] = parameter.read(text) if text.strip() else None
        except UsageError as error:
            errors[parameter.name] = error.message
    return values, errors


def changed(config: _Config, values: Mapping[str, Value | None]) -> _Config:
    """Return a copy of `config` with these values; None is the default."""
    fields = {
        name: default(config, name) if value is None else value for name, value in values.items()
    }
    return replace(config, **fields)
