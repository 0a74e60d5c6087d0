"""Copying: programs are tried in turn and read back; a file is the last resort."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from engine.config import paths
from tests.conftest import ROWS
from tests.tui.driving import ask, chat, until
from tui.clipboard import copy

TEXT = "Folds flat — “and” floats.\nÁgua\n"
# Copies stdin to a file, or prints that file.
KEEPS = """#!/bin/sh
case "$*" in *out*|*show*) cat "{folder}/kept";; *) cat > "{folder}/kept";; esac
"""
FORGETS = "#!/bin/sh\ncat > /dev/null\n"


def program(folder: Path, name: str, script: str) -> dict[str, str]:
    file = folder / name
    file.write_text(script.format(folder=folder))
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    return {"PATH": f"{folder}:{os.environ['PATH']}"}


def test_tmux_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environ = program(tmp_path, "tmux", KEEPS) | {"TMUX": "/tmp/socket,1,0", "DISPLAY": ":0"}  # noqa: S108 - tmux's own form
    monkeypatch.setenv("PATH", environ["PATH"])
    assert copy(TEXT, environ) == "tmux's buffer"
    assert (tmp_path / "kept").read_text() == TEXT


def test_a_program_that_lost_the_text_is_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path, "tmux", FORGETS)
    environ = program(tmp_path, "xclip", KEEPS) | {"TMUX": "x", "DISPLAY": ":0"}
    monkeypatch.setenv("PATH", environ["PATH"])
    assert copy(TEXT, environ) == "the clipboard"


def test_without_any_program_the_place_is_empty(tmp_path: Path) -> None:
    assert copy(TEXT, {"PATH": str(tmp_path), "TMUX": "x", "DISPLAY": ":0"}) == ""


async def test_f8_copies_the_last_answer_also_to_a_file(
    catalogue_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TMUX", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    copied = paths.data_dir() / "copied.txt"
    async with chat(catalogue_dir) as pilot:
        await pilot.press("f8")
        assert not copied.exists()
        await ask(pilot, "Canvas Stool, Blue")
        await pilot.press("f8")
        await until(copied.exists)
        await until(lambda: copied.read_text() == ROWS[4][2])
        assert pilot.app.clipboard == ROWS[4][2]

        await ask(pilot, 'café tokyo "nights"')
        await pilot.press("f4", "o", "c")
        await until(lambda: copied.read_text() == "Jazz at 2 a.m.&#8212;and rain.")
