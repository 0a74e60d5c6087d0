"""What a person types into an engine's form, and what becomes of it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from engine.config import parameters
from engine.config.settings import LlamaEngine, OpenAIEngine

BLANK = {parameter.name: "" for parameter in parameters.every()}


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("temperature", "0,7", 0.7),
        ("temperature", " 2 ", 2.0),
        ("top_p", "1", 1.0),
        ("top_p", "0.05", 0.05),
        ("max_tokens", "1,024", 1024),
        ("max_tokens", "1", 1),
        ("system_prompt", "Be\nbrief.\x1b[2J", "Be\nbrief.[2J"),
    ],
)
def test_what_fits_is_read(name: str, text: str, value: object) -> None:
    values, wrong = parameters.read(BLANK | {name: text})
    assert wrong == {}
    assert values[name] == value


@pytest.mark.usefixtures("in_portuguese")
def test_in_portuguese_numbers_are_read_as_they_are_shown() -> None:
    row = LlamaEngine(temperature=0.7, max_tokens=2048)
    shown = {name: parameters.shown(row, name) for name in BLANK}
    assert shown["temperature"] == "0,7"
    assert parameters.read(BLANK | shown)[0]["temperature"] == 0.7
    assert parameters.read(BLANK | {"max_tokens": "2.048"})[0]["max_tokens"] == 2048
    assert list(parameters.read(BLANK | {"max_tokens": "1,5"})[1]) == ["max_tokens"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("temperature", "2.1"),
        ("temperature", "-0.1"),
        ("temperature", "warm"),
        ("temperature", "nan"),
        ("temperature", "1e999"),
        ("top_p", "0"),
        ("top_p", "1.01"),
        ("max_tokens", "0"),
        ("max_tokens", "1.5"),
        ("max_tokens", "-3"),
        ("max_tokens", "٣"),
    ],
)
def test_what_does_not_fit_is_told_for_its_field(name: str, text: str) -> None:
    values, wrong = parameters.read(BLANK | {name: text})
    assert list(wrong) == [name]
    assert wrong[name].endswith(".")
    assert name not in values


@pytest.mark.parametrize("row", [LlamaEngine(), OpenAIEngine()])
@pytest.mark.parametrize(
    ("name", "inside", "outside"),
    [
        ("temperature", ["0", "2"], ["-0.01", "2.01"]),
        ("top_p", ["0.001", "1"], ["0", "1.001"]),
        ("max_tokens", ["1"], ["0"]),
    ],
)
def test_the_limits_are_those_of_the_settings(
    row: LlamaEngine | OpenAIEngine, name: str, inside: list[str], outside: list[str]
) -> None:
    for text in inside:
        assert parameters.read(BLANK | {name: text})[1] == {}
        msgspec.convert({"kind": _kind(row), name: text}, type(row), strict=False)
    for text in outside:
        assert name in parameters.read(BLANK | {name: text})[1]
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert({"kind": _kind(row), name: text}, type(row), strict=False)


def _kind(row: Any) -> str:
    return "llama" if isinstance(row, LlamaEngine) else "openai"


def test_a_form_shows_what_is_in_force_and_leaves_defaults_blank() -> None:
    row = LlamaEngine(temperature=0.5, system_prompt="Be brief.")
    shown = {
        parameter.name: parameters.shown(row, parameter.name) for parameter in parameters.every()
    }
    assert shown == {
        "temperature": "0.5",
        "top_p": "",
        "max_tokens": "",
        "system_prompt": "Be brief.",
    }
    values, _ = parameters.read(shown | {"temperature": "", "max_tokens": "9"})
    assert parameters.changed(row, values) == LlamaEngine(system_prompt="Be brief.", max_tokens=9)


def test_another_system_prompt_is_told_of_an_adapter() -> None:
    own = "Be brief."
    (told,) = parameters.warnings(LlamaEngine(adapter="/a", system_prompt=own))
    assert "0 of 16" in told
    assert "0 of 16" not in str(parameters.warnings(LlamaEngine(system_prompt=own)))
    assert parameters.warnings(LlamaEngine(adapter="/a")) == []
    assert "Top-p" in parameters.warnings(OpenAIEngine(top_p=0.5))[0]
    assert parameters.warnings(OpenAIEngine(top_p=0.5, temperature=1)) == []
