"""Locks, disk checks and the wording of files that cannot be read or written."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from engine.core import process
from engine.core.errors import BalcaoError, DataError, EngineUnavailable, UsageError
from engine.core.files import check_space, locked, nearest_parent, reading, writing

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
