"""What was typed before one could see anything, and before the conversation's pane is filled."""

from __future__ import annotations

from pathlib import Path

from engine import settings
from tests.tui.driving import about, said, until, until_open, words
from tui.app import BalcaoApp
from tui.widgets.composer import Composer
from tui.widgets.turns import AnswerView


def chat_with(catalogue: Path, typed: str) -> BalcaoApp:
    """The chat, before whose start that was typed."""
    chosen = settings.load(Path("none"), {}, {"catalogue": catalogue, "demo": False})
    return BalcaoApp(chosen, typed)


async def test_it_stands_in_the_composer(catalogue_dir: Path) -> None:
    async with chat_with(catalogue_dir, "canvas stool").run_test() as pilot:
        composer = pilot.app.screen.query_one(Composer)
        assert composer.text == "canvas stool"
        await until_open(pilot)
        assert words(pilot, ".welcome Static")
        assert composer.text == "canvas stool"


async def test_an_enter_among_it_sends_the_question(catalogue_dir: Path) -> None:
    async with chat_with(catalogue_dir, "canvas stool, GREEN\n").run_test() as pilot:
        await until(lambda: bool(pilot.app.screen.query(AnswerView)))
        view = pilot.app.screen.query_one(AnswerView)
        await until(lambda: about(view).endswith(" ms"))
        assert said(view) == "Folds flat. Holds 110 kg."
        assert not words(pilot, ".welcome Static")
        assert not pilot.app.screen.query_one(Composer).text
