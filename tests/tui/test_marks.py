"""The fidelity of an answer: a bar below it, and F6 marks its words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from textual.widget import Widget

from engine.core.types import Product
from tests.conftest import ROWS
from tests.engine.backends.openai import server as scripted
from tests.tui.driving import about, ask, chat, state, until, words
from tui.screens.chat import ChatScreen
from tui.screens.compare import CompareScreen
from tui.terminal import replace_glyphs
from tui.widgets.composer import Composer
from tui.widgets.turns import AnswerView, share_bar

TITLE, RECORD = ROWS[4][1], ROWS[4][2]


def remote(server: scripted.Server, said: str) -> dict[str, Any]:
    server.always = scripted.streamed(
        scripted.words(said), scripted.words("", "stop"), scripted.DONE
    )
    row = {"model": "m", "base_url": server.url, "max_retries": 0}
    return {"engine": "openai", "engines": {"openai": row}}


def underlined(view: Widget) -> str:
    strips = view.render_lines(view.size.region)
    parts = (part for strip in strips for part in strip if part.style and part.style.underline)
    return "".join(part.text for part in parts).strip()


def body(view: AnswerView) -> Widget:
    return view.query_one(".words")


@pytest.mark.parametrize(
    ("share", "drawn", "in_ascii"),
    [
        (0.0, "▱▱▱▱▱▱▱▱▱▱", ".........."),
        (0.001, "▰▱▱▱▱▱▱▱▱▱", "+........."),
        (0.5, "▰▰▰▰▰▱▱▱▱▱", "+++++....."),
        (0.999, "▰▰▰▰▰▰▰▰▰▱", "+++++++++."),
        (1.0, "▰▰▰▰▰▰▰▰▰▰", "++++++++++"),
        (None, "", ""),
    ],
)
def test_the_bar_is_full_for_one_and_empty_for_zero(
    share: float | None, drawn: str, in_ascii: str
) -> None:
    assert share_bar(share) == drawn
    assert replace_glyphs(share_bar(share), "ascii") == in_ascii


async def test_only_an_answer_with_a_record_has_a_sign(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        assert about(await ask(pilot, TITLE)) == "✓ word for word · Catalogue"
        assert about(await ask(pilot, "The Velvet Submarine Handbook"))[0] not in "✓≈✗"


async def test_f6_toggles_marks_of_added_words(
    catalogue_dir: Path, server: scripted.Server
) -> None:
    said = "Folds **flat** and sings floats."
    async with chat(catalogue_dir, **remote(server, said)) as pilot:
        view = await ask(pilot, TITLE)
        assert not underlined(body(view))
        pilot.app.screen.query_one(Composer).insert("draft")
        await pilot.press("f6")
        await until(lambda: underlined(body(view)) == "sings")
        assert state(pilot).startswith("Underlined: ")
        pilot.app.screen.query_one(Composer).clear()
        later = await ask(pilot, TITLE)
        assert underlined(body(later)) == "sings"
        await pilot.press("f6")
        await until(lambda: not underlined(body(view)))
        assert not underlined(body(later))


async def test_a_catalogue_answer_is_marked_completely(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        view = await ask(pilot, TITLE)
        before = words(pilot, ".words")
        await pilot.press("f6")
        await pilot.pause()
        colour = view.query_one(".words").get_component_rich_style("marks--quoted", partial=True)
        strip = body(view).render_lines(body(view).size.region)[0]
        coloured = [part.text for part in strip if part.style and part.style.color == colour.color]
        assert "".join(coloured).strip() == RECORD
        assert words(pilot, ".words") == before


async def test_marks_in_the_compare_screen(catalogue_dir: Path, server: scripted.Server) -> None:
    async with chat(catalogue_dir, **remote(server, "Folds flat and sings.")) as pilot:
        pilot.app.screen.query_one(Composer).insert(TITLE)
        await pilot.press("f3")
        await until(lambda: isinstance(pilot.app.screen, CompareScreen))
        await until(lambda: len(pilot.app.screen.query(AnswerView)) == 2)
        views = pilot.app.screen.query(AnswerView)
        await until(lambda: all(view.is_finished for view in views))
        await until(lambda: underlined(body(views.last())) == "sings.")
        assert not underlined(body(views.first()))
        await pilot.press("f6")
        await until(lambda: not underlined(body(views.last())))


async def test_words_are_marked_while_they_arrive(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        screen = pilot.app.screen
        assert isinstance(screen, ChatScreen)
        await pilot.press("f6")
        view = await screen.pane.begin_turn(TITLE, "Model")
        view.product = Product("5", TITLE, "A lamp of blue glass. It folds flat and floats.")
        await view.append("A lamp of blue glass that sings of ships.")
        await until(lambda: underlined(body(view)) == "that sings of ships.")
        await view.append(" It folds flat and floats.")
        await until(lambda: "floats" in body(view).render_line(0).text)
        assert underlined(body(view)) == "that sings of ships."
        assert not view.is_finished
        await pilot.press("f6")
        await until(lambda: not underlined(body(view)))


async def test_the_last_words_wait_until_they_are_known(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        screen = pilot.app.screen
        assert isinstance(screen, ChatScreen)
        await pilot.press("f6")
        view = await screen.pane.begin_turn(TITLE, "Model")
        view.product = Product("5", TITLE, "A lamp of blue glass. It folds flat and floats.")
        await view.append("A lamp of blue glass. Folds")
        await until(lambda: "Folds" in body(view).render_line(0).text)
        assert not underlined(body(view))
