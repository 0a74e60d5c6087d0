"""The tour: keys to press, one after the other, with what is there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from engine.config import settings
from engine.core.types import Mode
from tests.conftest import ROWS
from tests.engine.backends.openai import server as scripted
from tests.tui.driving import chat, order, still, until, until_open, words
from tui.app import BalcaoApp
from tui.screens.chat import ChatScreen
from tui.screens.compare import CompareScreen
from tui.screens.record import RecordScreen
from tui.widgets.composer import Composer
from tui.widgets.tour import TourLine
from tui.widgets.welcome import TourOffer


@pytest.fixture
async def server() -> AsyncIterator[scripted.Server]:
    async with scripted.running() as running:
        yield running


def remote(server: scripted.Server) -> dict[str, Any]:
    server.always = scripted.streamed(
        scripted.words(ROWS[0][2]), scripted.words("", "stop"), scripted.DONE
    )
    row = {"model": "m", "base_url": server.url, "max_retries": 0}
    return {"engines": {"openai": row}}


def told(pilot: Pilot[None]) -> str:
    return "".join(words(pilot, "#tour"))


async def step(pilot: Pilot[None], *keys: str, then: str) -> None:
    """Press keys and wait for the next instruction."""
    await pilot.press(*keys)
    await until(lambda: then in told(pilot))


async def test_four_keys_ask_switch_from_memory_and_compare(
    catalogue_dir: Path, server: scripted.Server
) -> None:
    async with chat(catalogue_dir, **remote(server)) as pilot:
        screen = pilot.app.screen
        assert isinstance(screen, ChatScreen)
        session = screen.session
        before = session.engine, session.mode
        await order(pilot, "/tour")
        await until(lambda: "Press Enter" in told(pilot))
        assert "1/4" in told(pilot)
        await step(pilot, "enter", then="Press F2: switch to OpenAI")
        await step(pilot, "f2", then="Press F5")
        assert session.turn is not None
        assert [one.engine for one in session.turn[1].answers] == ["catalogue", "openai"]
        await step(pilot, "f5", then="Press F3")
        assert [one.mode for one in session.turn[1].answers][1:] == [Mode.GROUNDED, Mode.MEMORY]
        await pilot.press("f3")
        await until(lambda: isinstance(pilot.app.screen, CompareScreen))
        await still(pilot)
        await pilot.press("escape")
        await until(lambda: not screen.query(TourLine))
        assert (session.engine, session.mode) == before


async def test_without_a_model_it_is_shorter_and_says_so(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        screen = pilot.app.screen
        await order(pilot, "/tour")
        await until(lambda: "1/2" in told(pilot))
        await step(pilot, "enter", then="No model is set up here")
        await pilot.press("f4")
        await until(lambda: isinstance(pilot.app.screen, RecordScreen))
        await pilot.pause(0.3)
        await pilot.press("escape")
        await until(lambda: not screen.query(TourLine))


async def test_escape_leaves_it(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        await order(pilot, "/tour")
        await until(lambda: "Press Enter" in told(pilot))
        await still(pilot)
        await pilot.press("escape")
        await pilot.press("escape")  # the first closes suggestions, if there are any
        await until(lambda: not pilot.app.screen.query(TourLine))
        assert pilot.app.screen.query_one(Composer).question == ""


async def test_it_is_offered_once_and_only_with_a_model(
    catalogue_dir: Path, server: scripted.Server
) -> None:
    async with chat(catalogue_dir) as pilot:
        assert not pilot.app.screen.query(TourOffer)
    async with chat(catalogue_dir, **remote(server)) as pilot:
        await until(lambda: bool(pilot.app.screen.query(TourOffer)))
        pilot.app.screen.query_one(TourOffer).focus()
        await pilot.press("enter")
        await until(lambda: "Press Enter" in told(pilot))
    async with chat(catalogue_dir, **remote(server)) as pilot:
        assert not pilot.app.screen.query(TourOffer)


@pytest.mark.parametrize("size", [(80, 24), (160, 50)], ids=["80x24", "160x50"])
def test_it_looks(
    snap_compare: Callable[..., bool], catalogue_dir: Path, size: tuple[int, int]
) -> None:
    async def run(pilot: Pilot[None]) -> None:
        await until_open(pilot)
        pilot.app.screen.query_one(Composer).cursor_blink = False
        await order(pilot, "/tour")
        await until(lambda: "Press Enter" in told(pilot))
        await still(pilot)
        await step(pilot, "enter", then="Press F4")
        await still(pilot)

    app = BalcaoApp(settings.load(Path("none"), {}, {"catalogue": catalogue_dir}))
    assert snap_compare(app, terminal_size=size, run_before=run)
