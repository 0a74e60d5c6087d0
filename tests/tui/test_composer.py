"""The composer: what is offered while one types, and commands behind a slash."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from textual._compositor import CompositorUpdate
from textual.events import Key, Paste
from textual.pilot import Pilot
from textual.screen import Screen

from tests.tui.driving import ask, chat, order, said, state, until, words
from tui.app import BalcaoApp
from tui.screens.chat import ChatScreen
from tui.screens.dialogs import HelpScreen
from tui.screens.record import RecordScreen
from tui.widgets.composer import Composer
from tui.widgets.suggestions import Suggestions
from tui.widgets.turns import AnswerView


def composer(pilot: Pilot[None]) -> Composer:
    return pilot.app.screen.query_one(Composer)


def offered(pilot: Pilot[None]) -> str:
    suggestions = pilot.app.screen.query_one(Suggestions)
    return str(suggestions.render()) if suggestions.display else ""


async def type_for_offers(pilot: Pilot[None], text: str) -> None:
    """Type (all but the last letter at once), and wait for titles."""
    composer(pilot).insert(text[:-1])
    await pilot.press("space" if text[-1] == " " else text[-1])
    await until(lambda: bool(offered(pilot)))


async def test_tab_takes_the_title_that_is_offered_and_enter_asks(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        await type_for_offers(pilot, "do you have the tin l")
        assert "The Tin Lighthouse" in offered(pilot)
        await pilot.press("tab")
        assert composer(pilot).text == "do you have The Tin Lighthouse"
        assert not offered(pilot)
        view = await ask(pilot, "")
        assert "Ada Quillfeather" in said(view)


async def test_what_is_typed_right_behind_an_enter_is_the_next_question(
    catalogue_dir: Path,
) -> None:
    async with chat(catalogue_dir) as pilot:
        screen = pilot.app.screen
        assert isinstance(screen, ChatScreen)
        for letter in "apron\rcanvas":
            pilot.app.post_message(Key("enter" if letter == "\r" else letter, letter))
        await until(lambda: len(pilot.app.screen.query(AnswerView)) == 1)
        await until(lambda: composer(pilot).text == "canvas")
        await until(lambda: not screen.is_answering)


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the chat writes to the terminal, update by update."""
    updates: list[str] = []
    display = BalcaoApp._display

    def note(app: BalcaoApp, screen: Screen[None], update: object) -> None:
        if isinstance(update, CompositorUpdate) and not app._batch_count:
            updates.append(update.render_segments(app.console))
        display(app, screen, update)  # type: ignore[arg-type]

    monkeypatch.setattr(BalcaoApp, "_display", note)
    return updates


