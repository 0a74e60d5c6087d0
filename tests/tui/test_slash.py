"""What a slash in the composer means."""

from __future__ import annotations

import pytest

from engine.core.errors import UsageError
from tui.commands.slash import as_question, is_command, parse, suggestions
from tui.commands.table import COMMANDS


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_command_is_called_by_its_name(command: object) -> None:
    name = getattr(command, "name", "")
    called = parse(f"/{name}")
    assert called[0] is command
    called = parse(suggestions(f"/{name}", {})[0].text)
    assert called[0] is command


def test_a_name_may_be_cut_short_while_it_means_one() -> None:
    called = parse("/ENG lora ")
    assert (called[0].name, called[1]) == ("engine", "lora")
    assert parse("/conv") == parse("/history")
    with pytest.raises(UsageError, match="“/co” may be /co"):
        parse("/co")


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("/", "Behind a slash"),
        ("/brew", "no command “/brew”"),
        ("/Slash: A Life", "no command “/Slash:”"),
        ("/quit now", "“/quit” stands alone"),
        ("/\x1b[2J", "no command “/[2J”"),
    ],
)
def test_what_is_no_command_is_one_sentence(typed: str, sentence: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse(typed)
    assert sentence in str(raised.value)
    assert str(raised.value).isprintable()


def test_two_slashes_are_a_question() -> None:
    assert not is_command("//dev/null")
    assert as_question("//dev/null") == "/dev/null"
    assert as_question("either/or") == "either/or"


def test_arguments_are_offered() -> None:
    values = {"engine": ["base", "lora"]}
    assert [offer.text for offer in suggestions("/engine ", values)] == [
        "/engine base",
        "/engine lora",
    ]
    assert [offer.text for offer in suggestions("/engine l", values)] == ["/engine lora"]
    assert suggestions("/engine lora", values) == []
    assert suggestions("/help ", values) == []


def test_dashes_stand_for_underscores_and_parts_are_found() -> None:
    assert parse("/next-engine")[0].name == "next_engine"
    assert "/new" in [offer.text for offer in suggestions("/conve", {})]
