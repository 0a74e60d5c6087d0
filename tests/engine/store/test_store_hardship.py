"""Two programs at once, kills, full and read-only disks."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from benchmarks.history_kills import busy, kill, lost, sound
from engine.chat import export as history
from engine.chat import open as opening
from engine.chat.session import Session
from engine.config import settings
from engine.core.errors import StoreError
from engine.core.types import Answered, Conversation, NotSaved
from engine.store.conversations import ConversationStore
from engine.store.search import last_questions
from tests.engine.store.test_store import ANSWER
from tests.engine.store.test_store_history import said, said_in


def test_two_chats_in_the_same_conversation_lose_nothing(tmp_path: Path) -> None:
    file = tmp_path / "c.db"
    with closing(ConversationStore(file)) as store:
        number = said(store, "first", "a")
    chats = [busy(file, "a", 25, number), busy(file, "b", 25, number), busy(file, "c", 25)]
    lines = [line.strip() for chat in chats for line in chat.communicate()[0].splitlines()]
    assert [chat.returncode for chat in chats] == [0, 0, 0]
    assert len(lines) == 150
    assert lost(file, lines) == []
    with closing(ConversationStore(file)) as store:
        assert len(store.open(number).turns) == 51
    sound(file)


def test_a_long_import_and_a_chat_do_not_block_each_other(tmp_path: Path) -> None:
    file = tmp_path / "c.db"
    with closing(ConversationStore(tmp_path / "other.db")) as other:
        for number in range(60):
            said(other, f"imported {number}", "words " * 50)
        data = "".join(history.as_json(other, other.ids())).encode()
    with closing(ConversationStore(file)) as store:
        chat = busy(file, "a", 20)
        added = history.import_bytes(store, data, "The file")
        lines = chat.communicate()[0].splitlines()
        assert (added.new, chat.returncode) == (60, 0)
        assert len(store.ids()) >= 61
    assert len(lines) == 40
    assert lost(file, lines) == []


def test_kills_at_random_moments_lose_nothing_saved(tmp_path: Path) -> None:
    file, draw = tmp_path / "c.db", random.Random(5)  # noqa: S311 - moments, not secrets
    ConversationStore(file).close()
    lines: list[str] = []
    for number in range(4):
        lines += kill(file, f"k{number}", draw)
    assert lost(file, lines) == []
    sound(file)


def test_wrong_values_in_one_row_bar_no_other(tmp_path: Path) -> None:
    """Bits that flip change texts and times, and even their types."""
    file = tmp_path / "c.db"
    with closing(ConversationStore(file)) as store:
        wrong, right = said(store, "first", "a"), said(store, "second", "b")
    with closing(sqlite3.connect(file)) as database, database:
        for name in ("turn_added", "answer_changed", "conversation_renamed"):
            database.execute(f"DROP TRIGGER {name}")
        database.execute("PRAGMA ignore_check_constraints = ON")
        database.execute("PRAGMA writable_schema = ON")
        database.execute("UPDATE sqlite_master SET sql = replace(sql, ') STRICT', ')')")
    with closing(sqlite3.connect(file)) as database, database:
        database.execute(
            "UPDATE conversation SET uid = '../x', parent = 7, updated = 1e300,"
            " title = CAST(x'63ff61' AS TEXT) WHERE id = ?",
            (wrong,),
        )
        database.execute("UPDATE turn SET question = x'ff', asked = 'now' WHERE id = 1")
        database.execute("UPDATE answer SET body = x'7b', engine = 5, updated = x'' WHERE id = 1")
    with closing(ConversationStore(file)) as store, closing(
        ConversationStore(tmp_path / "other.db")
    ) as other:  # fmt: skip
        assert [(one.id, one.title) for one in store.latest()] == [
            (wrong, "c\ufffda"), (right, "second"),
        ]  # fmt: skip
        assert [one.when.year >= 1969 for one in store.latest()] == [True, True]
        assert store.open(wrong).turns[0].question == ""
        data = "".join(history.as_json(store, store.ids())).encode()
        assert history.import_bytes(other, data, "The file").new == 2


def test_the_messages_of_a_damaged_file_need_not_be_text(tmp_path: Path) -> None:
    file = tmp_path / "c.db"
    with closing(ConversationStore(file)) as store:
        said(store, "first", "a")
    sound = file.read_bytes()
    file.write_bytes(sound.replace(b"INSERT INTO said", b"INSERT INTO \xffaid"))
    with closing(ConversationStore(file)) as store, pytest.raises(StoreError, match="damaged"):
        said(store, "second", "b")
    file.write_bytes(
        sound.replace(b"turn_addedturnCREATE TRIGGER", b"\xffurn_addedturnCREATE TRI\xffGER")
    )
    with pytest.raises(StoreError, match="damaged"):
        ConversationStore(file)
    assert last_questions(file) == []


@pytest.mark.usefixtures("no_umask")
def test_a_history_is_its_users_alone(tmp_path: Path) -> None:
    file = tmp_path / "data" / "c.db"

    def modes() -> set[int]:
        return {stat.S_IMODE(path.stat().st_mode) for path in file.parent.iterdir()}

    with closing(ConversationStore(file)) as store:
        said(store, "first", "a")
        assert len(list(file.parent.iterdir())) == 3  # -wal and -shm
        assert modes() == {0o600}
        file.parent.chmod(0o755)  # as an older version made it
        for path in file.parent.iterdir():
            path.chmod(0o644)
        with closing(ConversationStore(file)):
            assert modes() == {0o600}
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MB; needs the right to mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(folder)]
    if (
        sys.platform != "linux"
        or subprocess.run(mount, capture_output=True, check=False).returncode
    ):
        pytest.skip("mounting a small disk is not allowed here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk: Path) -> Path:
    """Leave no room; returns what takes it."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as stream:
        for size in (65536, 4096, 1):
            try:
                while stream.write(b"x" * size) == size:
                    pass
            except OSError:
                continue
    return filler


