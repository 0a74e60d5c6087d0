"""A killed or stopped run resumes to the same adapter as an undisturbed one, bit by bit."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from engine.core.files import read_manifest
from engine.training.runs.folder import is_done, last_checkpoint, step_of
from tests.engine.backends.llama.tiny import Tiny
from tests.engine.training.conftest import Ended, Runner, quick, with_pool

_PATIENCE = 60.0


def arguments(tiny: Tiny, data: Path, out: Path, *changes: str) -> list[str | Path]:
    return ["--data", data, "--base", tiny.model, "--out", out, *quick(*changes)]


def wait_for(file: Path) -> None:
    began = time.monotonic()
    while not file.exists():
        assert time.monotonic() - began < _PATIENCE, f"{file} never came"
        time.sleep(0.005)


def logged(out: Path) -> list[dict[str, Any]]:
    lines = (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def steps(out: Path) -> list[tuple[int, float]]:
    return [(line["step"], line["loss"]) for line in logged(out) if "loss" in line]


def samples(out: Path) -> list[tuple[int, dict[str, Any]]]:
    return [(line["step"], line["samples"]) for line in logged(out) if "samples" in line]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_killed_run_comes_to_the_same_adapter(
    runner: Runner, tiny: Tiny, data: Path, tmp_path: Path, precision: str
) -> None:
    data = with_pool(Path(shutil.copytree(data, tmp_path / "rows")))
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    # transformers' own order of grouped rows changes on a resume. Only one run has samples: they
    # must not leave a trace.
    changes = "length_grouped=true", "epochs=10", "keep_best=false", f"precision={precision}"
    assert runner.run(*arguments(tiny, data, whole, *changes, "sample_rows=0")).status == 0
    assert samples(whole) == []
    given = arguments(tiny, data, cut, *changes, "sample_every=5")
    assert interrupted(runner, given, cut, signal.SIGKILL).status == -signal.SIGKILL
    assert not (cut / "manifest.json").exists()
    again = runner.run(*given)
    assert again.status == 2
    assert "--resume" in again.log
    resumed = runner.run(*given, "--resume")
    assert resumed.status == 0, resumed.log
    assert_same(cut, whole)
    assert [step for step, _ in samples(cut)] == [5, 10, 15, 20, 25, 30, 35]


def test_ctrl_c_saves_and_the_run_goes_on(
    runner: Runner, tiny: Tiny, data: Path, undisturbed: Path, tmp_path: Path
) -> None:
    out = tmp_path / "lora"
    ended = interrupted(runner, arguments(tiny, data, out), out, signal.SIGINT)
    assert ended.status == 130, ended.log
    assert f"stopped at step {step_of(last_checkpoint(out))}." in ended.log
    # Data, base and recipe are known from the beginning.
    resumed = runner.run("--resume", "--out", out)
    assert resumed.status == 0, resumed.log
    assert_same(out, undisturbed)


def test_a_finished_run_is_made_longer_and_may_be_killed(
    runner: Runner, undisturbed: Path, tmp_path: Path
) -> None:
    whole, cut = (Path(shutil.copytree(undisturbed, tmp_path / name)) for name in ("a", "b"))
    before = steps(whole)
    longer = ["--resume", "--epochs", "30", "--out"]
    ended = runner.run(*longer, whole)
    assert ended.status == 0, ended.log
    assert "resume    after step 40" in ended.log
    assert [step for step, _ in steps(whole)] == list(range(1, 61))
    assert steps(whole)[:40] == before
    assert max(loss for _, loss in steps(whole)[40:]) < before[0][1]
    rates = [line["learning_rate"] for line in logged(whole) if "loss" in line]
    assert rates[39] < rates[40] < max(rates)  # the cosine of 60 steps, where it is at step 41
    assert rates[59] < rates[40]
    manifest = read_manifest(whole)
    assert (manifest.settings["steps"], manifest.settings["recipe"]["epochs"]) == (60, 30)

    pid = runner.start(*longer, cut)
    wait_for(cut / "checkpoints" / "checkpoint-50" / "whole")
    assert not is_done(cut)
    os.kill(pid, signal.SIGKILL)
    runner.end()
    resumed = runner.run("--resume", "--out", cut)
    assert resumed.status == 0, resumed.log
    assert_same(cut, whole)


def interrupted(
    runner: Runner, given: list[str | Path], out: Path, number: signal.Signals
) -> Ended:
    """Start a run and send it a signal at its first checkpoint."""
    pid = runner.start(*given)
    wait_for(out / "checkpoints" / "checkpoint-10" / "whole")
    os.kill(pid, number)
    ended = runner.end()
    assert 10 <= step_of(last_checkpoint(out)) < 40
    return ended


def assert_same(out: Path, other: Path) -> None:
    name = "adapter_model.safetensors"
    assert (out / name).read_bytes() == (other / name).read_bytes()
    assert steps(out) == steps(other)
    assert not (out / "checkpoints").exists()


def test_another_recipe_is_not_gone_on_with(
    runner: Runner, tiny: Tiny, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "lora"
    pid = runner.start(*arguments(tiny, data, out))
    wait_for(out / "run.json")
    os.kill(pid, signal.SIGKILL)
    runner.end()
    other = runner.run(*arguments(tiny, data, out), "--resume", "--set", "alpha=16")
    assert other.status == 2
    assert "started with alpha 32.0 (now 16.0)" in other.log


def test_a_run_that_is_done_stays_as_it_is(
    runner: Runner, tiny: Tiny, data: Path, undisturbed: Path
) -> None:
    before = {file.name: file.stat().st_mtime_ns for file in undisturbed.iterdir()}
    ended = runner.run(*arguments(tiny, data, undisturbed), "--resume")
    assert ended.status == 0
    assert "word for word" in ended.log
    ended = runner.run(*arguments(tiny, data, undisturbed))
    assert ended.status == 2
    assert "has a finished run" in ended.log
    assert {file.name: file.stat().st_mtime_ns for file in undisturbed.iterdir()} == before
