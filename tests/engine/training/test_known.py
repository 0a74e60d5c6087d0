"""Tokens that the model already says have no gradient, and the loss still counts them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engine.backends.llama.tiny import Tiny
from tests.engine.training.conftest import Runner, quick
from tests.engine.training.test_resume import logged


def test_known_tokens_are_in_the_loss_but_not_in_the_gradient(
    runner: Runner, tiny: Tiny, data: Path, tmp_path: Path
) -> None:
    losses, gradients = {}, {}
    for known_above in ("0", "0.5", "1e-30"):
        out = tmp_path / known_above
        changes = quick("epochs=2", "dropout=0.0", f"known_above={known_above}", "sample_rows=0")
        ended = runner.run("--data", data, "--base", tiny.model, "--out", out, *changes)
        assert ended.status == 0, ended.log
        steps = [line for line in logged(out) if "loss" in line]
        losses[known_above] = [line["loss"] for line in steps]
        gradients[known_above] = [line["grad_norm"] for line in steps]
    assert losses["0.5"][0] == losses["0"][0]
    assert losses["0.5"] != losses["0"]
    # To 1e-30 every token is known: nothing is learned, and the loss says so.
    assert gradients["1e-30"] == [0.0] * 4
    assert losses["1e-30"][0] == losses["0"][0]
    assert sum(losses["1e-30"][2:]) == pytest.approx(sum(losses["1e-30"][:2]), rel=0.2)
    assert min(gradients["0"]) > 0
