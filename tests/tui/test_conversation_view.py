"""A long conversation: turns are mounted around the visible part, and nothing moves."""

from __future__ import annotations

import re

from textual.app import App, ComposeResult
from textual.events import MouseScrollDown, MouseScrollUp
from textual.pilot import Pilot

from engine.chat.session import Session
from engine.config.settings import Settings
from engine.core.types import Answer, Conversation, Hit, Mode, Product, Status, StopReason, Turn
from tests.tui.driving import until
from tui.widgets.conversation import ConversationView
from tui.widgets.turns import AnswerView, TurnView
from tui.widgets.welcome import Welcome


class Pane(App[None]):
    """The conversation view alone, with the chat's styles."""

    CSS_PATH = ["../../tui/app.tcss", "../../tui/turns.tcss"]  # noqa: RUF012 - as Textual has it

    def compose(self) -> ComposeResult:
        yield ConversationView(id="conversation")


def answer(number: int) -> Answer:
    """Make an answer of as many lines as the last digit says; every second one is a model's."""
    lines = [f"line {number}.{line}" for line in range(number % 10 + 1)]
    product = Product(str(number), f"Thing {number}", " ".join(lines))
    verbatim = number % 2 == 0
    return Answer(
        f"question {number}",
        "catalogue",
        Mode.GROUNDED,
        Status.EXACT,
        "\n".join(lines) if verbatim else "\n".join(f"- {line}" for line in lines),
        StopReason.COMPLETE,
        sources=(Hit(product, 1.0),),
        verbatim=verbatim,
    )


def conversation(turns: int) -> Conversation:
    return Conversation(1, [Turn(f"question {n}", answer(n)) for n in range(turns)])


def pane_of(pilot: Pilot[None]) -> ConversationView:
    return pilot.app.query_one(ConversationView)


def seen(pilot: Pilot[None]) -> list[str]:
    """Return the marks of the visible lines, from top to bottom."""
    strips = pilot.app.screen._compositor.render_strips()
    text = "\n".join(strip.text for strip in strips)
    return re.findall(r"question \d+|line \d+\.\d+", text)


def written(turns: int) -> list[str]:
    """Return all marks of a conversation, in order."""
    return [
        mark
        for n in range(turns)
        for mark in (f"question {n}", *(f"line {n}.{line}" for line in range(n % 10 + 1)))
    ]


async def settle(pilot: Pilot[None]) -> None:
    await pilot.pause()
    await until(lambda: not pane_of(pilot)._is_updating)
    await pilot.pause()


async def opened(pilot: Pilot[None], turns: int) -> ConversationView:
    pane = pane_of(pilot)
    welcome = Welcome(Session(Settings()))
    await pane.show(conversation(turns), {"catalogue": "Catalogue"}, welcome)
    await settle(pilot)
    return pane


def top_turn(pane: ConversationView) -> int:
    return pane._turns.turn_at(pane.scroll_offset.y)[0]


def drawn(pilot: Pilot[None]) -> int:
    return len(pilot.app.query(TurnView))


async def test_it_opens_at_the_end_and_mounts_only_near_turns() -> None:
    async with Pane().run_test(size=(60, 20)) as pilot:
        pane = await opened(pilot, 1000)
        assert seen(pilot)[-1] == "line 999.9"
        assert drawn(pilot) < 30
        assert pane.max_scroll_y > 5000


async def test_scrolling_up_and_down_shows_every_line_once_and_in_order() -> None:
    everything = written(20)
    async with Pane().run_test(size=(60, 20)) as pilot:
        pane = await opened(pilot, 20)
        pages = [seen(pilot)]
        while pane.scroll_y > 0:
            pane.scroll_page_up(animate=False)
            await settle(pilot)
            pages.append(seen(pilot))
        together = list(dict.fromkeys(mark for page in reversed(pages) for mark in page))
        assert together == everything
        assert top_turn(pane) == 0
        pages = [seen(pilot)]
        while pane.scroll_y < pane.max_scroll_y:
            pane.scroll_page_down(animate=False)
            await settle(pilot)
            pages.append(seen(pilot))
        together = list(dict.fromkeys(mark for page in pages for mark in page))
        assert together == everything
        assert pane.is_following


async def test_visible_lines_do_not_move_while_turns_are_mounted() -> None:
    async with Pane().run_test(size=(60, 20)) as pilot:
        pane = await opened(pilot, 200)
        for _ in range(12):
            pane.scroll_up(animate=False)
            before = seen(pilot)
            await settle(pilot)
            after = seen(pilot)
            assert set(before[1:-1]) & set(after) or not before
            place = everything_at(after)
            assert after == written(200)[place : place + len(after)]


def everything_at(marks: list[str]) -> int:
    return written(200).index(marks[0])


