"""The composer: suggestions, slash commands, pastes and input history."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from textual._compositor import CompositorUpdate
from textual.events import Key, Paste
from textual.pilot import Pilot
from textual.screen import Screen

from engine.catalogue.index import build_catalogue
from tests.conftest import write_rows
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


def suggested(pilot: Pilot[None]) -> str:
    suggestions = pilot.app.screen.query_one(Suggestions)
    return str(suggestions.render()) if suggestions.display else ""


async def type_for_suggestions(pilot: Pilot[None], text: str) -> None:
    """Type, all but the last letter at once, and wait for suggestions."""
    composer(pilot).insert(text[:-1])
    await pilot.press("space" if text[-1] == " " else text[-1])
    await until(lambda: bool(suggested(pilot)))


async def test_a_question_about_the_product_in_hand_is_no_title(tmp_path: Path) -> None:
    rows = (("1", "Big Night In", "Two microphones."), ("2", "The Tin Lighthouse", "It is tall."))
    build_catalogue(write_rows(tmp_path / "rows.jsonl", rows), tmp_path / "index")
    async with chat(tmp_path / "index") as pilot:
        session = pilot.app.screen.session  # type: ignore[attr-defined] # the chat's
        assert [one.title for one in await session.complete("how big")] == ["Big Night In"]
        await ask(pilot, "the tin lighthouse")
        assert await session.complete("how big") == ()
        assert await session.complete("big nig") != ()


async def test_tab_accepts_the_suggested_title_and_enter_sends(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        await type_for_suggestions(pilot, "do you have the tin l")
        assert "The Tin Lighthouse" in suggested(pilot)
        await pilot.press("tab")
        assert composer(pilot).text == "do you have The Tin Lighthouse"
        assert not suggested(pilot)
        view = await ask(pilot, "")
        assert "Ada Quillfeather" in said(view)


async def test_text_typed_right_after_enter_is_the_next_question(
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
    """The updates that the chat writes to the terminal."""
    updates: list[str] = []
    display = BalcaoApp._display

    def note(app: BalcaoApp, screen: Screen[None], update: object) -> None:
        if isinstance(update, CompositorUpdate) and not app._batch_count:
            updates.append(update.render_segments(app.console))
        display(app, screen, update)  # type: ignore[arg-type]

    monkeypatch.setattr(BalcaoApp, "_display", note)
    return updates


async def test_a_letter_is_drawn_before_queued_updates(
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
        composer(pilot).insert("uartz")  # too soon after the first: drawn with the rest
        assert len(written) == 1
        await until(lambda: "quartz" in written[-1])


async def test_a_letter_in_a_batch_update_waits_for_the_batch(
    catalogue_dir: Path, written: list[str]
) -> None:
    async with chat(catalogue_dir, motion="reduced") as pilot:
        await pilot.pause(0.1)
        written.clear()
        with pilot.app.batch_update():
            composer(pilot).insert("quartz")
        await until(lambda: any("quartz" in update for update in written))


async def test_tab_before_the_suggestions_accepts_the_first_on_arrival(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        composer(pilot).insert("tin l")
        await pilot.pause()
        composer(pilot).action_complete()
        await until(lambda: composer(pilot).text == "The Tin Lighthouse")
        assert pilot.app.focused is composer(pilot)
        assert not suggested(pilot)


async def test_a_long_text_gets_no_suggestions(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        await type_for_suggestions(pilot, "tin l")
        composer(pilot).paste("letters " * 1200)
        await until(lambda: not suggested(pilot))
        suggestions = pilot.app.screen.query_one(Suggestions)
        assert not suggestions.accept_on_arrival(composer(pilot).text)


async def test_enter_sends_what_is_typed_whatever_is_suggested(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        await type_for_suggestions(pilot, "canvas")
        await ask(pilot, "")
        assert words(pilot, ".question") == ["❯ canvas"]
        assert not suggested(pilot)


async def test_the_highlighted_suggestion_is_in_the_composer(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        await type_for_suggestions(pilot, "canvas")
        await pilot.press("down")
        assert composer(pilot).text == "Canvas Stool, Blue"
        await pilot.press("down", "down")
        assert composer(pilot).text == "Canvas Stool, Green"
        assert "› Canvas Stool, Green" in suggested(pilot)
        await pilot.press("up", "up")
        assert composer(pilot).text == "canvas"
        await pilot.press("down")
        view = await ask(pilot, "")
        assert said(view) == "Folds flat and floats."


async def test_escape_dismisses_suggestions_for_this_question(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        await type_for_suggestions(pilot, "canvas")
        await pilot.press("escape", *" sto")
        await pilot.pause(0.2)
        assert not suggested(pilot)
        await pilot.press("ctrl+u")
        assert composer(pilot).text == ""
        await type_for_suggestions(pilot, "canvas")


async def test_right_accepts_at_the_end_only(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        await type_for_suggestions(pilot, "canvas")
        await pilot.press("left", "right")
        assert composer(pilot).text == "canvas"
        await pilot.press("right")
        assert composer(pilot).text == "Canvas Stool, Blue"


async def test_an_accepted_suggestion_closes_the_list(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        await type_for_suggestions(pilot, "canvas")
        await pilot.press("down", "tab", "up")
        assert composer(pilot).text == "Canvas Stool, Blue"
        await pilot.press("down")
        assert composer(pilot).text == "Canvas Stool, Blue"


async def test_quitting_during_a_look_up_is_clean(catalogue_dir: Path) -> None:
    for seconds in (0.0, 0.1):
        async with chat(catalogue_dir) as pilot:
            await pilot.press(*"canvas")
            await asyncio.sleep(seconds)


async def test_titles_are_not_suggested_if_disabled(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir, complete_titles=False) as pilot:
        await pilot.press(*"canvas")
        await pilot.pause(0.3)
        assert not suggested(pilot)


async def test_a_suggested_title_is_printable(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        await type_for_suggestions(pilot, "bell")
        await pilot.press("tab")
        assert composer(pilot).text.startswith("Bell")
        assert not {"\x1b", "\x07", "\u202e"} & set(composer(pilot).text)


async def test_earlier_questions_get_no_suggestions(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        await ask(pilot, "canvas stool")
        await pilot.press("up")
        await pilot.pause(0.2)
        assert composer(pilot).text == "canvas stool"
        assert not suggested(pilot)
        await pilot.press("down")
        assert composer(pilot).text == ""


async def test_a_slash_suggests_commands_and_tab_completes(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        await pilot.press("/")
        assert "/help" in suggested(pilot)
        await pilot.press(*"rec")
        assert "/help" not in suggested(pilot)
        await pilot.press("tab")
        assert composer(pilot).text == "/record"
        await pilot.press("enter")
        await until(lambda: "No answer has a record" in state(pilot))
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
        composer(pilot).clear()
        await pilot.press(*"/mode mem", "tab")
        assert composer(pilot).text == "/mode memory"
        await pilot.press("enter")
        await until(lambda: words(pilot, "#grounding") == ["from memory"])
        await order(pilot, "/mode loud")
        await until(lambda: "There is no mode “loud”" in state(pilot))


async def test_an_unknown_command_is_reported_and_stays(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        await order(pilot, "/brew coffee")
        await until(lambda: "Unknown command /brew" in state(pilot))
        assert composer(pilot).text == "/brew coffee"
        assert not pilot.app.screen.query(AnswerView)


async def test_two_slashes_search_for_a_title_with_a_slash(catalogue_dir: Path) -> None:
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


async def test_a_long_paste_is_a_placeholder_and_is_sent_whole(catalogue_dir: Path) -> None:
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


async def test_a_short_paste_is_inserted(catalogue_dir: Path) -> None:
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
