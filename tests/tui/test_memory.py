"""A chat that stays open releases closed pages, and collects garbage between repaints."""

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

PAGES = ("f1", "f4", "f9", "f10", "ctrl+o", "ctrl+y")


async def opened_and_closed(pilot: Pilot[None], key: str) -> None:
    screen = pilot.app.screen
    await pilot.press(key)
    await until(lambda: not isinstance(pilot.app.screen, ChatScreen))
    await pilot.pause(0.1)
    await pilot.press("escape")
    await until(lambda: pilot.app.screen is screen)
    await pilot.pause(0.1)


def alive() -> tuple[int, int]:
    """Count DOM nodes and style caches."""
    gc.unfreeze()
    for _ in range(3):
        gc.collect()
    found = gc.get_objects()
    return (
        sum(issubclass(type(one), DOMNode) for one in found),
        sum(type(one) is StylesCache for one in found),
    )


async def test_closed_pages_are_released(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir, (120, 40)) as pilot:
        await ask(pilot, "Striped Apron")
        for key in PAGES:
            await opened_and_closed(pilot, key)
        before = alive()
        for key in PAGES * 2:
            await opened_and_closed(pilot, key)
        # The last page may still be closing: fewer than one page's widgets.
        assert all(after - some < 15 for some, after in zip(before, alive(), strict=True))


class Ring:
    """A reference cycle."""

    def __init__(self) -> None:
        self.ring = self


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="collects in small steps")
async def test_garbage_is_collected_after_a_repaint(
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
        assert gone() is not None  # in the oldest generation
        pilot.app.refresh()
        await until(lambda: gone() is None)
    assert gc.get_threshold() == usual
