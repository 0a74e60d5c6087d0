"""What people press and type in every other program does here what they expect."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from textual.events import AppBlur
from textual.pilot import Pilot
from textual.widgets import Static

from tests.engine.backends.openai import server as scripted
from tests.tui.driving import about, ask, chat, order, remote, send, state, until, words
from tui.screens.chat import ChatScreen
from tui.screens.dialogs import HelpScreen
from tui.screens.record import RecordScreen
from tui.widgets.composer import Composer
from tui.widgets.markdown_view import MarkdownView
from tui.widgets.turns import AnswerView

TITLE = "Canvas Stool, Blue"


def waiting_for(gate: asyncio.Event) -> scripted.Reply:
    """Answer once the gate is open."""

    async def reply(exchange: scripted.Exchange) -> None:
        await gate.wait()
        await scripted.hello()(exchange)

    return reply


def is_over(pilot: Pilot[None]) -> bool:
    return pilot.app._exit


async def test_ctrl_c_stops_the_answer_and_keeps_the_draft(
    catalogue_dir: Path, server: scripted.Server
) -> None:
    server.always = scripted.stalled(scripted.words("Half"))
    async with chat(catalogue_dir, **remote(server, engine="openai")) as pilot:
        view = await send(pilot, TITLE)
        await until(lambda: bool(view.query(MarkdownView)))
        composer = pilot.app.screen.query_one(Composer)
        composer.insert("next")
        await pilot.press("ctrl+c")
        await until(lambda: "stopped by you" in about(view))
        assert composer.text == "next"
        assert not is_over(pilot)


async def test_ctrl_c_clears_the_draft_and_up_brings_it_back(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        composer = pilot.app.screen.query_one(Composer)
        composer.insert("half a question")
        await pilot.press("ctrl+c")
        assert composer.text == ""
        assert state(pilot).startswith("ready")
        await pilot.press("up")
        assert composer.text == "half a question"


async def test_ctrl_c_twice_quits_and_says_so_first(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        await pilot.press("ctrl+c")
        assert state(pilot) == "Press Ctrl+C again to quit."
        assert not is_over(pilot)
        await pilot.press("ctrl+c")
        await until(lambda: is_over(pilot))


async def test_ctrl_c_later_asks_again(
    catalogue_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with chat(catalogue_dir) as pilot:
        await pilot.press("ctrl+c")
        monkeypatch.setattr("tui.screens.chat.monotonic", lambda: 1e12)
        await pilot.press("ctrl+c")
        assert not is_over(pilot)


async def test_ctrl_c_copies_what_is_selected(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        await ask(pilot, TITLE)
        pilot.app.screen.query_one(".words", Static).text_select_all()
        await pilot.press("ctrl+c")
        await until(lambda: state(pilot).startswith("Copied to"))


async def test_ctrl_c_leaves_a_page(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        await ask(pilot, TITLE)
        for key in ("f1", "f4", "ctrl+o", "f9"):
            await pilot.press(key)
            await until(lambda: not isinstance(pilot.app.screen, ChatScreen))
            await pilot.press("ctrl+c")
            await until(lambda: isinstance(pilot.app.screen, ChatScreen))


async def test_ctrl_d_deletes_in_a_text_and_quits_without_one(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        composer = pilot.app.screen.query_one(Composer)
        composer.insert("ab")
        await pilot.press("home", "ctrl+d")
        assert composer.text == "b"
        await pilot.press("ctrl+d")
        assert not is_over(pilot)
        await pilot.press("ctrl+d")
        await until(lambda: is_over(pilot))


@pytest.mark.parametrize("typed", ["exit", "quit", "/exit", "/quit"])
async def test_words_that_leave(catalogue_dir: Path, typed: str) -> None:
    async with chat(catalogue_dir) as pilot:
        await order(pilot, typed)
        await until(lambda: is_over(pilot))


async def test_a_question_mark_helps_and_clear_begins_anew(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        await ask(pilot, TITLE)
        await order(pilot, "?")
        await until(lambda: isinstance(pilot.app.screen, HelpScreen))
        await pilot.press("escape")
        await order(pilot, "/clear")
        await until(lambda: not pilot.app.screen.query(AnswerView))


async def test_a_theme_is_chosen_by_name(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        await order(pilot, "/theme light")
        await until(lambda: pilot.app.theme == "light")
        await order(pilot, "/theme mud")
        await until(lambda: "no theme named “mud”" in state(pilot))


async def test_details_tell_the_time_that_an_answer_took(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        await ask(pilot, TITLE)
        await order(pilot, "/details")
        await until(lambda: state(pilot).startswith("Catalogue: "))
        assert state(pilot).endswith((" ms", " s"))


async def test_questions_that_wait_are_sent_in_order(
    catalogue_dir: Path, server: scripted.Server
) -> None:
    gate = asyncio.Event()
    server.always = waiting_for(gate)
    async with chat(catalogue_dir, **remote(server, engine="openai")) as pilot:
        await send(pilot, TITLE)
        await until(lambda: bool(server.asked))
        for question in ("Empty Shelf", "Canvas Stool, Green"):
            await order(pilot, question)
        await until(lambda: words(pilot, "#queue")[0].count("\n") == 1)
        gate.set()
        await until(lambda: [view.is_finished for view in pilot.app.screen.query(AnswerView)]
                    == [True] * 3)  # fmt: skip
        assert words(pilot, ".question") == [
            f"❯ {TITLE}", "❯ Empty Shelf", "❯ Canvas Stool, Green",
        ]  # fmt: skip
        assert not pilot.app.screen.query_one("#queue").display


async def test_stopping_the_answer_withdraws_the_questions_that_wait(
    catalogue_dir: Path, server: scripted.Server
) -> None:
    server.always = scripted.stalled(scripted.words("One"))
    async with chat(catalogue_dir, **remote(server, engine="openai")) as pilot:
        view = await send(pilot, TITLE)
        await until(lambda: bool(view.query(MarkdownView)))
        await order(pilot, "Empty Shelf")
        await until(lambda: bool(words(pilot, "#queue")))
        await pilot.press("escape")
        await until(lambda: "stopped by you" in about(view))
        assert not pilot.app.screen.query_one("#queue").display
        await pilot.press("up")
        assert pilot.app.screen.query_one(Composer).text == "Empty Shelf"
        assert len(pilot.app.screen.query(AnswerView)) == 1


@pytest.mark.parametrize(
    ("notify", "long", "away"),
    [(True, True, True), (False, True, True), (True, False, True), (True, True, False)],
)
async def test_a_long_answer_rings_once_the_terminal_has_lost_the_focus(
    catalogue_dir: Path,
    server: scripted.Server,
    monkeypatch: pytest.MonkeyPatch,
    *,
    notify: bool,
    long: bool,
    away: bool,
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setattr("tui.attention.LONG", 0.0 if long else 1e6)
    gate, written = asyncio.Event(), list[str]()
    server.always = waiting_for(gate)
    async with chat(catalogue_dir, **remote(server, engine="openai", notify=notify)) as pilot:
        assert pilot.app._driver
        monkeypatch.setattr(pilot.app._driver, "write", written.append)
        view = await send(pilot, TITLE)
        if away:
            pilot.app.post_message(AppBlur())
            await until(lambda: not pilot.app.app_focus)
        gate.set()
        screen = pilot.app.screen
        assert isinstance(screen, ChatScreen)
        await until(lambda: view.is_finished and not screen.is_answering)
        await pilot.pause()
    rung = [text for text in written if "]9;" in text]
    expected = "\a\x1b]9;balcao: The answer is complete.\a"
    assert [text.startswith(expected) for text in rung] == [True] * (notify and long and away)


async def test_a_copied_record_is_reported_on_its_page(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        await ask(pilot, TITLE)
        await pilot.press("f4")
        await until(lambda: isinstance(pilot.app.screen, RecordScreen))
        await pilot.press("c")
        await until(lambda: words(pilot, "#record-about")[0].startswith("Copied to"))
