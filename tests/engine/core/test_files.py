"""Locks, disk checks and the wording of files that cannot be read or written."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from engine.core import process
from engine.core.errors import BalcaoError, DataError, EngineUnavailable, UsageError
from engine.core.files import (
    Manifest,
    atomic_folder,
    check_space,
    folder_lock,
    locked,
    nearest_parent,
    read_manifest,
    reading,
    write_atomic,
    write_manifest,
    writing,
)

BUSY = UsageError("Another process is at work.", "Wait for it.")
HOLDER = """
import sys
from pathlib import Path
from engine.core.files import locked
with locked(Path(sys.argv[1])) as file:
    print("locked", flush=True)
    sys.stdin.readline()
"""


def test_a_lock_keeps_another_process_out(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder.lock"
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "locked\n"
        with pytest.raises(UsageError, match="at work"), locked(path, busy=BUSY):
            pass
        holder.communicate("\n")
    with locked(path, busy=BUSY):
        pass


def test_an_unreadable_file_is_named_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught, reading(tmp_path):
        tmp_path.read_bytes()
    assert caught.value.message == f"Cannot read {tmp_path}: Is a directory."
    file = tmp_path / "latin"
    file.write_bytes(b"\xe9")
    with pytest.raises(EngineUnavailable, match="UTF-8"), reading(file, EngineUnavailable, "x"):
        file.read_text(encoding="utf-8")
    with pytest.raises(UsageError), reading(file):
        raise BUSY


def test_an_unwritable_file_is_named_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(BalcaoError) as caught, writing(tmp_path):
        tmp_path.write_bytes(b"")
    assert caught.value.message == f"Cannot write {tmp_path}: Is a directory."
    assert caught.value.remedy


def test_the_disk_is_that_of_the_nearest_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "not" / "there"
    assert nearest_parent(out) == tmp_path
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=5_000_000))
    check_space(out, 5_000_000, "the model")
    with pytest.raises(BalcaoError, match="for the model: 6"):
        check_space(out, 6_000_000, "the model")


def test_memory_figures_are_plausible() -> None:
    assert 0 < process.available_memory() <= process.total_memory()
    used = process.used_memory()
    assert used is not None
    assert 0 < used <= process.memory_limit()
    assert process.memory_limit(2) <= process.memory_limit()
    assert process.used_memory(2**22 + 1) is None


def test_a_private_file_and_its_folders_are_the_users_alone(tmp_path: Path) -> None:
    file = tmp_path / "new" / "folder" / "keys"
    write_atomic(file, b"secret", private=True)
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (file.parents[1], file.parent, file)]
    assert modes == [0o700, 0o700, 0o600]
    file.chmod(0o644)
    write_atomic(file, b"secret", private=True)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_drafts_of_killed_processes_are_deleted(tmp_path: Path) -> None:
    file = tmp_path / "keys[1]"
    dead = tmp_path / f".keys[1].{2**22 + 1}.draft"
    alive = tmp_path / f".keys[1].{os.getppid()}.draft"
    dead.touch()
    alive.touch()
    write_atomic(file, b"new")
    assert not dead.exists()
    assert alive.exists()


def _publish(out: Path, text: str) -> None:
    with atomic_folder(out, "made") as draft:
        (draft / "text").write_text(text)
        write_manifest(draft, Manifest(kind="made", version=1, prompt_version=1))


_KILLED_BETWEEN_RENAMES = """
import os, signal, sys
from pathlib import Path
from tests.engine.core.test_files import _publish
move = Path.rename
def rename(path, target):
    move(path, target)
    os.kill(os.getpid(), signal.SIGKILL)
Path.rename = rename
_publish(Path(sys.argv[1]), "never")
"""


@pytest.fixture
def moved_away(tmp_path: Path) -> Path:
    """A folder whose old content a killed process has moved away, and nothing in its place."""
    out = tmp_path / "catalogue"
    _publish(out, "old")
    killed = subprocess.run([sys.executable, "-c", _KILLED_BETWEEN_RENAMES, out], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not out.exists()
    return out


def _folders(parent: Path) -> list[str]:
    return [path.name for path in parent.iterdir() if path.is_dir() or path.is_symlink()]


def test_a_folder_moved_away_by_a_killed_process_comes_back(moved_away: Path) -> None:
    with pytest.raises(RuntimeError), atomic_folder(moved_away, "made"):
        raise RuntimeError
    assert (moved_away / "text").read_text() == "old"
    assert _folders(moved_away.parent) == ["catalogue"]


def test_a_folder_moved_away_by_a_killed_process_is_replaced(moved_away: Path) -> None:
    _publish(moved_away, "new")
    assert (moved_away / "text").read_text() == "new"
    assert _folders(moved_away.parent) == ["catalogue"]


def test_a_folder_moved_away_is_not_replaced_by_another_kind(moved_away: Path) -> None:
    with pytest.raises(UsageError), atomic_folder(moved_away, "other"):
        raise AssertionError
    assert (moved_away / "text").read_text() == "old"


def test_links_that_were_left_are_deleted(tmp_path: Path) -> None:
    out = tmp_path / "catalogue"
    (tmp_path / ".catalogue.old-12345678").symlink_to(tmp_path / "nothing")
    _publish(out, "new")
    assert _folders(tmp_path) == ["catalogue"]


def test_a_link_to_a_folder_stays_one(tmp_path: Path) -> None:
    place, link = tmp_path / "disk" / "catalogue", tmp_path / "catalogue"
    place.parent.mkdir()
    _publish(place, "old")
    link.symlink_to(place)
    _publish(link, "new")
    assert link.is_symlink()
    assert folder_lock(link) == folder_lock(place)
    assert (place / "text").read_text() == "new"
    assert sorted(path.name for path in place.parent.iterdir() if path.is_dir()) == ["catalogue"]


@pytest.mark.parametrize("text", [b"[" * 100_000, b'{"kind": "\xff"}', b"{"])
def test_a_damaged_manifest_is_one_error(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "manifest.json").write_bytes(text)
    with pytest.raises(DataError):
        read_manifest(tmp_path)
