"""What a slash in the composer means."""

from __future__ import annotations

import pytest

from engine.core.errors import UsageError
from tui.commands.slash import as_question, is_command, parse, spelt_out, suggestions
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
        ("/", "Type a command"),
        ("/brew", "command /brew."),
        ("/Slash: A Life", "command /Slash:."),
        ("/quit now", "/quit takes no argument"),
        ("/clear all", "/clear takes no argument"),
        ("/\x1b[2J", "command /[2J."),
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


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("/exit", "quit"),
        ("/clear", "new_conversation"),
        ("/model lora", "engine"),
        ("/cle", "new_conversation"),
        ("/mod", "mode"),
    ],
)
def test_names_of_other_programs_are_known(typed: str, name: str) -> None:
    assert parse(typed)[0].name == name


@pytest.mark.parametrize(
    ("word", "name"),
    [("exit", "quit"), ("QUIT", "quit"), (":q", "quit"), ("?", "help"), ("help", "help")],
)
def test_a_word_alone_is_the_command_that_people_mean(word: str, name: str) -> None:
    assert parse(spelt_out(word))[0].name == name


def test_a_question_with_such_a_word_stays_a_question() -> None:
    assert spelt_out("the emergency exit") == "the emergency exit"


def test_an_alias_is_offered_where_it_is_typed() -> None:
    assert suggestions("/cle", {})[0].text == "/clear"
    assert suggestions("/theme l", {"theme": ["dark", "light"]})[0].text == "/theme light"
