"""How answers are saved while they arrive."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from pathlib import Path

import pytest

from engine.catalogue.catalogue import Catalogue
from engine.core.types import (
    Answer,
    Answered,
    Conversation,
    NotSaved,
    Piece,
    StopReason,
    Turn,
)
from engine.fidelity.quotes import Comparison, compare
from engine.store.conversations import ConversationStore
from tests.engine.chat.test_answer import OneEngine, open_session
from tests.scripted import ScriptedEngine

HALF = ("Half ", 0.6, "way ", 60.0, "there")
"""Long enough for the second piece to be saved before the end."""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ConversationStore]:
    opened = ConversationStore(tmp_path / "c.db")
    yield opened
    opened.close()


def on_disk(store: ConversationStore) -> list[list[str]]:
    """The texts of the last conversation's answers, turn by turn."""
    turns = store.open(store.latest()[0].id).turns
    return [[answer.text for answer in turn.answers] for turn in turns]


async def test_fidelity_is_computed_once(
    catalogue: Catalogue, store: ConversationStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored: list[tuple[str, str]] = []

    def note(text: str, record: str, *, cut: bool) -> Comparison | None:
        scored.append((text, record))
        return compare(text, record, cut=cut)

    monkeypatch.setattr("engine.chat.answer.compare", note)
    engine = ScriptedEngine(("One ", 0.6, "two ", 0.6, "three"))
    session = open_session(OneEngine(engine), catalogue, store)
    session.engine = "base"
    async for _ in session.ask("Empty Shelf"):
        pass
    assert [text for text, record in scored if not record] == ["One two three"]


async def test_words_before_a_pause_are_saved_during_it(
    catalogue: Catalogue, store: ConversationStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.chat.recorder._SAVE_EVERY", 0.05)
    engine = ScriptedEngine(("Half ", "way ", "up", 60.0, "there"))
    session = open_session(OneEngine(engine), catalogue, store)
    session.engine = "base"
    async with aclosing(session.ask("Empty Shelf")) as events:
        async for event in events:
            if event == Piece("up"):
                break
        async with asyncio.timeout(10):
            while on_disk(store) != [["Half way up"]]:  # noqa: ASYNC110 - a thread writes it
                await asyncio.sleep(0.01)


async def test_a_killed_comparison_keeps_the_text_so_far(
    catalogue: Catalogue, store: ConversationStore
) -> None:
    session = open_session(OneEngine(ScriptedEngine(HALF)), catalogue, store)
    events = session.compare("Canvas Stool, Blue", ("base", "catalogue"))
    async with asyncio.timeout(10), aclosing(events):
        pieces = 0
        async for index, event in events:
            pieces += index == 0 and isinstance(event, Piece)
            if pieces == 2:
                await asyncio.sleep(0.2)
                # What another process would read now.
                assert on_disk(store) == [["Half way", "Folds flat and floats."]]
                break
    assert on_disk(store) == [["Half way", "Folds flat and floats."]]


async def test_a_comparison_that_is_cancelled_before_it_begins_is_saved_whole(
    catalogue: Catalogue, store: ConversationStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = open_session(OneEngine(), catalogue, store)
    begin, writing, go_on = store.begin, threading.Event(), threading.Event()

    def slow(conversation: Conversation, question: str, answer: Answer, turn: Turn) -> int:
        writing.set()
        go_on.wait(10)
        return begin(conversation, question, answer, turn)

    monkeypatch.setattr(store, "begin", slow)

    async def read() -> None:
        async with aclosing(session.compare("Empty Shelf", ("catalogue", "base"))) as events:
            async for _ in events:
                pass

    task = asyncio.create_task(read())
    assert await asyncio.to_thread(writing.wait, 10)
    task.cancel()
    asyncio.get_running_loop().call_soon(go_on.set)
    await asyncio.wait([task])
    (turn,) = store.open(session.conversation.id or 0).turns
    assert turn.answers == session.conversation.turns[0].answers
    assert [answer.engine for answer in turn.answers] == ["catalogue", "base"]


async def test_a_cancelled_write_does_not_lose_the_answer(
    catalogue: Catalogue, store: ConversationStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = open_session(OneEngine(ScriptedEngine(("One ", "two"))), catalogue, store)
    session.engine = "base"
    update, writing, go_on = store.update, threading.Event(), threading.Event()

    def slow(answer_id: int, answer: Answer, *, finished: bool) -> None:
        if finished:
            writing.set()
            go_on.wait(10)
        update(answer_id, answer, finished=finished)

    monkeypatch.setattr(store, "update", slow)

    async def read() -> None:
        async with aclosing(session.ask("Empty Shelf")) as events:
            async for _ in events:
                pass

    task = asyncio.create_task(read())
    assert await asyncio.to_thread(writing.wait, 10)
    task.cancel()
    asyncio.get_running_loop().call_later(0.1, go_on.set)
    await asyncio.wait([task])
    saved = store.open(session.conversation.id or 0).turns[0].answer
    assert saved == session.conversation.turns[0].answer
    assert saved is not None
    assert (saved.text, saved.stop_reason) == ("One two", StopReason.COMPLETE)


async def test_a_second_cancel_does_not_stop_the_saving(
    catalogue: Catalogue, store: ConversationStore
) -> None:
    loop, go_on, arrived = asyncio.get_running_loop(), threading.Event(), asyncio.Event()
    loop.set_default_executor(ThreadPoolExecutor(1))
    engine = ScriptedEngine(("One ", "two", 60.0))
    session = open_session(OneEngine(engine), catalogue, store)
    session.engine = "base"

    async def read() -> None:
        async with aclosing(session.ask("Empty Shelf")) as events:
            async for event in events:
                if event == Piece("two"):
                    arrived.set()

    task = asyncio.create_task(read())
    await arrived.wait()
    busy = loop.run_in_executor(None, go_on.wait, 10)
    for _ in range(2):
        task.cancel()
        for _ in range(10):
            await asyncio.sleep(0)
    await asyncio.wait([task])
    go_on.set()
    await busy
    await loop.run_in_executor(None, int)  # after all that waited before
    saved = store.open(session.conversation.id or 0).turns[0].answer
    assert saved == session.conversation.turns[0].answer
    assert saved is not None
    assert saved.text == "One two"


async def test_a_turn_that_could_not_be_saved_is_saved_with_the_next(
    catalogue: Catalogue, tmp_path: Path
) -> None:
    broken = ConversationStore(tmp_path / "c.db")
    broken.close()
    session = open_session(OneEngine(), catalogue, broken)
    events = [event async for event in session.ask("Canvas Stool, Blue")]
    assert sum(isinstance(event, NotSaved) for event in events) == 1
    assert isinstance(events[-1], Answered)
    mended = ConversationStore(tmp_path / "c.db")
    unsaved = session.conversation
    session = open_session(OneEngine(), catalogue, mended)
    session.use(unsaved)
    async for _ in session.ask("Empty Shelf"):
        pass
    assert [len(answers) for answers in on_disk(mended)] == [1, 1]
    mended.close()
