"""Several engines, one question: none waits for, sees, or stops another."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from engine.catalogue.catalogue import Catalogue
from engine.chat.export import turn_as_markdown
from engine.core.errors import EngineFailed
from engine.core.types import Answered, Piece, StopReason
from engine.store.conversations import ConversationStore
from tests.engine.chat.test_answer import OneEngine, ask, open_session
from tests.scripted import ScriptedEngine

BOTH = ("base", "catalogue")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ConversationStore]:
    opened = ConversationStore(tmp_path / "c.db")
    yield opened
    opened.close()


async def test_every_engine_answers_and_the_turn_is_kept_in_their_order(
    catalogue: Catalogue, store: ConversationStore
) -> None:
    engine = ScriptedEngine((0.05, "Blue ", 0.05, "stool."))
    session = open_session(OneEngine(engine), catalogue, store)
    ended = [
        place
        async for place, event in session.compare("Canvas Stool, Blue", BOTH)
        if isinstance(event, Answered)
    ]
    assert ended == [1, 0]
    assert session.conversation.id is not None
    (turn,) = session.conversation.turns
    assert turn.answer is not None
    assert [answer.engine for answer in (turn.answer, *turn.others)] == ["base", "catalogue"]
    kept = store.open(session.conversation.id).turns[0]
    assert kept.answer is not None
    assert {answer.text for answer in (kept.answer, *kept.others)} == {
        "Blue stool.",
        "Folds flat and floats.",
    }


async def test_one_that_fails_stops_nobody(catalogue: Catalogue) -> None:
    engine = ScriptedEngine(("Half", EngineFailed("It broke.", "Ask again.")))
    session = open_session(OneEngine(engine), catalogue)
    async for _ in session.compare("Canvas Stool, Blue", BOTH):
        pass
    turn = session.conversation.turns[0]
    assert turn.answer is not None
    assert (turn.answer.text, turn.answer.stop_reason) == ("Half", StopReason.ERROR)
    assert turn.others[0].text == "Folds flat and floats."


async def test_closing_cancels_and_keeps_what_came(
    catalogue: Catalogue, store: ConversationStore
) -> None:
    engine = ScriptedEngine(("One ", 60.0, "two"))
    session = open_session(OneEngine(engine), catalogue, store)
    events = session.compare("Canvas Stool, Blue", BOTH)
    ended = 0
    async with asyncio.timeout(10), aclosing(events):
        async for _, event in events:
            ended += isinstance(event, Answered)
            if ended and engine.asked and isinstance(event, Piece | Answered):
                break
    assert engine.closed == 1
    turn = session.conversation.turns[0]
    assert turn.answer is not None
    assert (turn.answer.text, turn.answer.stop_reason) == ("One", StopReason.CANCELLED)
    assert session.conversation.id is not None
    assert len(store.open(session.conversation.id).turns[0].others) == 1


async def test_a_follow_up_goes_on_from_the_comparison(catalogue: Catalogue) -> None:
    session = open_session(OneEngine(), catalogue)
    async for _ in session.compare("The Tin Lighthouse", BOTH):
        pass
    answer, _ = await ask(session, "who wrote it?")
    assert answer.text.startswith("Written by Ada Quillfeather")


async def test_the_turn_as_markdown(catalogue: Catalogue) -> None:
    engine = ScriptedEngine(("# Not a heading\n~~~~\nstill quoted",))
    session = open_session(OneEngine(engine), catalogue)
    async for _ in session.compare("Paint [/b] and [red] Brushes", BOTH):
        pass
    page = turn_as_markdown(session.conversation.turns[0], {"base": "Base Llama"})
    headings = [line for line in page.splitlines() if line.startswith("## ")]
    assert headings[0] == "## The record: Paint [/b] and [red] Brushes (1000000008)"
    # In the order in which they ended, which is the threads' business.
    assert {one.removesuffix(" (chosen)") for one in headings[1:]} == {
        "## Base Llama",
        "## catalogue",
    }
    assert "> \\# Not a heading\\\n> \\~\\~\\~\\~\\\n> still quoted\n" in page
    assert "word for word" in page
    assert page.count(r"Use \*two\* coats") == 1


async def test_an_old_question_gets_other_answers_from_what_came_before_it(
    catalogue: Catalogue, store: ConversationStore
) -> None:
    engine = ScriptedEngine(("Other.",))
    session = open_session(OneEngine(engine), catalogue, store)
    session.engine = "catalogue"
    await ask(session, "The Tin Lighthouse")
    await ask(session, "Canvas Stool, Blue")
    first = session.conversation.turns[0]
    async for _ in session.compare("", ["base"], first):
        pass
    assert [answer.text for answer in first.others] == ["Other."]
    assert len(session.conversation.turns) == 2
    assert not any("Canvas" in message.content for message in engine.asked[-1].messages)
    assert session.conversation.id is not None
    kept = store.open(session.conversation.id).turns[0]
    assert [answer.text for answer in kept.others] == ["Other."]
    assert kept.answer is not None
    assert kept.answer.engine == "catalogue"
