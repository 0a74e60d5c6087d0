"""Packed rows are learned like padded ones: none sees another."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engine.backends.llama.tiny import Tiny
from tests.engine.training.conftest import ANSWERS, Runner, quick, write_data
from tests.engine.training.test_resume import steps


def test_packed_rows_are_learned_as_padded_ones(runner: Runner, tiny: Tiny, tmp_path: Path) -> None:
    data = write_data(tmp_path / "rows", ANSWERS | {"Long": "tick tock " * 40, "A": "stone"})
    losses = []
    for packing in ("false", "true"):
        out = tmp_path / packing
        values = quick("dropout=0.0", "epochs=5", "batch_size=3", f"packing={packing}")
        ended = runner.run("--data", data, "--base", tiny.model, "--out", out, *values)
        assert ended.status == 0, ended.log
        losses.append([loss for _, loss in steps(out)])
    assert len(losses[0]) == 10
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
    assert losses[1][0] == pytest.approx(losses[0][0], rel=1e-6)
