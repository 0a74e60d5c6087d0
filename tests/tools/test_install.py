"""The installer, without its steps."""

from __future__ import annotations

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
    assert install.main(["chat"]) == 1
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
