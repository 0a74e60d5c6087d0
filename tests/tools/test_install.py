"""The installer, without its steps."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tools import install


@pytest.mark.parametrize(
    "index",
    [
        "http://packages.example/simple",
        "http://localhost.example/x",
        "ftp://a/b",
        "x",
        "http://[::1",
    ],
)
def test_an_index_that_others_can_change_is_refused(
    index: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TORCH_INDEX_URL", index)
    monkeypatch.setattr(install, "_run_step", lambda *_: pytest.fail("a step was run"))
    assert install.main(["train"]) == 1
    assert "TORCH_INDEX_URL" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("index", "named"),
    [
        ("https://me:secret@packages.example/cpu", "https://packages.example "),
        ("http://127.0.0.1:8080/simple", "http://127.0.0.1 "),
        ("file:///opt/packages", "file://this machine "),
    ],
)
def test_the_index_is_named_without_its_password(
    index: str, named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    install._check_index(index)
    said = capsys.readouterr().out
    assert f"PyTorch comes from {named}" in said
    assert "secret" not in said


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """The titles of the steps, none of which is run."""
    titles: list[str] = []
    monkeypatch.setattr(install, "_run_step", lambda title, _: titles.append(title))
    monkeypatch.setattr(install, "VENV", tmp_path)
    monkeypatch.setattr(install, "_has_nvidia", lambda: False)
    return titles


def test_without_a_gpu_the_chat_needs_no_torch(steps: list[str]) -> None:
    assert install.main(["chat"]) == 0
    assert "PyTorch" not in " ".join(steps)
    assert steps[1].endswith("Balcão and its packages")
    assert steps[-1].endswith("model smollm2")


def test_with_a_gpu_torch_comes_first(steps: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install, "_has_nvidia", lambda: True)
    assert install.main(["chat"]) == 0
    assert [title.partition("] ")[2] for title in steps[1:3]] == [
        "PyTorch", "Balcão and its packages [gpu]"
    ]  # fmt: skip


@pytest.mark.parametrize(("purpose", "extra"), [("train", "[train,evaluate]"), ("test", "[dev]")])
def test_training_and_the_checks_need_torch_without_a_gpu_too(
    purpose: str, extra: str, steps: list[str]
) -> None:
    assert install.main([purpose]) == 0
    assert steps[1].endswith("PyTorch")
    assert steps[2].endswith(extra)


@pytest.mark.parametrize("status", [0, 1])
def test_a_model_that_cannot_be_downloaded_does_not_stop_the_chat(
    status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[list[str]] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[bytes]:
        asked.append(command)
        return subprocess.CompletedProcess(command, status)

    monkeypatch.setattr(subprocess, "run", run)
    install._pull_model()
    assert asked[0][-3:] == ["models", "pull", "smollm2"]
    said = capsys.readouterr().out
    assert ("balcao models pull smollm2" in said) is bool(status)
