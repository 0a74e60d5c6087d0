"""The parameters of an engine that a person changes while chatting, and how each is read.

The limits are those of `engine.config.settings`; the words are for a form or a command.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from msgspec.structs import replace

from engine.config.settings import LlamaEngine, OpenAIEngine
from engine.core.errors import UsageError
from engine.core.i18n import numeral, tr
from engine.core.text import printable

Value = str | int | float
Asked = LlamaEngine | OpenAIEngine
"""The rows that have parameters."""

_HOTTEST = 2.0


@dataclass(frozen=True, slots=True)
class Parameter:
    """One of them: `name` as in the settings, `title` and `tells` for a person."""

    name: str
    title: str
    tells: str
    read: Callable[[str], Value]
    """From what a person has typed, which is not blank. Raises UsageError that says what fits."""


def _temperature(text: str) -> float:
    number = _number(text)
    if number is None or not 0 <= number <= _HOTTEST:
        raise UsageError(tr("A number from 0 to 2."))
    return number


def _top_p(text: str) -> float:
    number = _number(text)
    if number is None or not 0 < number <= 1:
        raise UsageError(tr("A number above 0, at most 1."))
    return number


def _max_tokens(text: str) -> int:
    digits = text.strip().replace(numeral(1000, ",")[1], "").replace(" ", "")
    if not (digits.isascii() and digits.isdigit()) or int(digits) < 1:
        raise UsageError(tr("A whole number, at least 1."))
    return int(digits)


def _number(text: str) -> float | None:
    """A number with a point or a comma, or None."""
    try:
        value = float(text.strip().replace(",", "."))
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def every() -> tuple[Parameter, ...]:
    """All of them, in the order of a form."""
    told = tr("0 to 2; 0: the likeliest word each")
    return (
        Parameter("temperature", tr("Temperature"), told, _temperature),
        Parameter("top_p", tr("Top-p"), tr("to 1; counts above temperature 0"), _top_p),
        Parameter("max_tokens", tr("Maximum tokens"), tr("the longest answer"), _max_tokens),
        Parameter("system_prompt", tr("System prompt"), tr("empty: as in training"), printable),
    )


def default(row: Asked, name: str) -> Value:
    """What holds where nothing was chosen."""
    value: Value = getattr(type(row)(), name)
    return value


def shown(row: Asked, name: str) -> str:
    """The value in force as a person would type it; empty for the default."""
    value: Value = getattr(row, name)
    return (
        ""
        if value == default(row, name)
        else numeral(value, "g")
        if isinstance(value, float)
        else str(value)
    )


def read(typed: Mapping[str, str]) -> tuple[dict[str, Value | None], dict[str, str]]:
    """Values by name, None where the default is wanted (left blank); and what is wrong by name."""
    values: dict[str, Value | None] = {}
    wrong: dict[str, str] = {}
    for parameter in every():
        text = typed[parameter.name]
        try:
            values[parameter.name] = parameter.read(text) if text.strip() else None
        except UsageError as error:
            wrong[parameter.name] = error.message
    return values, wrong


def changed(row: Asked, values: Mapping[str, Value | None]) -> Asked:
    """The row with these values; None is the default."""
    fields = {
        name: default(row, name) if value is None else value for name, value in values.items()
    }
    return replace(row, **fields)


def warnings(row: Asked) -> list[str]:
    """What one should know about the values in force, a sentence each."""
    told = []
    if row.system_prompt and isinstance(row, LlamaEngine) and row.adapter:
        told.append(
            tr(
                "The adapter has learned to answer under the program's own system prompt: without "
                "it, it answered 0 of 16 products word for word (docs/measurements/training.md)."
            )
        )
    elif row.system_prompt:
        told.append(
            tr("The program's own system prompt, which asks for the record's words, is off.")
        )
    if row.top_p < 1 and row.temperature == 0:
        told.append(tr("Top-p changes nothing while the temperature is 0."))
    return told
