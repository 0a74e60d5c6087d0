"""Turns: selecting one, its other answers, editing its question, forking, copying."""

from __future__ import annotations

from pathlib import Path

from textual.pilot import Pilot
from textual.widget import Widget

from engine.config import paths
from engine.store.conversations import ConversationStore
from tests.conftest import ROWS
from tests.engine.backends.openai import server as scripted
from tests.tui.driving import about, ask, chat, order, remote, state, until, words
from tui.screens.chat import ChatScreen
from tui.screens.record import RecordScreen
from tui.textual_patches.widgets import SolidBackground
from tui.widgets.composer import Composer
from tui.widgets.markdown_view import MarkdownView
from tui.widgets.turns import SELECTED, AnswerView, QuestionView

STOOL, SHELF, TIN = ROWS[4][1], ROWS[6][1], ROWS[0][1]


def answers(pilot: Pilot[None]) -> list[AnswerView]:
    return list(pilot.app.screen.query(AnswerView))


def selected(pilot: Pilot[None]) -> list[str]:
    return words(pilot, f"QuestionView.{SELECTED}")


def copied() -> str:
    file = paths.data_dir() / "copied.txt"
    return file.read_text() if file.exists() else ""


def kept() -> list[list[str]]:
    """The questions of every conversation on disk, the latest first."""
    store = ConversationStore(paths.conversations_file())
    found = [[turn.question for turn in store.open(one.id).turns] for one in store.latest()]
    store.close()
    return found


