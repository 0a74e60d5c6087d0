"""No footer is cut, and each shows the way out, however narrow the terminal."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets._footer import FooterKey

from engine.core.types import Mode
from tests.tui.driving import ask, chat, state, still, until, words
from tui.screens.chat import ChatScreen

PAGES = {"": "ctrl+q", "f1": "escape", "f3": "escape", "f4": "escape", "f9": "escape",
         "f10": "escape", "ctrl+o": "escape", "ctrl+y": "escape"}  # fmt: skip
"""The key that opens a page, and the one that leaves it."""


@pytest.mark.parametrize("width", [60, 80, 100])
async def test_footers_fit(catalogue_dir: Path, width: int) -> None:
    async with chat(catalogue_dir, (width, 24)) as pilot:
        await ask(pilot, "Canvas Stool, Blue")
        for page, leave in PAGES.items():
            if page:
                await pilot.press(page)
                await until(lambda: not isinstance(pilot.app.screen, ChatScreen))
            await until(lambda: bool(pilot.app.screen.query(FooterKey)))
            await still(pilot)
            keys = list(pilot.app.screen.query(FooterKey))
            drawn = [key for key in keys if key.region.width]
            assert len(drawn) == len(keys), page
            assert all(key.region.width == key.virtual_size.width for key in keys), page
            assert max(key.region.right for key in keys) <= width, page
            assert leave in [key.key for key in keys], page
            assert page or "ctrl+o" in [key.key for key in keys]
            if page:
                await pilot.press("escape")
                await until(lambda: isinstance(pilot.app.screen, ChatScreen))


@pytest.mark.parametrize("width", [60, 80, 100])
async def test_the_line_under_an_answer_takes_one_row(catalogue_dir: Path, width: int) -> None:
    async with chat(catalogue_dir, (width, 24)) as pilot:
        view = await ask(pilot, "canvas stol blue")
        assert view.query_one(".about").region.height == 1
        assert pilot.app.screen.query_one("#state").region.height == 1


MORE = {f"extra-{place}": {"kind": "openai", "model": "m", "title": f"A server's model {place}",
                           "base_url": "http://127.0.0.1:9"} for place in range(2)}  # fmt: skip
"""With the four that are always there."""


@pytest.mark.parametrize("width", [60, 80, 100])
async def test_the_active_engine_is_visible_however_many_there_are(
    catalogue_dir: Path, width: int
) -> None:
    async with chat(catalogue_dir, (width, 24), engines=MORE) as pilot:
        screen = pilot.app.screen
        assert isinstance(screen, ChatScreen)
        names = screen.query_one("#names")
        for title in screen.session.titles.values():
            for mode in (Mode.MEMORY, Mode.GROUNDED):
                screen.session.set_mode(mode)
                screen.show_mode()
                await pilot.pause()
                drawn = names.render_line(0).text.rstrip()
                assert f"● {title}" in drawn
                assert drawn == words(pilot, "#names")[0]
            await pilot.press("f2")


async def new_state(pilot: Pilot[None], key: str) -> str:
    before = state(pilot)
    await pilot.press(key)
    await until(lambda: state(pilot) != before)
    await pilot.pause()
    return state(pilot)


@pytest.mark.parametrize("width", [60, 80, 100])
async def test_hints_in_the_status_line_take_one_row(catalogue_dir: Path, width: int) -> None:
    async with chat(catalogue_dir, (width, 24)) as pilot:
        line = pilot.app.screen.query_one("#state")
        await ask(pilot, "Canvas Stool, Blue")
        for key in ("ctrl+c", "right", "ctrl+up", "ctrl+g", "f6", "escape"):
            assert len(await new_state(pilot, key)) <= width - 2
            assert line.region.height == 1, state(pilot)
        await pilot.press("f12")
        await until(lambda: "Written to" in state(pilot))
        assert state(pilot).endswith("-canvas-stool-blue.md")
        assert line.region.height == 1, state(pilot)
