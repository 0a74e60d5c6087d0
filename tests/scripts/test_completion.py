"""Completion scripts, in the shells that are installed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from scripts import cli, completion
from tests.test_imports import loaded_after

pytest.importorskip("shtab")


def script(shell: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert completion.main([shell]) == 0
    file = folder / f"balcao.{shell}"
    file.write_text(capsys.readouterr().out, encoding="utf-8")
    return file


def completed(file: Path, *words: str) -> list[str]:
    """Return what bash offers for the last word."""
    code = 'source "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _shtab_balcao; '
    code += "printf '%s\\n' \"${COMPREPLY[@]}\""
    called = ["bash", "--norc", "-c", code, str(file), "balcao", *words]
    return subprocess.run(called, capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_a_shell_can_read_its_script(
    shell: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell}")
    subprocess.run([shell, "-n", script(shell, tmp_path, capsys)], check=True)


def test_bash_completes_commands_options_and_actions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = script("bash", tmp_path, capsys)
    assert set(completed(file, "")) >= set(cli.COMMANDS)
    assert completed(file, "ev") == ["evaluate"]
    assert completed(file, "train", "--rec") == ["--recipe"]
    assert completed(file, "models", "p") == ["pull"]
    assert completed(file, "runs", "fo") == ["follow"]


def test_nothing_else_loads_the_library() -> None:
    assert "shtab" not in loaded_after("import scripts.cli, scripts.ask, scripts.runs, tui.app")
