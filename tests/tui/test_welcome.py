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
from tui.widgets.welcome import Welcome

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
            "✓ Catalogue   10 products, in their own words",
            "✓ Base Llama  model on this machine",
            "✗ LoRA Llama  Run: balcao models pull smollm2",
            "✗ OpenAI      Set `model` under [engines.openai]",
        ]
        pane = pilot.app.screen.query_one("#conversation")
        assert pane.max_scroll_y == 0
        await ask(pilot, "Canvas Stool, Blue")
        assert not pilot.app.screen.query(Welcome)
        await pilot.press("ctrl+n")
        assert (await works(pilot))[0].startswith("✓ Catalogue")


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
            assert app.screen.query_one("#examples").display is fits
            assert app.screen.query_one("#conversation").max_scroll_y == 0
            assert words(pilot, ".welcome Static")


@pytest.mark.parametrize(
    ("engine", "told"),
    [
        (CatalogueEngine("x", CatalogueConfig()), "1,234 products, in their own words"),
        (_llama(model="/m/tiny/"), "tiny on this machine"),
        (_llama(model="o/tiny", adapter="/a/shop"), "tiny on this machine, tuned by shop"),
        (OpenAIEngine("x", OpenAIConfig(model="m")), "m at OpenAI"),
    ],
)
def test_what_a_ready_engine_answers_from(engine: Engine, told: str) -> None:
    assert welcome_words(engine, READY, 1234) == told


@pytest.mark.parametrize(
    ("reason", "remedy", "told"),
    [
        ("No.", "Fetch: balcao models pull a/b. Or: x", "Fetch: balcao models pull a/b"),
        ("Broken\x1b.", "", "Broken"),
    ],
)
def test_what_would_make_it_work(reason: str, remedy: str, told: str) -> None:
    state = Availability(ready=False, reason=reason, remedy=remedy)
    assert welcome_words(_llama(), state, 1234) == told
