"""A database of an earlier version is migrated without loss."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from engine.core.types import Conversation, StopReason
from engine.store.conversations import ConversationStore
from tests.engine.store.test_store import ANSWER

WRITTEN = Path(__file__).with_name("store_of_step_1.sql")
"""A dump of a database from the first version of the program."""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    database = sqlite3.connect(tmp_path / "conversations.db")
    database.executescript(WRITTEN.read_text(encoding="utf-8"))
    database.close()
    return tmp_path / "conversations.db"


def test_everything_is_migrated_and_found(file: Path) -> None:
    store = ConversationStore(file)
    assert [(entry.id, entry.title, entry.turns) for entry in store.latest()] == [
        (2, "O Jardim de Inverno", 1),
        (1, "What is it?", 2),
    ]
    first, second = store.open(1).turns
    assert first.answer is not None
    assert first.answer.text == "Um balcão de madeira, it's 2 m wide."
    assert first.answer.sources[0].product.description == "Words [/b]"
    assert [answer.engine for answer in first.others] == ["base"]
    assert second.question == "And the café\nnext door?"
    assert second.answer is not None
    assert (second.answer.text, second.answer.stop_reason) == (
        "Half an ans", StopReason.CANCELLED,
    )  # fmt: skip
    for word, number in (("balcao", 1), ("opinion", 1), ("estufa", 2), ("cafe door", 1)):
        assert [entry.id for entry in store.search(word)] == [number]
    store.close()


def test_a_migrated_conversation_continues(file: Path) -> None:
    store = ConversationStore(file)
    conversation = store.open(1)
    store.begin(conversation, "a new one", ANSWER)
    assert [turn.question for turn in store.open(1).turns][2:] == ["a new one"]
    new = Conversation()
    store.begin(new, "another", ANSWER)
    assert new.id == 3
    store.delete(1)
    store.close()
    database = sqlite3.connect(file)
    database.execute("PRAGMA foreign_keys = ON")
    assert database.execute("PRAGMA foreign_key_check").fetchall() == []
    assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert database.execute("SELECT count(*) FROM answer").fetchone() == (2,)
    database.execute("INSERT INTO said (said) VALUES ('integrity-check')")
    uids = [uid for (uid,) in database.execute("SELECT uid FROM conversation")]
    assert len({uid for uid in uids if len(uid) == 32}) == 2
    database.close()


def test_two_programs_that_start_at_once_migrate_once(file: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        stores = list(pool.map(ConversationStore, [file] * 8))
    assert [len(store.search("balcao")) for store in stores] == [1] * 8
    for store in stores:
        store.close()


def test_a_failed_migration_changes_nothing(file: Path) -> None:
    database = sqlite3.connect(file)
    database.execute("CREATE TABLE titled (a)")  # stands where a later step wants its own
    database.commit()
    with pytest.raises(Exception, match="titled"):
        ConversationStore(file)
    assert database.execute("SELECT count(*) FROM conversation").fetchone() == (2,)
    assert database.execute("PRAGMA user_version").fetchone() == (2,)
    database.execute("DROP TABLE titled")
    database.commit()
    database.close()
    store = ConversationStore(file)
    assert len(store.search("estufa")) == 1
    store.close()