async def test_go_to_any_turn() -> None:
    async with Pane().run_test(size=(60, 20)) as pilot:
        pane = await opened(pilot, 300)
        for place in (150, 149, 0, 299, 3, 280, 151):
            await pane.go_to(place)
            await settle(pilot)
            everything = written(300)
            shown = seen(pilot)
            assert f"question {place}" in shown
            start = everything.index(shown[0])
            assert shown == everything[start : start + len(shown)]
            assert top_turn(pane) == place or pane.scroll_y == pane.max_scroll_y
            assert drawn(pilot) < 60


async def test_the_scrollbar_reaches_unmounted_turns() -> None:
    async with Pane().run_test(size=(60, 20)) as pilot:
        pane = await opened(pilot, 500)
        for part in (0.5, 0.1, 0.9, 0.0):
            pane.scroll_to(y=pane.max_scroll_y * part, animate=False)
            await settle(pilot)
            shown = seen(pilot)
            start = written(500).index(shown[0])
            assert shown == written(500)[start : start + len(shown)]
            assert abs(top_turn(pane) - 500 * part) < 60


async def test_a_resize_keeps_the_top_turn() -> None:
    async with Pane().run_test(size=(120, 20)) as pilot:
        pane = await opened(pilot, 300)
        await pane.go_to(120)
        await settle(pilot)
        await pilot.resize_terminal(40, 30)
        await settle(pilot)
        assert top_turn(pane) == 120
        await pilot.resize_terminal(100, 12)
        await settle(pilot)
        assert top_turn(pane) == 120


async def test_it_follows_the_end_until_the_user_scrolls_up_and_again_at_the_end() -> None:
    async with Pane().run_test(size=(60, 20)) as pilot:
        pane = await opened(pilot, 30)
        view = await pane.begin_turn("question 30", "Model")
        await view.append("- line 30.0\n")
        await until(lambda: "line 30.0" in seen(pilot))
        pane.scroll_page_up(animate=False)
        await settle(pilot)
        shown = seen(pilot)
        assert not pane.is_following
        for line in range(1, 40):
            await view.append(f"- line 30.{line}\n")
        await until(lambda: pane.max_scroll_y > pane.scroll_y + 45)
        await settle(pilot)
        assert seen(pilot) == shown
        pane.scroll_end(animate=False)
        await settle(pilot)
        await view.append("- line 30.40\n")
        await until(lambda: seen(pilot)[-1:] == ["line 30.40"])
        pane.scroll_home(animate=False)
        await settle(pilot)
        assert seen(pilot)[0] == "question 0"
        await view.finish(answer(30))
        await settle(pilot)
        assert seen(pilot)[0] == "question 0"
        await pane.begin_turn("question 31", "Model")
        await settle(pilot)
        assert seen(pilot)[-1] == "question 31"
        assert pane.is_following


async def test_scrolling_down_at_the_end_keeps_following() -> None:
    async with Pane().run_test(size=(60, 20)) as pilot:
        pane = await opened(pilot, 30)
        view = await pane.begin_turn("question 30", "Model")
        await view.append("- line 30.0\n")
        await until(lambda: "line 30.0" in seen(pilot))
        pane.scroll_page_up(animate=False)
        await settle(pilot)
        for _ in range(3):
            pane.scroll_page_down(animate=False)
            await settle(pilot)
        assert pane.is_following
        await pilot._post_mouse_events([MouseScrollDown], pane, offset=(5, 5))
        await settle(pilot)
        assert pane.is_following
        await view.append("- line 30.1\n")
        await until(lambda: seen(pilot)[-1:] == ["line 30.1"])
        await pilot._post_mouse_events([MouseScrollUp], pane, offset=(5, 5))
        await settle(pilot)
        assert not pane.is_following


async def test_scrolling_keeps_following_while_everything_is_visible() -> None:
    async with Pane().run_test(size=(60, 20)) as pilot:
        pane = await opened(pilot, 1)
        view = await pane.begin_turn("question 1", "Model")
        await view.append("- line 1.0\n")
        await until(lambda: "line 1.0" in seen(pilot))
        pane.scroll_page_up(animate=False)
        await settle(pilot)
        for line in range(1, 40):
            await view.append(f"- line 1.{line}\n")
        await until(lambda: seen(pilot)[-1:] == ["line 1.39"], seconds=5)


async def test_an_answer_streams_outside_the_visible_part() -> None:
    async with Pane().run_test(size=(60, 20)) as pilot:
        pane = await opened(pilot, 300)
        view = await pane.begin_turn("question 300", "Model")
        await view.append("line 300.0 ")
        await pane.go_to(10)
        await settle(pilot)
        assert drawn(pilot) < 60
        await view.append("and line 300.1")
        await view.finish(answer(300))
        pane.scroll_end(animate=False)
        await settle(pilot)
        pane.scroll_end(animate=False)
        await settle(pilot)
        assert seen(pilot)[-2:] == ["line 300.0", "line 300.1"]
        assert len(pilot.app.query(AnswerView)) == drawn(pilot)
