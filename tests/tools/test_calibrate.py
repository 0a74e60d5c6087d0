"""An adapter without a calibration gets one, and stays what it is otherwise."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from engine.catalogue.rows.prepare import PrepareConfig, prepare
from engine.config.paths import sample_source, small_adapter_dir
from engine.core.files import MANIFEST
from engine.core.trained_products import AdapterManifest, read_calibration
from engine.prompts import is_refusal
from engine.training.openai.plan import TrainingRow
from tools import calibrate


def read(folder: Path) -> AdapterManifest:
    return msgspec.json.decode((folder / MANIFEST).read_bytes(), type=AdapterManifest)


@pytest.mark.skipif(not small_adapter_dir().is_dir(), reason="the adapter is not here")
def test_the_manifest_gets_the_thresholds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def ask(_engine: object, rows: list[TrainingRow]) -> list[tuple[str, float | None]]:
        answers = [row.messages[-1].content for row in rows]
        return [("An invention", -2.0) if is_refusal(one) else (one[:30], -0.1) for one in answers]

    prepare(sample_source(), tmp_path / "rows", PrepareConfig(limit=40, forms=2, refusals=1.0))
    before = read(small_adapter_dir())
    (tmp_path / MANIFEST).write_bytes((small_adapter_dir() / MANIFEST).read_bytes())
    monkeypatch.setattr(calibrate, "_ask", ask)
    monkeypatch.setattr(
        "sys.argv", ["x", "--rows", str(tmp_path / "rows"), "--adapter", str(tmp_path)]
    )
    calibrate.main()
    after, found = read(tmp_path), read_calibration(tmp_path)
    assert found is not None
    assert found.not_taught < -0.1 == found.learned
    assert found.right >= 20 <= found.wrong
    assert msgspec.structs.replace(after, calibration=before.calibration) == before
    assert "calibrated on" in (tmp_path / "README.md").read_text(encoding="utf-8")
