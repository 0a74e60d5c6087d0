"""Pick from a list of products by keys and clicks, without disturbing what is typed."""

from __future__ import annotations

from pathlib import Path

from textual.content import Content
from textual.pilot import Pilot
from textual.widgets import Static

from engine.core.types import Hit, Product
from tests.tui.driving import ask, chat, said, until, words
from tui.screens.chat import ChatScreen
from tui.widgets.choices import ChoicesView, ChoiceView, _blocks
from tui.widgets.composer import Composer

SECOND = "Woven from cotton ends; no two alike."


def picked(pilot: Pilot[None]) -> str:
    return pilot.app.screen.query(ChoicesView).last().picked


def composer(pilot: Pilot[None]) -> Composer:
    return pilot.app.screen.query_one(Composer)


async def until_answered(pilot: Pilot[None], text: str) -> None:
    await until(lambda: text in words(pilot, ".words"))
    screen = pilot.app.screen
    await until(lambda: not (isinstance(screen, ChatScreen) and screen.is_answering))


async def test_down_and_enter_pick_a_product(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        await ask(pilot, "Striped Apron")
        await pilot.press("down", "down", "down")
        assert picked(pilot) == "2. Striped Apron"
        await pilot.press("enter")
        await until_answered(pilot, SECOND)
        assert words(pilot, ".question") == ["❯ Striped Apron", "❯ 2. Striped Apron"]


async def test_closest_titles_are_picked_alike(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        view = await ask(pilot, "striped gorilla")
        assert said(view).startswith("No product matches “striped gorilla”. Closest titles:")
        await pilot.press("down", "enter")
        await until(lambda: len(words(pilot, ".words")) == 1)


def test_editions_are_choices_and_numbers_in_descriptions_are_not() -> None:
    hits = tuple(
        Hit(Product(str(number), f"Jug {number}", ""), 1.0, edition=number == 2)
        for number in (1, 2, 3)
    )
    text = "1. Jug 1\n   Holds a litre.\n   and 1 more edition:\n   2. Jug 2\n3. Jug 3\n   4. no"
    found = [(number, lines[0].strip()) for number, lines in _blocks(f"3:\n\n{text}", hits)]
    assert found == [(0, "3:"), (1, "1. Jug 1"), (2, "2. Jug 2"), (3, "3. Jug 3")]
    assert [lines[1:] for _, lines in _blocks(text, hits)] == [
        ["   Holds a litre.", "   and 1 more edition:"],
        [],
        ["   4. no"],
    ]


async def test_up_leaves_the_list_before_it_shows_earlier_questions(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        await ask(pilot, "Striped Apron")
        await pilot.press("down", "up")
        assert (picked(pilot), composer(pilot).text) == ("", "")
        await pilot.press("up")
        assert composer(pilot).text == "Striped Apron"
        await pilot.press("down")
        assert (picked(pilot), composer(pilot).text) == ("", "")


async def test_typing_and_escape_leave_the_list(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        await ask(pilot, "Striped Apron")
        await pilot.press("down", "escape")
        assert picked(pilot) == ""
        await pilot.press("down", "a", "b")
        assert (picked(pilot), composer(pilot).text) == ("", "ab")
        await pilot.press("down", "backspace", "backspace", "enter")
        assert picked(pilot) == ""
        assert len(words(pilot, ".question")) == 1


async def test_keys_in_one_burst_pick_what_they_say(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        await ask(pilot, "Striped Apron")
        await pilot.press("down", "x", "backspace", "down", "down", "enter")
        await until_answered(pilot, SECOND)


async def test_a_click_picks_a_product_and_the_draft_stays(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        await ask(pilot, "Striped Apron")
        await ask(pilot, "Empty Shelf")
        composer(pilot).insert("draft")
        await pilot.click(list(pilot.app.screen.query(ChoiceView))[1])
        await until_answered(pilot, SECOND)
        assert words(pilot, ".question")[-1] == "❯ 2. Striped Apron"
        assert composer(pilot).text == "draft"


async def test_a_list_that_is_taller_than_the_screen_is_shown_from_its_beginning(
    catalogue_dir: Path,
) -> None:
    async with chat(catalogue_dir, (80, 12)) as pilot:
        await ask(pilot, "the tin lighthouse")
        view = await ask(pilot, "Striped Apron")
        await until(
            lambda: view.region.y == pilot.app.screen.query_one("#conversation").region.y + 2
        )
        await until(lambda: "more below" in words(pilot, "#below")[0])
        await pilot.press("down", "down")
        await until(lambda: list(view.query(ChoiceView))[1].region.bottom <= 8)


async def test_a_record_that_is_taller_than_the_screen_is_shown_from_its_beginning(
    catalogue_dir: Path,
) -> None:
    async with chat(catalogue_dir, (30, 12)) as pilot:
        view = await ask(pilot, "the tin lighthouse")
        pane = pilot.app.screen.query_one("#conversation").region
        assert view.region.height > pane.height
        await until(lambda: view.region.y == pane.y + 2)
        view = await ask(pilot, "canvas stool blue")
        await until(lambda: view.region.bottom == pane.bottom)


async def test_the_words_of_the_question_are_lit(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        view = await ask(pilot, "Striped Apron")
        first = view.query(ChoiceView).first().query_one(".title", Static).render()
        assert isinstance(first, Content)
        lit = [span for span in first.spans if "underline" in str(span.style)]
        assert [first.plain[span.start : span.end] for span in lit] == ["Striped", "Apron"]


async def test_a_list_that_was_saved_can_be_picked_from(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        await ask(pilot, "Striped Apron")
    async with chat(catalogue_dir, go_on=True) as pilot:
        await until(lambda: bool(pilot.app.screen.query(ChoiceView)))
        await pilot.press("down", "down", "enter")
        await until_answered(pilot, SECOND)
