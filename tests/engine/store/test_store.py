"""Saved conversations survive whatever happens."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from msgspec.structs import replace

from engine.core.errors import StoreError
from engine.core.types import (
    Answer,
    Conversation,
    Hit,
    Mode,
    Problem,
    Product,
    Status,
    StopReason,
    Timing,
    Tokens,
)
from engine.store.conversations import ConversationStore
from engine.store.database import MIGRATIONS

ANSWER = Answer(
    "What is it?",
    "lora",
    Mode.MEMORY,
    Status.EXACT,
    "Words [/b] \x1b[2J — é",
    StopReason.COMPLETE,
    sources=(Hit(Product("012X", "Title", "Words", "W&amp;rds"), 0.5),),
    fidelity=0.25,
    timing=Timing(1.0, 2.0, 3.0),
    tokens=Tokens(4, 5),
    notice="note",
    problem=Problem("why", "what"),
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "conversations.db"


def test_a_conversation_is_loaded_as_it_was_saved(file: Path) -> None:
    store, conversation = ConversationStore(file), Conversation()
    first = store.begin(conversation, "What is it?", replace(ANSWER, text=""))
    store.update(first, ANSWER, finished=True)
    store.begin(conversation, "And this?", ANSWER)
    store.close()

    store = ConversationStore(file)
    (listed,) = store.latest()
    assert (listed.title, listed.turns, listed.id) == ("What is it?", 2, conversation.id)
    turns = store.open(listed.id).turns
    assert [turn.question for turn in turns] == ["What is it?", "And this?"]
    assert turns[0].answer == ANSWER
    assert turns[1].answer == replace(ANSWER, stop_reason=StopReason.CANCELLED)
    store.close()


def test_the_latest_comes_first(file: Path) -> None:
    store = ConversationStore(file)
    conversations = [Conversation() for _ in range(3)]
    for number, conversation in enumerate(conversations):
        store.begin(conversation, f"question {number}", ANSWER)
    store.begin(conversations[0], "again", ANSWER)
    assert [entry.title for entry in store.latest()] == ["question 0", "question 2", "question 1"]
    assert len(store.latest(limit=2)) == 2
    store.close()


def test_many_threads_and_two_stores_lose_nothing(file: Path) -> None:
    stores = [ConversationStore(file), ConversationStore(file)]

    def ask(number: int) -> None:
        stores[number % 2].begin(Conversation(), f"question {number}", ANSWER)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(60)))
    assert {entry.title for entry in stores[0].latest()} == {f"question {n}" for n in range(60)}
    for store in stores:
        store.close()


def test_a_killed_program_loses_no_saved_question(file: Path) -> None:
    script = """
import sys
from pathlib import Path
from engine.core.types import Conversation
from engine.store.conversations import ConversationStore
from tests.engine.store.test_store import ANSWER
store, conversation = ConversationStore(Path(sys.argv[1])), Conversation()
for number in range(100000):
    store.begin(conversation, f"question {number}", ANSWER)
    print(number, flush=True)
"""
    command = [sys.executable, "-c", script, str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        acknowledged = [int(process.stdout.readline()) for _ in range(25)]
        os.kill(process.pid, signal.SIGKILL)
    store = ConversationStore(file)
    (listed,) = store.latest()
    questions = [turn.question for turn in store.open(listed.id).turns]
    assert questions[: len(acknowledged)] == [f"question {n}" for n in acknowledged]
    store.close()


def test_a_file_that_is_not_a_database(file: Path) -> None:
    file.parent.mkdir()
    file.write_text("not a database, but long enough to be looked at as one" * 40)
    with pytest.raises(StoreError, match="Cannot save"):
        ConversationStore(file)


def test_a_database_of_a_newer_program(file: Path) -> None:
    ConversationStore(file).close()
    database = sqlite3.connect(file)
    database.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    database.close()
    with pytest.raises(StoreError, match="newer version"):
        ConversationStore(file)


def test_a_folder_that_cannot_be_created(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError):
        ConversationStore(tmp_path / "file" / "conversations.db")