async def test_turns_are_walked_with_a_mark_beside_the_one_selected(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        for question in (TIN, SHELF, STOOL):
            await ask(pilot, question)
        await pilot.press("ctrl+up")
        assert selected(pilot) == [f"❯ {STOOL}"]
        await pilot.press("ctrl+t", "ctrl+t")
        assert selected(pilot) == [f"❯ {TIN}"]
        assert "Question 1 of 3" in state(pilot)
        first = pilot.app.screen.query(QuestionView).first()
        assert first.styles.outline_left[0] == "thick"
        assert pilot.app.screen.query_one("#conversation").region.contains_region(first.region)
        await pilot.press("ctrl+down")
        assert selected(pilot) == [f"❯ {SHELF}"]
        await pilot.press("escape")
        assert not selected(pilot)
        await pilot.press("ctrl+down", "ctrl+t")
        assert not selected(pilot)


async def test_backdrops_are_drawn_as_textual_draws_them(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        await ask(pilot, TIN)
        await pilot.press("ctrl+up")
        found = [one for one in (pilot.app.screen, *pilot.app.screen.query("*"))
                 if isinstance(one, SolidBackground)]  # fmt: skip
        assert {type(one).__name__ for one in found} == {
            "ChatScreen", "ConversationView", "TurnView", "AnswerView",
        }  # fmt: skip
        assert any(one.styles.outline for one in found)
        for one in found:
            region = one.size.region
            assert one.render_lines(region) == Widget.render_lines(one, region)
            part = region.shrink((1, 2, 1, 2))
            assert one.render_lines(part) == Widget.render_lines(one, part)


async def test_record_and_copy_act_on_the_turn_selected(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        await ask(pilot, TIN)
        await ask(pilot, STOOL)
        await pilot.press("ctrl+up", "ctrl+up", "f8")
        await until(lambda: copied() == ROWS[0][2])
        await pilot.press("f4")
        await until(lambda: isinstance(pilot.app.screen, RecordScreen))
        assert words(pilot, "#record-title") == [TIN]
        await pilot.press("escape", "escape", "f8")
        await until(lambda: copied() == ROWS[4][2])
        await pilot.press("ctrl+up", "ctrl+up")
        await order(pilot, "/copy_record")
        await until(lambda: copied() == ROWS[0][2])


async def test_another_engine_answers_again_and_both_are_kept(
    catalogue_dir: Path, server: scripted.Server
) -> None:
    server.always = scripted.hello()
    async with chat(catalogue_dir, **remote(server)) as pilot:
        await ask(pilot, STOOL)
        await order(pilot, "/regenerate openai")
        await until(lambda: "· OpenAI · answer 2 of 2" in about(answers(pilot)[0]))
        assert answers(pilot)[0].query_one(MarkdownView).source == "Hello there"
        await pilot.press("ctrl+r")
        await until(
            lambda: about(answers(pilot)[0]) == "✓ word for word · Catalogue · answer 3 of 3"
        )
        await pilot.press("right", "right")
        await until(lambda: "OpenAI · answer 2 of 3" in about(answers(pilot)[0]))
        assert len(answers(pilot)) == 1
    async with chat(catalogue_dir, go_on=True, **remote(server)) as pilot:
        assert "OpenAI · answer 2 of 3" in about(answers(pilot)[0])
        await order(pilot, "/previous_answer")
        await until(lambda: "Catalogue · answer 1 of 3" in about(answers(pilot)[0]))


async def test_an_engine_that_cannot_answer_again_leaves_the_answer(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        await ask(pilot, STOOL)
        await pilot.press("right")
        assert "one answer" in state(pilot)
        await order(pilot, "/regenerate openai")
        await until(lambda: "No model is set" in state(pilot))
        await until(lambda: about(answers(pilot)[0]) == "✓ word for word · Catalogue")
        await order(pilot, "/regenerate nobody")
        await until(lambda: "There is no engine “nobody”" in state(pilot))


async def test_an_answer_again_is_cancelled_with_what_came(
    catalogue_dir: Path, server: scripted.Server
) -> None:
    server.always = scripted.stalled(scripted.words("Half"))
    async with chat(catalogue_dir, **remote(server)) as pilot:
        await ask(pilot, STOOL)
        await order(pilot, "/regenerate openai")
        await until(lambda: bool(answers(pilot)[0].query(MarkdownView)))
        await pilot.press("escape")
        await until(lambda: "stopped by you" in about(answers(pilot)[0]))
        assert "answer 2 of 2" in about(answers(pilot)[0])
        await pilot.press("right")
        await until(lambda: "answer 1 of 2" in about(answers(pilot)[0]))


async def test_an_edited_question_goes_on_in_a_fork(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        for question in (TIN, SHELF, STOOL):
            await ask(pilot, question)
        await pilot.press("ctrl+up", "ctrl+up", "ctrl+g")
        composer = pilot.app.screen.query_one(Composer)
        assert composer.text == SHELF
        assert "Editing question 2" in state(pilot)
        await pilot.press("escape")
        assert composer.text == ""
        assert len(answers(pilot)) == 3
        assert not selected(pilot)
        await pilot.press("ctrl+up", "ctrl+up", "ctrl+g")
        assert composer.text == SHELF
        assert selected(pilot) == [f"❯ {SHELF}"]
        composer.clear()
        await order(pilot, "cafe tokyo nights")
        await until(lambda: words(pilot, ".question") == [f"❯ {TIN}", "❯ cafe tokyo nights"])
        await until(lambda: "word for word" in about(answers(pilot)[-1]))
    assert kept() == [[TIN, "cafe tokyo nights"], [TIN, SHELF, STOOL]]


async def test_a_fork_goes_on_from_the_turn_selected(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        await order(pilot, "/fork")
        assert "no question yet" in state(pilot)
        await ask(pilot, TIN)
        await ask(pilot, SHELF)
        await pilot.press("ctrl+up", "ctrl+up")
        await order(pilot, "/fork")
        await until(lambda: words(pilot, ".question") == [f"❯ {TIN}"])
        assert not selected(pilot)
        await ask(pilot, STOOL)
    assert kept() == [[TIN, STOOL], [TIN, SHELF]]


async def test_sending_lets_the_turn_go(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        await ask(pilot, TIN)
        await pilot.press("ctrl+up")
        await ask(pilot, SHELF)
        assert not selected(pilot)
        assert isinstance(pilot.app.screen, ChatScreen)
        assert pilot.app.screen.session.selected is None
