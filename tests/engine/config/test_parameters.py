"""What a person types into an engine's form, and what becomes of it."""

from __future__ import annotations

import msgspec
import pytest

from engine.backends.llama.engine import LlamaConfig
from engine.backends.openai.engine import OpenAIConfig
from engine.config import parameters

FORM = parameters.sampling_parameters()
BLANK = {parameter.name: "" for parameter in FORM}


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
    values, wrong = parameters.read(FORM, BLANK | {name: text})
    assert wrong == {}
    assert values[name] == value


@pytest.mark.usefixtures("in_portuguese")
def test_in_portuguese_numbers_are_read_as_they_are_shown() -> None:
    row = LlamaConfig(temperature=0.7, max_tokens=2048)
    shown = {name: parameters.shown(row, name) for name in BLANK}
    assert shown["temperature"] == "0,7"
    assert parameters.read(FORM, BLANK | shown)[0]["temperature"] == 0.7
    assert parameters.read(FORM, BLANK | {"max_tokens": "2.048"})[0]["max_tokens"] == 2048
    assert list(parameters.read(FORM, BLANK | {"max_tokens": "1,5"})[1]) == ["max_tokens"]


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
    values, wrong = parameters.read(FORM, BLANK | {name: text})
    assert list(wrong) == [name]
    assert wrong[name].endswith(".")
    assert name not in values


@pytest.mark.parametrize("row", [LlamaConfig(), OpenAIConfig()])
@pytest.mark.parametrize(
    ("name", "inside", "outside"),
    [
        ("temperature", ["0", "2"], ["-0.01", "2.01"]),
        ("top_p", ["0.001", "1"], ["0", "1.001"]),
        ("max_tokens", ["1", "1000000000"], ["0", "1000000001", "9" * 5000]),
    ],
)
def test_the_limits_are_those_of_the_settings(
    row: LlamaConfig | OpenAIConfig, name: str, inside: list[str], outside: list[str]
) -> None:
    for text in inside:
        assert parameters.read(FORM, BLANK | {name: text})[1] == {}
        msgspec.convert({name: text}, type(row), strict=False)
    for text in outside:
        assert name in parameters.read(FORM, BLANK | {name: text})[1]
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert({name: text}, type(row), strict=False)


def test_a_form_shows_what_is_in_force_and_leaves_defaults_blank() -> None:
    row = LlamaConfig(temperature=0.5, system_prompt="Be brief.")
    shown = {name: parameters.shown(row, name) for name in BLANK}
    assert shown == {
        "temperature": "0.5",
        "top_p": "",
        "max_tokens": "",
        "system_prompt": "Be brief.",
    }
    values, _ = parameters.read(FORM, shown | {"temperature": "", "max_tokens": "9"})
    assert parameters.changed(row, values) == LlamaConfig(system_prompt="Be brief.", max_tokens=9)


def test_another_system_prompt_is_told_of_an_adapter() -> None:
    own = "Be brief."
    (told,) = LlamaConfig(adapter="/a", system_prompt=own).warnings()
    assert "0 of 16" in told
    assert "0 of 16" not in str(LlamaConfig(system_prompt=own).warnings())
    assert LlamaConfig(adapter="/a").warnings() == []
    assert "Top-p" in OpenAIConfig(top_p=0.5).warnings()[0]
    assert OpenAIConfig(top_p=0.5, temperature=1).warnings() == []
