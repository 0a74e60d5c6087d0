"""A crash is reported in a sentence, without values of variables."""

from __future__ import annotations

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
    assert "mistake of its own" in " ".join((said.out + said.err).split())
