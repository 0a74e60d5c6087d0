"""A chat that is kept open holds nothing of what was closed: its collector would walk over it."""

from __future__ import annotations

import gc
import sys
import weakref
from pathlib import Path

import pytest
from textual._styles_cache import StylesCache
from textual.dom import DOMNode
from textual.pilot import Pilot

from tests.tui.driving import ask, chat, until
from tui.screens.chat import ChatScreen

PAGES = ("f1", "f4", "f9", "f10", "ctrl+o")


async def opened_and_closed(pilot: Pilot[None], key: str) -> None:
    screen = pilot.app.screen
    await pilot.press(key)
    await until(lambda: not isinstance(pilot.app.screen, ChatScreen))
    await pilot.pause(0.1)
    await pilot.press("escape")
    await until(lambda: pilot.app.screen is screen)
    await pilot.pause(0.1)


def alive() -> tuple[int, int]:
    """Widgets and the like, and caches of drawn lines."""
    gc.unfreeze()
    for _ in range(3):
        gc.collect()
    found = gc.get_objects()
    return (
        sum(issubclass(type(one), DOMNode) for one in found),
        sum(type(one) is StylesCache for one in found),
    )


async def test_nothing_of_a_closed_page_stays(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir, (120, 40)) as pilot:
        await ask(pilot, "Striped Apron")
        for key in PAGES:
            await opened_and_closed(pilot, key)
        before = alive()
        for key in PAGES * 2:
            await opened_and_closed(pilot, key)
        # What the pages were closed with may still be on its way out: less than one page's widgets.
        assert all(after - some < 15 for some, after in zip(before, alive(), strict=True))


class Ring:
    """Something that only the collector can take away."""

    def __init__(self) -> None:
        self.ring = self


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="collects in small steps")
async def test_what_is_left_over_is_collected_after_a_drawing_and_not_in_it(
    catalogue_dir: Path,
) -> None:
    usual = gc.get_threshold()
    async with chat(catalogue_dir) as pilot:
        assert gc.get_threshold()[2] > 1_000_000
        ring = Ring()
        gone = weakref.ref(ring)
        for _ in range(30):
            gc.collect(1)
        del ring
        gc.collect(1)
        assert gone() is not None  # among what is walked over seldom
        pilot.app.refresh()
        await until(lambda: gone() is None)
    assert gc.get_threshold() == usual
