"""From 60 columns and 20 lines up nothing is cut, also when the size changes during an answer."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest
from textual.app import App
from textual.pilot import Pilot
from textual.widget import Widget
from textual.widgets._footer import FooterKey

from tests.engine.backends.openai import server as scripted
from tests.tui.driving import ask, chat, send, still, until
from tui.screens.chat import ChatScreen
from tui.terminal import COLUMNS, LINES
from tui.widgets.engine_bar import _fitting
from tui.widgets.turns import AnswerView

SIZES = [(COLUMNS, LINES), (80, 24), (100, 30), (160, 50), (240, 70)]


def laid_out(app: App[None]) -> None:
    """Assert that all parts are on the screen, and that no key is cut or covered."""
    size = app.size
    for widget in app.screen.children:
        assert app.screen.region.contains_region(widget.region), (size, widget)
    keys = [key.region for key in app.screen.query(FooterKey)]
    assert keys
    for place, key in enumerate(keys):
        assert app.screen.region.contains_region(key), (size, key)
        assert not any(key.overlaps(other) for other in keys[place + 1 :]), (size, key)


async def laid_out_soon(pilot: Pilot[None]) -> None:
    """Wait for `laid_out` on a screen that is changing."""
    for _ in range(100):
        await pilot.pause(0.1)
        with suppress(AssertionError):
            laid_out(pilot.app)
            return
    laid_out(pilot.app)


async def opened(pilot: Pilot[None], key: str) -> None:
    await pilot.press(key)
    await until(lambda: not isinstance(pilot.app.screen, ChatScreen))
    await until(lambda: bool(pilot.app.screen.query(FooterKey)))
    await still(pilot)


@pytest.mark.parametrize("size", [SIZES[0], SIZES[-1]], ids=lambda size: f"{size[0]}x{size[1]}")
async def test_every_screen_fits(catalogue_dir: Path, size: tuple[int, int]) -> None:
    async with chat(catalogue_dir, size) as pilot:
        await ask(pilot, "Striped Apron")
        await ask(pilot, "the tin lighthouse")
        laid_out(pilot.app)
        screen = pilot.app.screen
        assert screen.query_one("#conversation").region.height >= size[1] - 6
        assert screen.query_one("#composer").region.width >= size[0] - 6
        for key in ("f1", "f3", "f4", "f9", "f10", "ctrl+o", "ctrl+y"):
            await opened(pilot, key)
            laid_out(pilot.app)
            await pilot.press("escape")
            await until(lambda: pilot.app.screen is screen)


async def test_the_size_changes_during_an_answer(catalogue_dir: Path) -> None:
    told = [f"Word {number} of **many**, and a longer one at that. " for number in range(60)]

    async def slowly(exchange: scripted.Exchange) -> None:
        await exchange.head(
            200, {"content-type": "text/event-stream", "transfer-encoding": "chunked"}
        )
        for text in told:
            await exchange.part(scripted.words(text))
            await asyncio.sleep(0.02)
        await exchange.part(scripted.words("", "stop"))
        await exchange.part(scripted.DONE)
        await exchange.part(b"")

    async with scripted.running() as server:
        server.always = slowly
        row = {"model": "m", "base_url": server.url, "max_retries": 0}
        engines = {"openai": row}
        async with chat(catalogue_dir, (160, 50), engine="openai", engines=engines) as pilot:
            view = await send(pilot, "canvas stool blue")
            for size in [*SIZES, *reversed(SIZES)]:
                await pilot.resize_terminal(*size)
                await laid_out_soon(pilot)
            await until(lambda: view.is_finished)
            pane = pilot.app.screen.query_one("#conversation")
            await until(lambda: pane.scroll_y == pane.max_scroll_y > 0)
            await pilot.resize_terminal(*SIZES[-1])
            wanted = "".join(told).replace("**", "").split()
            await until(lambda: shown(pilot.app, view).split() == wanted)


def shown(app: App[None], view: AnswerView) -> str:
    """Return the visible text of an answer, or nothing if it does not fit."""
    words = view.query_one(".words", Widget).region
    if not app.screen.region.contains_region(words):
        return ""
    strips = app.screen._compositor.render_strips(app.size)
    lines = [strips[line].crop(words.x, words.right).text for line in words.line_range]
    return "\n".join(lines)


def test_a_path_loses_its_middle_before_a_sentence_takes_two_rows() -> None:
    said = "Written to /home/me/.local/share/balcao/exports/striped-apron.md"
    assert _fitting(said, 64) == said
    shown = _fitting(said, 50)
    assert len(shown) == 50
    assert shown.startswith("Written to /home/me/")
    assert shown.endswith("…/striped-apron.md")
    assert _fitting(said, 20) == "Written to …/striped-apron.md"
