"""`balcao runs stop` also stops a run in several processes; `--detach` starts only one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from engine.training.runs.control import stop_run
from engine.training.runs.folder import last_checkpoint, step_of
from engine.training.runs.view import view_run
from scripts.train import main
from tests.engine.backends.llama.tiny import Tiny
from tests.engine.training.conftest import Runner, quick
from tests.engine.training.test_resume import samples, wait_for


def test_two_processes_stop_together_and_the_first_one_asked(
    runner: Runner, tiny: Tiny, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "lora"
    changes = quick("batch_size=1", "epochs=4000", "sample_every=5", "sample_rows=1")
    runner.start("--data", data, "--base", tiny.model, "--out", out, *changes, processes=2)
    wait_for(out / "checkpoints" / "checkpoint-10" / "whole")
    assert view_run(out).state == "running"
    stop_run(out)
    ended = runner.end()
    assert ended.status == 130, ended.log
    view = view_run(out)
    assert (view.state, view.step) == ("stopped", step_of(last_checkpoint(out)))
    found = samples(out)
    assert [step for step, _ in found[:2]] == [5, 10]
    assert len(found) == len({step for step, _ in found})
    assert len(re.findall("step 5: .* titles word for word", ended.log)) == 1
    assert len(re.findall("step 5: .* learned", ended.log)) == 1


def test_one_of_several_processes_does_not_detach(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    given = ["--data", str(tmp_path), "--base", "x", "--out", str(tmp_path / "lora"), "--detach"]
    assert main(given) == 2
    assert "nohup accelerate launch" in capsys.readouterr().err