async def test_a_full_disk_is_reported_and_the_turn_saved_later(
    small_disk: Path, catalogue_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BALCAO_HOME", str(small_disk))
    chosen = settings.load(Path("none"), {}, {"catalogue": catalogue_dir})
    resources = opening.open_resources(chosen)
    session, store = Session(chosen, resources), resources.store
    assert store is not None

    async def ask(question: str) -> tuple[str, bool]:
        events = [event async for event in session.ask(question)]
        assert isinstance(events[-1], Answered)
        return events[-1].answer.text, any(isinstance(event, NotSaved) for event in events)

    assert await ask("Canvas Stool, Blue") == ("Folds flat and floats.", False)
    data = "".join(history.as_json(store, store.ids())).encode()
    filler = fill(small_disk)
    assert await ask("Canvas Stool, Green") == ("Folds flat. Holds 110 kg.", True)
    number = store.ids()[0]
    big = data.replace(b'"uid":"', b'"uid":"x')
    for change in (
        lambda: store.rename(number, "new"),
        lambda: store.delete(number),
        lambda: history.import_bytes(store, big, "The file"),
        lambda: store.fork(number, 1),
    ):
        with pytest.raises(StoreError, match=r"Cannot save conversations in .* full"):
            change()
    assert [entry.title for entry in store.latest()] == ["Canvas Stool, Blue"]
    assert len(store.search("floats")) == 1

    filler.unlink()
    assert await ask("Empty Shelf") != ("", True)
    assert session.conversation.id == number
    assert [turn.question for turn in store.open(number).turns] == [
        "Canvas Stool, Blue", "Canvas Stool, Green", "Empty Shelf",
    ]  # fmt: skip
    await resources.close()
    sound(small_disk / "data" / "conversations.db")


@pytest.mark.parametrize("left", [False, True], ids=["closed", "killed"])
async def test_a_read_only_disk_is_read(
    small_disk: Path, catalogue_dir: Path, monkeypatch: pytest.MonkeyPatch, *, left: bool
) -> None:
    monkeypatch.setenv("BALCAO_HOME", str(small_disk))
    file = small_disk / "data" / "conversations.db"
    with closing(ConversationStore(file)) as store:
        number = said_in(store, Conversation(), "first", "a lighthouse")
        beside = {path: path.read_bytes() for path in file.parent.glob("*.db-*")}
    if left:  # the files that a killed program leaves with its database
        for path, held in beside.items():
            path.write_bytes(held)
    remount = ["mount", "-o", "remount,ro", str(small_disk)]
    await asyncio.to_thread(subprocess.run, remount, check=True)
    chosen = settings.load(Path("none"), {}, {"catalogue": catalogue_dir})
    resources = opening.open_resources(chosen)
    assert resources.not_saving is not None
    assert "Cannot save" in resources.not_saving.message
    store = resources.store  # type: ignore[assignment]
    assert store is not None
    assert [entry.id for entry in store.search("lighthouse")] == [number]
    assert store.open(number).turns[0].answer is not None
    for change in (
        lambda: store.rename(number, "new"),
        lambda: store.delete(number),
        lambda: store.fork(number, 1),
        lambda: store.begin(Conversation(), "q", ANSWER),
        lambda: store.add([]),
    ):
        with pytest.raises(StoreError, match="Cannot save"):
            change()
    assert store.undelete() is None
    await resources.close()
