"""Ctrl+F finds in the conversation: hits are lit, counted and gone to."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from engine.config import settings
from engine.core.types import Answer, Conversation, Mode, Status, StopReason, Turn
from tests.tui.driving import ask, chat, order, still, until, until_open, words
from tui.app import BalcaoApp
from tui.screens.chat import ChatScreen
from tui.widgets.composer import Composer
from tui.widgets.find import FindBar
from tui.widgets.findable import Findable, hits_in
from tui.widgets.turns import PlainTextView


def lit(pilot: Pilot[None], *, current: bool = False) -> list[str]:
    """Return the texts that are lit, or the one that is gone to."""
    found: list[str] = []
    for view in pilot.app.screen.walk_children():
        if not isinstance(view, Findable) or view.finding is None:
            continue
        style = view.finding.current_style if current else view.finding.style
        for y in range(view.content_size.height):
            line = view.render_line(y)
            found += [part.text for part in line if part.style and part.style + style == part.style]
    return found


async def find(pilot: Pilot[None], text: str, count: str) -> None:
    """Open the bar, type, and wait for the count."""
    await pilot.press("ctrl+f")
    await until(lambda: bool(pilot.app.screen.query(FindBar)))
    await pilot.press(*text)
    await until(lambda: words(pilot, "#find-count") == [count])
    await still(pilot)


async def test_hits_are_lit_counted_and_gone_to(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        await ask(pilot, "The Tin Lighthouse")
        await ask(pilot, "Canvas Stool, Blue")
        await find(pilot, "tin light", "2 of 2")
        assert lit(pilot) == ["Tin Light"]
        assert lit(pilot, current=True) == ["Tin Light"]
        for count in ("1 of 2", "2 of 2"):
            await pilot.press("enter")
            await until(lambda count=count: words(pilot, "#find-count") == [count])  # type: ignore[misc]
        await pilot.press("up")
        await until(lambda: words(pilot, "#find-count") == ["1 of 2"])
        await pilot.press("escape")
        await until(lambda: not pilot.app.screen.query(FindBar))
        assert lit(pilot) == []
        assert pilot.app.focused is pilot.app.screen.query_one(Composer)


async def test_a_hit_across_two_lines_is_lit_in_both(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir, (40, 24)) as pilot:
        await ask(pilot, "The Tin Lighthouse")
        text = "A keeper of sixty climbs three hundred steps each dusk."
        await find(pilot, text, "1 of 1")
        assert " ".join(part.strip() for part in lit(pilot, current=True)) == text
        assert len(lit(pilot, current=True)) > 1


async def test_what_arrives_later_is_counted_too(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        await ask(pilot, "The Tin Lighthouse")
        await find(pilot, "lighthouse", "2 of 2")
        screen = pilot.app.screen
        assert isinstance(screen, ChatScreen)
        await screen.ask_in_order("The Tin Lighthouse")
        await until(lambda: words(pilot, "#find-count") == ["2 of 4"])


async def test_what_is_not_there_is_said(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        await ask(pilot, "Canvas Stool, Blue")
        await find(pilot, "zebra", "nothing found")
        await pilot.press("enter", "escape")
        await until(lambda: not pilot.app.screen.query(FindBar))


async def test_a_hit_far_above_is_mounted_and_shown(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        screen = pilot.app.screen
        assert isinstance(screen, ChatScreen)
        first = await ask(pilot, "The Tin Lighthouse")
        while first.is_attached:  # too far above, it is unmounted
            await order(pilot, "Canvas Stool, Blue")
            await until(lambda: not screen.is_answering)
            await pilot.pause(0.1)
        await order(pilot, "/find quillfeather")
        await until(lambda: words(pilot, "#find-count") == ["1 of 1"])
        await until(lambda: lit(pilot, current=True) == ["Quillfeather"])
        await still(pilot)
        pane = pilot.app.screen.query_one("#conversation")
        view = next(iter(screen.query(PlainTextView)))
        assert pane.region.contains_region(view.region)


async def test_lists_and_models_answers_are_searched(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        await ask(pilot, "Striped Apron")
        await find(pilot, "one pocket", "1 of 1")
        assert lit(pilot, current=True) == ["one pocket"]


def test_markdowns_own_characters_are_no_text() -> None:
    answer = Answer("q", "base", Mode.MEMORY, Status.NONE, "A **bold** word", StopReason.COMPLETE)
    found = hits_in(Conversation(turns=[Turn("q", answer)]), re.compile("bold word"))
    assert found == [(0, 0)]


@pytest.mark.parametrize("size", [(80, 24), (160, 50)], ids=["80x24", "160x50"])
def test_it_looks(
    snap_compare: Callable[..., bool], catalogue_dir: Path, size: tuple[int, int]
) -> None:
    async def run(pilot: Pilot[None]) -> None:
        await until_open(pilot)
        for question in ("Striped Apron", "1", "Canvas Stool, Blue"):
            await ask(pilot, question)
        await find(pilot, "stripe", "4 of 4")
        for field in pilot.app.screen.query(Input):
            field.cursor_blink = False
        await still(pilot)

    app = BalcaoApp(settings.load(Path("none"), {}, {"catalogue": catalogue_dir}))
    assert snap_compare(app, terminal_size=size, run_before=run)
