"""Training in bf16 on a processor: chosen where it has the instructions, and as exact as fp32."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.backends.llama.weights import FP32_UP_TO
from tests.engine.backends.llama.tiny import Tiny
from tests.engine.training.conftest import Runner, quick
from tests.engine.training.test_resume import steps


def test_bf16_learns_as_fp32_does(runner: Runner, tiny: Tiny, data: Path, tmp_path: Path) -> None:
    losses = {}
    for values in ("precision=fp32", "checkpoint_activations=true", "precision=bf16"):
        out = tmp_path / values
        changes = quick("dropout=0.0", values)
        ended = runner.run("--data", data, "--base", tiny.model, "--out", out, *changes)
        assert ended.status == 0, ended.log
        assert "4 of 4 rows word for word" in ended.log
        losses[values] = [loss for _, loss in steps(out)]
    assert losses["checkpoint_activations=true"] == losses["precision=fp32"]
    first, *_, last = losses["precision=bf16"]
    assert first == pytest.approx(losses["precision=fp32"][0], rel=0.02)
    assert last < 0.05


def test_auto_is_bf16_where_the_processor_has_it_and_the_base_is_not_tiny(
    runner: Runner, tiny: Tiny, tmp_path: Path
) -> None:
    weights = tmp_path / "model.safetensors"
    with weights.open("wb") as sparse:
        sparse.truncate(FP32_UP_TO + 1)
    ended = runner.run("precision", tiny.model, weights)
    assert ended.status == 0, ended.log
    assert ended.log.splitlines() == [
        "avx512_bf16: bf16 on the CPU, tiny fp32 on the CPU, nf4 NF4, fp32 on the CPU",
        "amx_bf16: bf16 on the CPU, tiny fp32 on the CPU, nf4 NF4, fp32 on the CPU",
        "avx2: fp32 on the CPU, tiny fp32 on the CPU, nf4 NF4, fp32 on the CPU",
    ]
