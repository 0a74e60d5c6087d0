"""Streamed answers: drawn as Markdown, cancelled, refused, or broken off."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from textual.content import Content
from textual.widgets import Static

from engine.catalogue.language import passages
from engine.config import paths
from engine.core.types import Answer, StopReason
from engine.store.conversations import ConversationStore
from tests.engine.backends.openai import server as scripted
from tests.tui.driving import about, ask, chat, order, remote, said, send, state, until, words
from tui.screens.record import RecordScreen
from tui.widgets.composer import Composer
from tui.widgets.markdown_view import MarkdownView
from tui.widgets.turns import AnswerView

TITLE = "Canvas Stool, Blue"


def drawn(view: AnswerView) -> str:
    return view.query_one(MarkdownView).source


def saved_answer() -> Answer:
    store = ConversationStore(paths.conversations_file())
    answer = store.open(store.latest()[0].id).turns[-1].answer
    store.close()
    assert answer is not None
    return answer


async def test_an_answer_may_end_after_the_chat(catalogue_dir: Path) -> None:
    async with chat(catalogue_dir) as pilot:
        view = await ask(pilot, TITLE)
    assert view.answer
    assert not view.children
    await view.finish(view.answer)


async def test_a_models_text_is_markdown(catalogue_dir: Path, server: scripted.Server) -> None:
    server.always = scripted.streamed(
        scripted.words("It **folds**"),
        scripted.words(" flat.\n\n- one\n- \x1b]0;owned\x07two [b]"),
        scripted.words("", "stop"),
        scripted.event(usage=scripted.USAGE),
        scripted.DONE,
    )
    async with chat(catalogue_dir, **remote(server, engine="openai")) as pilot:
        view = await ask(pilot, TITLE)
        assert drawn(view) == "It **folds** flat.\n\n- one\n- ]0;ownedtwo [b]"
        assert about(view).endswith("OpenAI")
        assert "from the description" in about(view)
        assert "Folds flat and floats." in server.bodies[0]["messages"][1]["content"]


async def test_a_follow_up_is_answered_with_a_sentence_that_the_record_shows_lit(
    catalogue_dir: Path, server: scripted.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passages, "likeness", lambda _, sentences: [0.0] * len(sentences))
    server.script = [scripted.hello()]
    chosen = scripted.words('{"sentence": 3}', "stop")
    server.always = scripted.streamed(chosen, scripted.event(usage=scripted.USAGE), scripted.DONE)
    async with chat(catalogue_dir, **remote(server, engine="openai")) as pilot:
        assert words(pilot, "#grounding") == ["quote"]
        await ask(pilot, "The Tin Lighthouse")
        view = await ask(pilot, "does it come with a lamp?")
        assert server.bodies[1]["response_format"]["type"] == "json_schema"
        assert said(view) == "212 pages."
        assert about(view) == "✓ excerpt, word for word · sentence 3 of 3 · OpenAI · quote"
        await pilot.press("f4")
        await until(lambda: isinstance(pilot.app.screen, RecordScreen))
        shown = pilot.app.screen.query_one("#record-text", Static).content
        assert isinstance(shown, Content)
        assert [shown.plain[span.start : span.end] for span in shown.spans] == ["212 pages."]


async def test_the_mode_goes_round(catalogue_dir: Path, server: scripted.Server) -> None:
    async with chat(catalogue_dir, **remote(server, engine="openai")) as pilot:
        seen = []
        for _ in range(4):
            seen += words(pilot, "#grounding")
            await pilot.press("f5")
        assert seen == ["quote", "grounded", "from memory", "quote"]
        await pilot.press("f5", "f5", "f2")  # quote again, and the catalogue, which skips it
        assert words(pilot, "#grounding") == ["grounded"]
        await pilot.press("f5")
        assert words(pilot, "#grounding") == ["from memory"]
        await pilot.press("f5")
        assert words(pilot, "#grounding") == ["grounded"]


async def test_from_memory_the_model_sees_the_question_alone(
    catalogue_dir: Path, server: scripted.Server
) -> None:
    server.always = scripted.hello()
    async with chat(catalogue_dir, mode="memory", **remote(server, engine="openai")) as pilot:
        view = await ask(pilot, TITLE)
        assert about(view) == "✗ not from the description · OpenAI · from memory"
        assert server.bodies[0]["messages"][1]["content"] == TITLE


async def test_escape_saves_the_text_so_far(catalogue_dir: Path, server: scripted.Server) -> None:
    server.script = [scripted.stalled(scripted.words("Half an"), scripted.words(" answer"))]
    server.always = scripted.hello()
    async with chat(catalogue_dir, **remote(server, engine="openai")) as pilot:
        view = await send(pilot, TITLE)
        await until(lambda: bool(view.query(MarkdownView)) and drawn(view) == "Half an answer")
        await pilot.press("escape")
        await until(lambda: "stopped by you" in about(view))
        await until(server.asked[0].left.is_set)
        assert drawn(view) == "Half an answer"
        saved = saved_answer()
        assert (saved.text, saved.stop_reason) == ("Half an answer", StopReason.CANCELLED)
        assert drawn(await ask(pilot, TITLE)) == "Hello there"


async def test_escape_at_the_first_word_keeps_it(
    catalogue_dir: Path, server: scripted.Server
) -> None:
    server.always = scripted.stalled()
    async with chat(catalogue_dir, **remote(server, engine="openai")) as pilot:
        view = await send(pilot, TITLE)
        drawing = asyncio.create_task(view.append("Every"))
        await asyncio.sleep(0)  # it waits for the mount of the text widget
        assert not drawing.done()
        drawing.cancel()
        await asyncio.wait([drawing])
        await pilot.press("escape")
        await until(lambda: "stopped by you" in about(view))
        assert drawn(view) == "Every"


async def test_a_loaded_engine_shows_no_progress(
    catalogue_dir: Path, server: scripted.Server
) -> None:
    server.always = scripted.stalled(scripted.words("One"))
    async with chat(catalogue_dir, **remote(server, engine="openai")) as pilot:
        view = await send(pilot, TITLE)
        await until(lambda: bool(view.query(MarkdownView)))
        await until(lambda: state(pilot).startswith("ready"))
        assert about(view) == "OpenAI · …"
        await pilot.press("escape")
        await until(lambda: state(pilot).startswith("ready"))


async def test_during_an_answer_questions_wait_and_the_engine_can_change(
    catalogue_dir: Path, server: scripted.Server
) -> None:
    server.always = scripted.stalled(scripted.words("One"))
    async with chat(catalogue_dir, **remote(server, engine="openai")) as pilot:
        view = await send(pilot, TITLE)
        await until(lambda: bool(view.query(MarkdownView)))
        composer = pilot.app.screen.query_one(Composer)
        await order(pilot, "Empty Shelf")
        await until(lambda: words(pilot, "#queue") == ["… Empty Shelf  (Up takes it back)"])
        assert composer.text == ""
        await pilot.press("up")
        assert composer.text == "Empty Shelf"
        assert not pilot.app.screen.query_one("#queue").display
        await pilot.press("f3")
        await until(lambda: state(pilot) == "Still answering. Escape stops it.")
        await pilot.press("f2")
        await until(lambda: state(pilot).startswith("ready"))
        await pilot.press("escape")
        await until(lambda: "stopped by you" in about(view))
        answered = await ask(pilot, "")
        assert about(answered).endswith("Catalogue")
        assert composer.text == ""


async def test_quitting_during_an_answer_saves_the_text_so_far(
    catalogue_dir: Path, server: scripted.Server
) -> None:
    server.always = scripted.stalled(scripted.words("Half"))
    async with chat(catalogue_dir, **remote(server, engine="openai")) as pilot:
        view = await send(pilot, TITLE)
        await until(lambda: bool(view.query(MarkdownView)))
        await pilot.press("ctrl+q")
    assert (saved_answer().text, saved_answer().stop_reason) == ("Half", StopReason.CANCELLED)


async def test_a_broken_stream_keeps_its_text_and_shows_the_remedy(
    catalogue_dir: Path, server: scripted.Server
) -> None:
    server.always = scripted.cut(scripted.words("Half"))
    async with chat(catalogue_dir, **remote(server, engine="openai")) as pilot:
        view = await ask(pilot, TITLE)
        assert drawn(view) == "Half"
        assert "interrupted" in about(view)
        assert str(view.query_one(".problem", Static).render())
        await pilot.press("f2")
        view = await ask(pilot, TITLE)
        assert "word for word" in about(view)


async def test_a_grounded_model_is_not_asked_without_a_record(
    catalogue_dir: Path, server: scripted.Server
) -> None:
    async with chat(catalogue_dir, **remote(server, engine="openai")) as pilot:
        view = await ask(pilot, "The Velvet Submarine Handbook")
        assert "word for word" not in about(view)
        assert not server.asked
        assert "No product matches" in said(view)
        assert "was not asked" in words(pilot, ".notice")[0]
