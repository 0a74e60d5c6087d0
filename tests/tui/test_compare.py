"""F3: one question to every engine that is ready, side by side."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from textual.pilot import Pilot

from engine.chat.session import Session
from engine.config import paths
from engine.core.types import Event, NotSaved, Problem
from tests.conftest import ROWS
from tests.engine.backends.openai import server as scripted
from tests.tui.driving import about, ask, chat, remote, said, state, until, words
from tui.screens.chat import ChatScreen
from tui.screens.compare import CompareScreen
from tui.widgets.composer import Composer
from tui.widgets.markdown_view import MarkdownView
from tui.widgets.turns import AnswerView

TITLE = "Canvas Stool, Blue"


def views(pilot: Pilot[None]) -> list[AnswerView]:
    return list(pilot.app.screen.query(AnswerView))


async def compare(pilot: Pilot[None], question: str, count: int = 2) -> None:
    pilot.app.screen.query_one(Composer).insert(question)
    await pilot.press("f3")
    await until(lambda: isinstance(pilot.app.screen, CompareScreen))
    await until(lambda: len(views(pilot)) == count)


@pytest.mark.parametrize("size", [(80, 24), (160, 50)])
async def test_all_that_are_ready_answer_beside_the_record(
    catalogue_dir: Path, server: scripted.Server, size: tuple[int, int]
) -> None:
    server.always = scripted.hello()
    async with chat(catalogue_dir, size, **remote(server)) as pilot:
        await compare(pilot, TITLE)
        await until(lambda: all(view.is_finished for view in views(pilot)))
        catalogue, model = views(pilot)
        assert said(catalogue) == "Folds flat and floats."
        assert "word for word" in about(catalogue)
        assert model.query_one(MarkdownView).source == "Hello there"
        assert "not from the description · OpenAI" in about(model)
        assert words(pilot, "#scoreboard")[0].splitlines() == [
            "Catalogue  ▰▰▰▰▰▰▰▰▰▰  ✓ word for word",
            "OpenAI     ▱▱▱▱▱▱▱▱▱▱  ✗ not from the description",
        ]
        assert not pilot.app.screen.query_one("#compare-record").display
        assert "Base Llama" in words(pilot, "#compare-status")[0]
        await pilot.pause()
        side_by_side = catalogue.region.y == model.region.y
        assert side_by_side == (size[0] == 160)

        await pilot.press("e")
        await until(lambda: "Written to" in words(pilot, "#compare-status")[0])
        (exported,) = paths.exports_dir().iterdir()
        assert "## OpenAI" in exported.read_text()

        await pilot.press("escape")
        await until(lambda: isinstance(pilot.app.screen, ChatScreen) and len(views(pilot)) == 1)
        assert "Catalogue · answer " in about(views(pilot)[0])
        await pilot.press("right")
        await until(lambda: "OpenAI · answer " in about(views(pilot)[0]))
        await pilot.press("right")
        follow_up = await ask(pilot, "what size is it?")
        assert "Canvas Stool, Blue" in words(pilot, ".card")[-1]
        assert about(follow_up).endswith("Catalogue")


async def test_one_that_fails_stops_nobody(catalogue_dir: Path, server: scripted.Server) -> None:
    server.always = scripted.error(404, "no such model", code="model_not_found")
    async with chat(catalogue_dir, **remote(server)) as pilot:
        await compare(pilot, TITLE)
        await until(lambda: all(view.is_finished for view in views(pilot)))
        assert said(views(pilot)[0]) == "Folds flat and floats."
        await until(lambda: "no answer" in about(views(pilot)[1]))


async def test_escape_stops_first_and_closes_then(
    catalogue_dir: Path, server: scripted.Server
) -> None:
    server.always = scripted.stalled(scripted.words("Half"))
    async with chat(catalogue_dir, **remote(server)) as pilot:
        await compare(pilot, TITLE)
        await until(
            lambda: bool(views(pilot)[1].query(MarkdownView)) and views(pilot)[0].is_finished
        )
        await pilot.press("escape")
        await until(lambda: "stopped by you" in about(views(pilot)[1]))
        await until(server.asked[0].left.is_set)
        await pilot.press("escape")
        await until(lambda: isinstance(pilot.app.screen, ChatScreen))
        await pilot.press("right")
        await until(lambda: "OpenAI · answer 2 of 2" in about(views(pilot)[0]))
        assert views(pilot)[0].query_one(MarkdownView).source == "Half"


async def test_the_last_question_is_compared_where_there_is_no_draft(
    catalogue_dir: Path, server: scripted.Server
) -> None:
    server.always = scripted.hello()
    async with chat(catalogue_dir, **remote(server)) as pilot:
        await pilot.press("f3")
        assert state(pilot) == "Type a question first, to compare its answers."
        await ask(pilot, ROWS[0][1])
        await pilot.press("f3")
        await until(lambda: len(views(pilot)) == 2 and all(v.is_finished for v in views(pilot)))
        assert words(pilot, ".question") == [f"❯ {ROWS[0][1]}"]


async def test_a_comparison_stopped_before_its_turn_shows_no_other_turn(
    catalogue_dir: Path, server: scripted.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*_: object) -> AsyncGenerator[tuple[int, Event]]:
        await asyncio.Event().wait()
        yield 0, NotSaved(Problem(""))

    monkeypatch.setattr(Session, "compare", never)
    async with chat(catalogue_dir, **remote(server)) as pilot:
        await ask(pilot, TITLE)
        await compare(pilot, TITLE)
        await pilot.press("escape")
        await pilot.pause()
        assert not any(view.is_finished for view in views(pilot))
        await pilot.press("e")
        assert words(pilot, "#compare-status")[0].startswith("Export once every engine")


async def test_a_question_that_was_answered_is_compared_with_what_came_before_it(
    catalogue_dir: Path, server: scripted.Server
) -> None:
    server.always = scripted.hello()
    async with chat(catalogue_dir, **remote(server)) as pilot:
        await ask(pilot, "Striped Apron")
        picked = await ask(pilot, "1")
        description = said(picked)
        await pilot.press("f3")
        await until(lambda: len(views(pilot)) == 2 and all(v.is_finished for v in views(pilot)))
        assert said(views(pilot)[0]) == description
        assert "Striped Apron" in words(pilot, ".question")[-1]
        (body,) = server.bodies
        assert description in body["messages"][-1]["content"]
        assert sum(description in one["content"] for one in body["messages"]) == 1
        await pilot.press("escape")
        await until(lambda: isinstance(pilot.app.screen, ChatScreen))
        assert len(words(pilot, ".question")) == 2
        await until(lambda: about(views(pilot)[-1]).endswith("Catalogue · answer 1 of 2"))


async def test_n_goes_to_the_next_slip(catalogue_dir: Path, server: scripted.Server) -> None:
    text = (
        "A keeper of sixty climbs three hundred steps each dawn.\n\n"
        "Written by Ada Quillfeather for readers of 9 to 14 years. 212 pages."
    )
    server.always = scripted.streamed(scripted.words(text, "stop"))
    async with chat(catalogue_dir, **remote(server)) as pilot:
        await compare(pilot, "The Tin Lighthouse")
        await until(lambda: all(view.is_finished for view in views(pilot)))
        assert "2 slips · " in words(pilot, "#scoreboard")[0]
        await pilot.press("n")
        assert words(pilot, "#compare-status")[0].startswith("Line with a slip 1 of 2 · OpenAI")
        await pilot.press("n", "n")
        assert words(pilot, "#compare-status")[0].startswith("Line with a slip 1 of 2 · OpenAI")
        await pilot.press("f6", "n")
        assert words(pilot, "#compare-status") == ["There are no marked slips."]


@pytest.mark.parametrize("width", [80, 160])
@pytest.mark.parametrize("count", [2, 4, 6])
async def test_two_to_six_engines_fit(
    catalogue_dir: Path, server: scripted.Server, width: int, count: int
) -> None:
    server.always = scripted.hello()
    row = {"kind": "openai", "model": "m", "base_url": server.url, "api_key_env": ""}
    rows = {f"own-{place}": {**row, "title": f"My model {place}"} for place in range(count - 1)}
    async with chat(catalogue_dir, (width, 40), engines=rows) as pilot:
        await compare(pilot, TITLE, count)
        await until(lambda: all(view.is_finished for view in views(pilot)))
        await pilot.pause()
        columns = [view.region for view in views(pilot)]
        assert len({column.x for column in columns}) == (count if width > 80 else 1)
        assert all(column.width >= 20 for column in columns)
        board = pilot.app.screen.query_one("#scoreboard")
        assert board.region.height == count
        for title in ("Catalogue", *(row["title"] for row in rows.values())):
            assert title in words(pilot, "#scoreboard")[0]
