"""Keys that arrive in one read, and terminals of a few columns: the chat goes on."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from textual import events
from textual.pilot import Pilot
from textual.widgets import Input

from engine.core.types import Conversation
from tests.tui.driving import ask, chat, until
from tools.attack import keys
from tui.screens.chat import ChatScreen
from tui.screens.conversations import ConversationsScreen
from tui.screens.dialogs import InputDialog, Palette
from tui.screens.engines import EnginesScreen
from tui.widgets.composer import Composer

_CRASHED = 9
"""How many of the known bursts crashed the chat; the rest are like them."""


def send(pilot: Pilot[None], burst: tuple[str, ...]) -> None:
    """Put all keys of a burst into the app's queue before it handles the first."""
    for name in burst:
        typed = keys.KEYS[name]
        if name == "paste":
            pilot.app.post_message(events.Paste("a\rb"))
        elif typed.isprintable():
            for letter in typed:
                pilot.app.post_message(events.Key(letter, letter))
        else:
            pilot.app.post_message(events.Key(name, None))


async def back_to_chat(pilot: Pilot[None]) -> None:
    """Press Escape until no page is open, as often as a user would."""
    for _ in range(10):
        await pilot.pause()
        if isinstance(pilot.app.screen, ChatScreen):
            return
        send(pilot, ("escape",))
    raise AssertionError(f"stuck on {pilot.app.screen}")


async def play(pilot: Pilot[None], bursts: tuple[tuple[str, ...], ...]) -> None:
    for burst in bursts:
        send(pilot, burst)
        await pilot.pause()
    await back_to_chat(pilot)
    assert pilot.app.return_code is None
    assert pilot.app._exception is None, bursts


async def test_bursts_that_crashed_the_chat_once(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        await ask(pilot, "Striped Apron")
        for bursts in keys.EXACT[:_CRASHED]:
            await play(pilot, bursts)


@pytest.mark.parametrize("seed", range(3))
async def test_random_bursts(catalogue_dir: Path, seed: int) -> None:
    async with chat(catalogue_dir) as pilot:
        await ask(pilot, "Striped Apron")
        await play(pilot, tuple(keys.bursts(seed)))


async def test_only_the_first_enter_leaves_a_page(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        await pilot.press("f9")
        await until(lambda: isinstance(pilot.app.screen, EnginesScreen))
        page = pilot.app.screen
        page.dismiss("catalogue")
        page.dismiss("catalogue")
        await pilot.pause()
        assert isinstance(pilot.app.screen, ChatScreen)


async def test_a_covered_page_is_not_left(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        await pilot.press("f9")
        await until(lambda: isinstance(pilot.app.screen, EnginesScreen))
        page, dialog = pilot.app.screen, InputDialog("Name")
        await pilot.app.push_screen(dialog)
        page.dismiss("catalogue")
        assert pilot.app.screen is dialog
        assert page in pilot.app.screen_stack


async def test_work_ends_with_its_page(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        await ask(pilot, "Striped Apron")
        await pilot.press("ctrl+o")
        await until(lambda: isinstance(pilot.app.screen, ConversationsScreen))
        page = pilot.app.screen
        assert isinstance(page, ConversationsScreen)
        page._search._search()
        begun = page._search._searching
        assert begun
        page.dismiss(None)
        late = page.action_rename()
        assert begun.is_cancelled
        assert late.is_cancelled
        await pilot.pause()
        assert isinstance(pilot.app.screen, ChatScreen)


async def test_a_key_waits_until_its_page_has_widgets(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        page = InputDialog("Name")
        pilot.app.push_screen(page)
        send(pilot, ("a", "c"))
        await until(lambda: [field.value for field in page.query(Input)] == ["ac"])


async def test_a_question_sent_while_the_chat_ends_is_not_begun(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        screen = pilot.app.screen
        assert isinstance(screen, ChatScreen)
        await screen.close()
        screen.composer.insert("Striped Apron")
        await pilot.press("enter")
        await screen.cancel()
        assert screen.session.conversation.turns == Conversation().turns


@pytest.mark.parametrize("columns", [1, 3, 5])
async def test_a_chat_opens_in_a_few_columns(catalogue_dir: Path, columns: int) -> None:
    async with chat(catalogue_dir, (columns, 24)) as pilot:
        await ask(pilot, "Striped Apron")
        await pilot.resize_terminal(80, 24)


async def test_every_page_is_made_narrow(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        await ask(pilot, "Striped Apron")
        for key in ("f3", "f9", "f10", "ctrl+o", "ctrl+y", "ctrl+p"):
            send(pilot, (key,))
            await until(lambda: not isinstance(pilot.app.screen, ChatScreen))
            for columns in (5, 2):
                await pilot.resize_terminal(columns, 10)
                send(pilot, ("pagedown", "pageup"))
            await pilot.resize_terminal(80, 24)
            await back_to_chat(pilot)


async def test_pasted_lines_are_undone_in_a_low_terminal(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir, (146, 4)) as pilot:
        composer = pilot.app.screen.query_one(Composer)
        composer.paste("a\rb")
        await pilot.pause()
        await pilot.press("ctrl+z")
        assert composer.text == ""


async def test_a_page_begins_no_work_while_the_chat_ends(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        await pilot.press("ctrl+p")
        palette = pilot.app.screen
        assert isinstance(palette, Palette)
        await pilot.app.screen_stack[0].close()  # type: ignore[attr-defined]
        assert palette._gather_commands("a").is_cancelled


async def test_letters_do_not_wait_for_the_screen_if_nothing_has_the_focus(
    catalogue_dir: Path,
) -> None:
    """Keys that the screen passed on arrived after the Enter that followed them."""
    async with chat(catalogue_dir) as pilot:
        screen = pilot.app.screen
        assert isinstance(screen, ChatScreen)
        composer, is_free = screen.composer, asyncio.Event()
        screen.set_focus(None)
        screen.call_next(is_free.wait)
        for letter in "Striped Apron":
            pilot.app.post_message(events.Key(letter, letter))
        try:
            await until(lambda: composer.text == "Striped Apron")
            pilot.app.post_message(events.Key("enter", "\r"))
        finally:
            is_free.set()
        await until(lambda: bool(screen.session.conversation.turns))
        assert screen.session.conversation.turns[0].question == "Striped Apron"
        assert not composer.text
