"""Keep the noise of libraries off the terminal; name the command that installs what is missing."""

from __future__ import annotations

import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from engine.core import process
from engine.core.process import install_command, reinstall_command

_CODE = """
import os, sys
from engine.core.process import quiet_libraries
with quiet_libraries():
    os.write(2, b"noise\\n")
    print("drawn", file=sys.__stderr__)
    print("said", file=sys.stderr)
os.write(2, b"afterwards\\n")
"""


def test_what_libraries_write_to_stderr_is_not_seen() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", _CODE], capture_output=True, text=True, check=True
    )
    assert ended.stderr.split() == ["drawn", "said", "afterwards"]


def test_an_installed_program_takes_its_extras_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "_ROOT", tmp_path)
    monkeypatch.setattr(sys, "executable", "/a folder/python")
    pip = ["/a folder/python", "-m", "pip", "install"]
    assert shlex.split(install_command()) == [*pip, "balcao"]
    assert install_command("train") == "'/a folder/python' -m pip install 'balcao[train]'"


def test_a_checkout_installs_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.setattr(process, "_ROOT", tmp_path)
    expected = ["-m", "pip", "install", "--editable", f"{tmp_path}[train]"]
    assert shlex.split(install_command("train"))[1:] == expected


def test_an_environment_made_by_make_is_extended_by_make(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.setattr(process, "_ROOT", tmp_path)
    monkeypatch.setattr(sys, "prefix", str(tmp_path / ".venv"))
    assert shlex.split(install_command("gpu")) == ["make", "-C", str(tmp_path), "gpu-env"]
    monkeypatch.chdir(tmp_path)
    assert install_command("train") == "make train-env"
    assert "pip install" in install_command("evaluate")


def test_a_broken_package_is_reinstalled_in_the_version_that_the_program_works_with(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ranges = ["xllamacpp<2026.11,>=2026.10", 'torch==2.13.0; extra == "gpu"', "torch-more>=1"]
    monkeypatch.setattr(metadata, "requires", lambda _: ranges)
    words = shlex.split(reinstall_command("xllamacpp", "torch", "other"))
    assert words[-3:] == ["xllamacpp<2026.11,>=2026.10", "torch==2.13.0", "other"]
