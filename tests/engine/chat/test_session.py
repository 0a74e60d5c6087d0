"""Ask a question again, and fork a conversation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from engine.catalogue.catalogue import Catalogue
from engine.chat.session import Session
from engine.core.errors import EngineFailed
from engine.core.types import Answer, Answered, Availability, Piece, Role, StopReason
from engine.store.conversations import ConversationStore
from tests.engine.chat.test_answer import OneEngine, ask, open_session
from tests.scripted import ScriptedEngine


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ConversationStore]:
    opened = ConversationStore(tmp_path / "c.db")
    yield opened
    opened.close()


def texts(answers: list[Answer]) -> list[str]:
    return [answer.text for answer in answers]


async def again(session: Session, place: int = -1) -> None:
    events = session.ask_again(session.conversation.turns[place], "base")
    assert isinstance([event async for event in events][-1], Answered)


async def test_both_answers_are_kept_and_the_new_one_counts(
    catalogue: Catalogue, store: ConversationStore
) -> None:
    engine = ScriptedEngine(("One",))
    session = open_session(OneEngine(engine), catalogue, store)
    await ask(session, "The Tin Lighthouse", "base")
    engine.pieces = ("Two",)
    await again(session)
    (turn,) = session.conversation.turns
    assert (texts(turn.answers), turn.place) == (["One", "Two"], 1)
    assert session.conversation.id is not None
    kept = store.open(session.conversation.id).turns[0]
    assert (texts(kept.answers), kept.place) == (["One", "Two"], 1)

    turn.choose(0)
    store.choose(turn.id or 0, 0)
    kept = store.open(session.conversation.id).turns[0]
    assert (texts(kept.answers), kept.place) == (["One", "Two"], 0)
    engine.pieces = ("Three",)
    await ask(session, "Empty Shelf", "base")
    history = [one.content for one in engine.asked[-1].messages if one.role is Role.ASSISTANT]
    assert history == ["One"]


async def test_a_question_is_asked_again_from_what_was_said_before_it(
    catalogue: Catalogue,
) -> None:
    engine = ScriptedEngine(("Words",))
    session = open_session(OneEngine(engine), catalogue)
    for question in ("The Tin Lighthouse", "who wrote it?", "Canvas Stool, Blue"):
        await ask(session, question, "base")
    await again(session, place=1)
    request = engine.asked[-1]
    assert request.followup
    assert [one.content for one in request.messages if one.role is Role.ASSISTANT] == ["Words"]
    assert [len(turn.answers) for turn in session.conversation.turns] == [1, 2, 1]


async def test_what_cannot_answer_leaves_the_answer_before(catalogue: Catalogue) -> None:
    engine = ScriptedEngine(("One",))
    session = open_session(OneEngine(engine), catalogue)
    await ask(session, "The Tin Lighthouse", "base")
    engine.pieces = (EngineFailed("It broke.", "Ask again."),)
    await again(session)
    engine._availability = Availability(ready=False, reason="Away.", remedy="Wait.")
    await again(session)
    assert texts(session.conversation.turns[0].answers) == ["One"]


async def test_cancelling_keeps_what_came(catalogue: Catalogue, store: ConversationStore) -> None:
    engine = ScriptedEngine(("One",))
    session = open_session(OneEngine(engine), catalogue, store)
    await ask(session, "The Tin Lighthouse", "base")
    engine.pieces = ("Half ", 0.6, "way ", 60.0, "there")
    turn = session.conversation.turns[0]
    came = 0
    events = session.ask_again(turn)
    async with aclosing(events):
        async for event in events:
            came += isinstance(event, Piece)
            if came == 2:
                break
    assert turn.answer is not None
    assert (turn.answer.text, turn.answer.stop_reason) == ("Half way", StopReason.CANCELLED)
    kept = store.open(session.conversation.id or 0).turns[0]
    assert (texts(kept.answers), kept.place) == (["One", "Half way"], 1)


async def test_a_fork_has_the_turns_so_far_and_goes_its_own_way(
    catalogue: Catalogue, store: ConversationStore
) -> None:
    engine = ScriptedEngine(("Words",))
    session = open_session(OneEngine(engine), catalogue, store)
    for question in ("The Tin Lighthouse", "Empty Shelf", "Canvas Stool, Blue"):
        await ask(session, question, "base")
    original = session.conversation
    for keeper in (store, None):
        session.use(original)
        with_or_without = open_session(OneEngine(engine), catalogue, keeper)
        with_or_without.use(original)
        await with_or_without.fork(2)
        session.use(with_or_without.conversation)
        assert session.conversation.id != original.id
        await ask(session, "O Jardim de Inverno", "base")
        kept = store.open(session.conversation.id or 0)
        questions = ["The Tin Lighthouse", "Empty Shelf", "O Jardim de Inverno"]
        assert [turn.question for turn in kept.turns] == questions
    assert len(store.open(original.id or 0).turns) == 3
    await session.fork(0)
    assert session.conversation.turns == []
