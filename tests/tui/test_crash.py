"""A crash is reported in a sentence, without values of variables."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine.config import paths, settings
from tui.app import BalcaoApp


async def test_a_crash_report_has_no_values(capsys: pytest.CaptureFixture[str]) -> None:
    class Broken(BalcaoApp):
        def on_ready(self) -> None:
            secret = "sk-canary-" + "1234"
            raise ValueError(len(secret))

    app = Broken(settings.load(Path("none"), {}))
    with pytest.raises(ValueError, match="14"):
        async with app.run_test():
            pass
    report = paths.crash_file().read_text()
    said = capsys.readouterr()
    assert "ValueError: 14" in report
    assert "sk-canary-1234" not in report + said.out + said.err
    assert "because of a bug in it" in " ".join((said.out + said.err).split())


async def test_a_crash_report_has_no_key_in_its_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Broken(BalcaoApp):
        def on_ready(self) -> None:
            raise ValueError(f"shop-0123 at {os.environ['HTTPS_PROXY']}, KEPT-0123, tabled-0123")

    monkeypatch.setenv("SHOP_API_KEY", "shop-0123")
    monkeypatch.setenv("HTTPS_PROXY", "http://me:hunter%32%32@proxy.example:3128")
    paths.config_dir().mkdir(parents=True)
    paths.keys_file().write_text('[keys]\nOTHER = "kept-0123"\n')
    paths.keys_file().chmod(0o600)
    paths.settings_file().write_text('# base_url = "http://me:tabled-0123@models.example"')
    app = Broken(settings.load(Path("none"), {}))
    with pytest.raises(ValueError, match="shop-0123"):
        async with app.run_test():
            pass
    said = capsys.readouterr()
    report = paths.crash_file().read_text() + said.out + said.err
    assert "ValueError: … at http://me:…@proxy.example:3128, …, …" in report
    assert "because of a bug in it" in " ".join(report.split())