async def test_a_letter_is_drawn_before_what_else_waits_to_be(
    catalogue_dir: Path, written: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tui.widgets.composer._REPAINT_INTERVAL", 10.0)
    async with chat(catalogue_dir, motion="reduced") as pilot:
        await pilot.pause(0.1)
        written.clear()
        pilot.app.screen.refresh(layout=True)
        composer(pilot).insert("q")
        assert len(written) == 1
        assert "q" in written[0]
        composer(pilot).insert("uartz")  # so soon after it is drawn with the rest
        assert len(written) == 1
        await until(lambda: "quartz" in written[-1])


async def test_a_letter_among_changes_that_belong_together_waits_for_them(
    catalogue_dir: Path, written: list[str]
) -> None:
    async with chat(catalogue_dir, motion="reduced") as pilot:
        await pilot.pause(0.1)
        written.clear()
        with pilot.app.batch_update():
            composer(pilot).insert("quartz")
        await until(lambda: any("quartz" in update for update in written))


async def test_a_tab_that_comes_before_the_titles_waits_for_them(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        composer(pilot).insert("tin l")
        await pilot.pause()
        composer(pilot).action_complete()
        await until(lambda: composer(pilot).text == "The Tin Lighthouse")
        assert pilot.app.focused is composer(pilot)
        assert not offered(pilot)


async def test_beside_a_long_text_no_title_is_looked_up(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        await type_for_offers(pilot, "tin l")
        composer(pilot).paste("letters " * 1200)
        await until(lambda: not offered(pilot))
        suggestions = pilot.app.screen.query_one(Suggestions)
        assert not suggestions.accept_on_arrival(composer(pilot).text)


async def test_enter_sends_what_is_typed_whatever_is_offered(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        await type_for_offers(pilot, "canvas")
        await ask(pilot, "")
        assert words(pilot, ".question") == ["❯ canvas"]
        assert not offered(pilot)


async def test_what_is_gone_to_stands_in_the_composer(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        await type_for_offers(pilot, "canvas")
        await pilot.press("down")
        assert composer(pilot).text == "Canvas Stool, Blue"
        await pilot.press("down", "down")
        assert composer(pilot).text == "Canvas Stool, Green"
        assert "› Canvas Stool, Green" in offered(pilot)
        await pilot.press("up", "up")
        assert composer(pilot).text == "canvas"
        await pilot.press("down")
        view = await ask(pilot, "")
        assert said(view) == "Folds flat and floats."


async def test_escape_closes_what_is_offered_for_this_question(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        await type_for_offers(pilot, "canvas")
        await pilot.press("escape", *" sto")
        await pilot.pause(0.2)
        assert not offered(pilot)
        await pilot.press("ctrl+u")
        assert composer(pilot).text == ""
        await type_for_offers(pilot, "canvas")


async def test_right_takes_it_at_the_end_only(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        await type_for_offers(pilot, "canvas")
        await pilot.press("left", "right")
        assert composer(pilot).text == "canvas"
        await pilot.press("right")
        assert composer(pilot).text == "Canvas Stool, Blue"


async def test_what_was_gone_to_and_taken_is_no_list_any_more(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        await type_for_offers(pilot, "canvas")
        await pilot.press("down", "tab", "up")
        assert composer(pilot).text == "Canvas Stool, Blue"
        await pilot.press("down")
        assert composer(pilot).text == "Canvas Stool, Blue"


async def test_leaving_while_titles_are_looked_up_is_no_mistake(catalogue_dir: Path) -> None:
    for seconds in (0.0, 0.1):
        async with chat(catalogue_dir) as pilot:
            await pilot.press(*"canvas")
            await asyncio.sleep(seconds)


async def test_titles_are_not_offered_where_settings_say_so(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir, complete_titles=False) as pilot:
        await pilot.press(*"canvas")
        await pilot.pause(0.3)
        assert not offered(pilot)


async def test_a_title_is_clean_before_it_is_in_the_composer(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        await type_for_offers(pilot, "bell")
        await pilot.press("tab")
        assert composer(pilot).text.startswith("Bell")
        assert not {"\x1b", "\x07", "\u202e"} & set(composer(pilot).text)


async def test_questions_before_are_walked_through_without_offers(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        await ask(pilot, "canvas stool")
        await pilot.press("up")
        await pilot.pause(0.2)
        assert composer(pilot).text == "canvas stool"
        assert not offered(pilot)
        await pilot.press("down")
        assert composer(pilot).text == ""


async def test_a_slash_offers_the_commands_and_tab_completes(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        await pilot.press("/")
        assert "/help" in offered(pilot)
        await pilot.press(*"rec")
        assert "/help" not in offered(pilot)
        await pilot.press("tab")
        assert composer(pilot).text == "/record"
        await pilot.press("enter")
        await until(lambda: "No answer here" in state(pilot))
        assert composer(pilot).text == ""
        await order(pilot, "/help")
        await until(lambda: isinstance(pilot.app.screen, HelpScreen))


async def test_a_command_takes_its_argument(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        await pilot.press(*"/engine op", "tab")
        assert composer(pilot).text == "/engine openai"
        await pilot.press("enter")
        await until(lambda: "● OpenAI" in words(pilot, "#names")[0])
        await order(pilot, "/engine nobody")
        await until(lambda: "There is no engine “nobody”" in state(pilot))


async def test_an_unknown_command_is_told_and_the_text_stays(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        await order(pilot, "/brew coffee")
        await until(lambda: "no command “/brew”" in state(pilot))
        assert composer(pilot).text == "/brew coffee"
        assert not pilot.app.screen.query(AnswerView)


async def test_two_slashes_or_a_setting_ask_for_a_title_with_a_slash(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        await ask(pilot, "//dev/null")
        assert words(pilot, ".question") == ["❯ /dev/null"]
    async with chat(catalogue_dir, slash_commands=False) as pilot:
        await ask(pilot, "/help")
        assert words(pilot, ".question") == ["❯ /help"]


async def test_slash_record_and_quit(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        await ask(pilot, "Canvas Stool, Blue")
        await order(pilot, "/record")
        await until(lambda: isinstance(pilot.app.screen, RecordScreen))
        await pilot.press("escape")
        await order(pilot, "/quit")
        await until(lambda: not pilot.app.is_running)


async def test_a_long_paste_is_a_mark_and_is_asked_whole(catalogue_dir: Path) -> None:
    text = "lines of text\n" * 70_000
    async with chat(catalogue_dir) as pilot:
        await pilot.press(*"about ")
        composer(pilot).post_message(Paste(text))
        await until(lambda: "letters]" in composer(pilot).text)
        assert composer(pilot).text == "about [text 1: 980,000 letters]"
        await pilot.press("enter")
        await until(lambda: "… (980,005 letters)" in "".join(words(pilot, ".question")))
        turns = pilot.app.screen.session.conversation.turns  # type: ignore[attr-defined]
        assert turns[0].question == f"about {text}".strip()
        await pilot.press("up")
        assert composer(pilot).text == "[text 2: 980,005 letters]"


async def test_a_short_paste_is_what_it_is(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        await pilot.press(*"ab", "left")
        composer(pilot).post_message(Paste("one\r\x1b\ntwo"))
        await until(lambda: composer(pilot).text == "aone\n\ntwob")
        await pilot.press("x")
        assert composer(pilot).text == "aone\n\ntwoxb"


async def test_questions_of_other_conversations_follow_those_of_this_one(
    catalogue_dir: Path,
) -> None:
    async with chat(catalogue_dir) as pilot:
        await ask(pilot, "Empty Shelf")
        await ask(pilot, "The Tin Lighthouse")
        await pilot.press("ctrl+n")
        await ask(pilot, "Empty Shelf")
    async with chat(catalogue_dir) as pilot:
        await ask(pilot, "Canvas Stool, Blue")
        seen = []
        for _ in range(4):
            await pilot.press("up")
            seen.append(composer(pilot).text)
        assert seen == ["Canvas Stool, Blue", "Empty Shelf", *["The Tin Lighthouse"] * 2]
