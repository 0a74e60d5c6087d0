"""The empty conversation shows which engines are ready, and what the others need."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.widgets import Static

from engine.backends.base import Engine
from engine.backends.catalogue import CatalogueConfig, CatalogueEngine
from engine.backends.llama.engine import LlamaConfig, LlamaEngine
from engine.backends.openai.engine import OpenAIConfig, OpenAIEngine
from engine.chat.wording import welcome_words
from engine.core.types import Availability
from tests.engine.backends.llama.tiny import Tiny
from tests.tui.driving import ask, chat, until, words
from tui.widgets.composer import Composer
from tui.widgets.turns import AnswerView
from tui.widgets.welcome import Example, Welcome

READY = Availability(ready=True)


def _llama(model: str = "m", adapter: str | None = None) -> LlamaEngine:
    return LlamaEngine.create("x", LlamaConfig(model=model, adapter=adapter), {})


async def works(pilot: object) -> list[str]:
    page = pilot.app.screen  # type: ignore[attr-defined] # a pilot
    await until(lambda: "…" not in str(page.query_one("#works", Static).render()))
    return str(page.query_one("#works", Static).render()).splitlines()


@pytest.mark.parametrize("size", [(80, 24), (160, 50), (60, 20)])
async def test_a_line_for_each_engine(
    catalogue_dir: Path, tiny: Tiny, size: tuple[int, int]
) -> None:
    async with chat(catalogue_dir, size, engines={"base": {"model": str(tiny.model)}}) as pilot:
        assert await works(pilot) == [
            "● Catalogue   the description itself; needs no model",
            "● Base Llama  model on this machine",
            "○ LoRA Llama  not set up yet: F9 shows how",
            "○ OpenAI      not set up yet: F9 shows how",
        ]
        pane = pilot.app.screen.query_one("#conversation")
        assert pane.max_scroll_y == 0
        await ask(pilot, "Canvas Stool, Blue")
        assert not pilot.app.screen.query(Welcome)
        await pilot.press("ctrl+n")
        assert (await works(pilot))[0].startswith("● Catalogue")


async def test_without_a_catalogue_it_shows_the_error(tmp_path: Path) -> None:
    async with chat(tmp_path / "nowhere") as pilot:
        assert "balcao index" in (await works(pilot))[0]


async def test_the_sample_fits_with_its_examples() -> None:
    from engine.config import settings
    from tests.tui.driving import until_open
    from tui.app import BalcaoApp

    for size, fits in (((80, 24), True), ((60, 20), False)):
        app = BalcaoApp(settings.load(Path("none"), {}))
        async with app.run_test(size=size) as pilot:
            await until_open(pilot)
            await works(pilot)
            assert app.screen.query_one("#note").display is fits
            assert len(app.screen.query(Example)) == 3
            await until(lambda: not app.screen.query_one("#conversation").max_scroll_y)  # noqa: B023
            assert words(pilot, ".welcome Static")


@pytest.mark.parametrize(
    ("engine", "told"),
    [
        (CatalogueEngine("x", CatalogueConfig()), "the description itself; needs no model"),
        (_llama(model="/m/tiny/"), "tiny on this machine"),
        (_llama(model="o/tiny", adapter="/a/shop"), "tiny on this machine, tuned by shop"),
        (OpenAIEngine("x", OpenAIConfig(model="m")), "m at OpenAI"),
    ],
)
def test_what_a_ready_engine_answers_from(engine: Engine, told: str) -> None:
    assert welcome_words(engine, READY) == told


async def test_an_example_is_picked_with_tab_and_enter(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        await until(lambda: len(pilot.app.screen.query(Example)) == 3)
        await pilot.press("tab", "down", "enter")
        await until(lambda: bool(pilot.app.screen.query(AnswerView)))
        assert words(pilot, ".question")[0].startswith("❯ Do you have ")
        assert isinstance(pilot.app.focused, Composer)


async def test_an_example_is_asked_by_a_click(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        await until(lambda: len(pilot.app.screen.query(Example)) == 3)
        await until(lambda: all(one.region.height for one in pilot.app.screen.query(Example)))
        await pilot.click(".example")
        await until(lambda: bool(words(pilot, ".card")))
