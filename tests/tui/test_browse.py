"""The browse page: titles, a filter, the record, and asking for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from engine.catalogue.index import build_index
from engine.config import settings
from engine.core.types import Product
from tests.tui.driving import chat, order, still, until, until_open, words
from tui.app import BalcaoApp
from tui.screens.browse import BrowseScreen, TitleList
from tui.screens.chat import ChatScreen

SIZES = [(60, 20), (80, 24), (160, 50)]


def head(pilot: Pilot[None]) -> str:
    return "".join(words(pilot, "#browse-head"))


def record(pilot: Pilot[None]) -> str:
    return "".join(words(pilot, "#browse-title"))


async def browse(pilot: Pilot[None], command: str = "/list") -> TitleList:
    """Open the page and wait for its titles."""
    await order(pilot, command)
    await until(lambda: isinstance(pilot.app.screen, BrowseScreen) and "·" in head(pilot))
    return pilot.app.screen.query_one(TitleList)


async def test_the_key_opens_all_titles_and_escape_leaves(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        await pilot.press("ctrl+y")
        await until(lambda: isinstance(pilot.app.screen, BrowseScreen))
        await until(lambda: record(pilot) == "The Tin Lighthouse")
        assert head(pilot) == "Browse · 10 products"
        assert pilot.app.screen.query_one(TitleList).option_count == 10
        await pilot.press("escape")
        await until(lambda: isinstance(pilot.app.screen, ChatScreen))


async def test_letters_filter_and_enter_asks(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        await browse(pilot)
        await pilot.press(*"canv")
        await until(lambda: head(pilot) == "Browse · 2 of 10")
        await pilot.press("down")
        await until(lambda: record(pilot) == "Canvas Stool, Blue")
        assert words(pilot, "#browse-text") == ["Folds flat and floats."]
        await pilot.press("enter")
        await until(lambda: words(pilot, ".words") == ["Folds flat and floats."])
        assert words(pilot, ".question") == ["❯ Canvas Stool, Blue"]


async def test_enter_waits_for_the_filter(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        await browse(pilot)
        await pilot.press(*"jardim", "enter")
        await until(lambda: words(pilot, ".question") == ["❯ O Jardim de Inverno"])


async def test_of_two_with_one_title_the_highlighted_is_asked_for(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        await browse(pilot, "/list striped")
        await until(lambda: head(pilot) == "Browse · 2 of 10")
        await pilot.press("down")
        await until(
            lambda: words(pilot, "#browse-text") == ["Woven from cotton ends; no two alike."]
        )
        await pilot.press("enter")
        await until(lambda: words(pilot, ".words") == ["Woven from cotton ends; no two alike."])


async def test_what_matches_nothing_is_said_and_not_asked(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        await order(pilot, "/list zebra")
        await until(lambda: isinstance(pilot.app.screen, BrowseScreen))
        await until(lambda: head(pilot) == "No product matches.")
        await pilot.press("enter")
        await pilot.pause()
        assert isinstance(pilot.app.screen, BrowseScreen)
        assert record(pilot) == ""


async def test_a_narrow_screen_shows_titles_or_the_record(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir, (60, 20)) as pilot:
        titles = await browse(pilot)
        body = pilot.app.screen.query_one("#browse-record")
        assert [titles.is_on_screen, body.is_on_screen] == [True, False]
        await pilot.press("tab")
        await pilot.pause()
        assert [titles.is_on_screen, body.is_on_screen] == [False, True]
        await pilot.press("escape")
        await pilot.pause()
        assert [titles.is_on_screen, body.is_on_screen] == [True, False]
        assert isinstance(pilot.app.screen, BrowseScreen)


async def test_a_large_catalogue_is_read_page_by_page(tmp_path: Path) -> None:
    products = [Product(f"{at:010}", f"Lamp {at}", "It is lit.", "") for at in range(1234)]
    build_index(products, tmp_path / "index")
    async with chat(tmp_path / "index") as pilot:
        titles = await browse(pilot)
        assert head(pilot) == "Browse · 1,234 products"
        assert titles.option_count == 100
        for count in (200, 300, 400, 500):
            await pilot.press("ctrl+end")
            await until(lambda count=count: titles.option_count == count)  # type: ignore[misc]
        await pilot.press(*"lamp")
        await until(lambda: head(pilot) == "Browse · 1000+ of 1,234")


@pytest.mark.parametrize("size", SIZES, ids=["small", "80x24", "160x50"])
@pytest.mark.parametrize("keys", [(), (*"canvas", "down", "tab")], ids=["all", "read"])
def test_the_page_looks(
    snap_compare: Callable[..., bool],
    catalogue_dir: Path,
    size: tuple[int, int],
    keys: tuple[str, ...],
) -> None:
    async def run(pilot: Pilot[None]) -> None:
        await until_open(pilot)
        await browse(pilot)
        for field in pilot.app.screen.query(Input):
            field.cursor_blink = False
        await pilot.press(*keys)
        await still(pilot)

    app = BalcaoApp(settings.load(Path("none"), {}, {"catalogue": catalogue_dir}))
    assert snap_compare(app, terminal_size=size, run_before=run)
