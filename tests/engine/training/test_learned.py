"""A run is checked as it goes, ends once all is learned, and writes its best adapter."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import Any

import msgspec

from engine.core.files import read_manifest
from engine.training.runs.status import Check, read_status
from tests.engine.backends.llama.tiny import Tiny
from tests.engine.training.conftest import Runner, quick, with_pool
from tests.engine.training.test_resume import arguments, assert_same, logged, steps, wait_for

EARLY = "dropout=0.0", "epochs=60", "sample_every=5", "sample_rows=0", "stop_when_learned=true"


def checks(out: Path) -> list[Check]:
    return [msgspec.convert(line["check"], Check) for line in logged(out) if "check" in line]


def settings(out: Path) -> dict[str, Any]:
    return read_manifest(out).settings


def test_a_killed_run_ends_early_at_the_same_step(
    runner: Runner, tiny: Tiny, data: Path, tmp_path: Path
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    ended = runner.run(*arguments(tiny, data, whole, *EARLY))
    assert ended.status == 0, ended.log
    last = checks(whole)[-1]
    assert f"step {last.step}: 4 of 4 learned, held-out loss {last.held_out_loss:.2f}" in ended.log
    assert "Everything is learned" in ended.log
    assert last.all_learned
    assert len(steps(whole)) == last.step == settings(whole)["steps"] < 120
    assert settings(whole)["word_for_word"]["training"] == {"asked": 4, "right": 4}
    assert not any(one.all_learned for one in checks(whole)[:-1])

    pid = runner.start(*arguments(tiny, data, cut, *EARLY))
    wait_for(cut / "checkpoints" / "checkpoint-10" / "whole")
    (cut / "README.md").mkdir()  # if the signal is too late, the run cannot finish all the same
    os.kill(pid, signal.SIGKILL)
    runner.end()
    (cut / "README.md").rmdir()
    resumed = runner.run(*arguments(tiny, data, cut, *EARLY), "--resume")
    assert resumed.status == 0, resumed.log
    assert_same(cut, whole)
    assert checks(cut) == checks(whole)


def test_a_run_whose_few_refusals_teach_nothing_ends_once_the_rest_is_learned(
    runner: Runner, tiny: Tiny, data: Path, tmp_path: Path
) -> None:
    rows = with_pool(Path(shutil.copytree(data, tmp_path / "rows")), per_epoch=1)
    out = tmp_path / "lora"
    arguments = "--data", rows, "--base", tiny.model, "--out", out
    ended = runner.run(*arguments, *quick(*EARLY, "keep_best=true"))
    assert ended.status == 0, ended.log
    *_, before, last = checks(out)
    assert before.knows_all
    assert last.knows_all
    assert before.refused.right == last.refused.right == 0 < last.refused.asked
    assert last.all_learned
    assert settings(out)["steps"] == last.step < 120


def test_a_run_that_failed_after_its_early_end_does_not_train_again(
    runner: Runner, tiny: Tiny, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "lora"
    runner.start(*arguments(tiny, data, out, *EARLY))
    wait_for(out / "run.json")
    (out / "README.md").mkdir()  # so the card cannot be written
    assert runner.end().status != 0
    assert checks(out)[-1].all_learned
    before = logged(out)
    (out / "README.md").rmdir()
    resumed = runner.run(*arguments(tiny, data, out, *EARLY), "--resume")
    assert resumed.status == 0, resumed.log
    assert logged(out) == before
    assert settings(out)["steps"] == checks(out)[-1].step
    assert settings(out)["word_for_word"]["training"] == {"asked": 4, "right": 4}


def test_the_best_adapter_is_written_not_the_last(
    runner: Runner, tiny: Tiny, data: Path, tmp_path: Path
) -> None:
    rows = with_pool(Path(shutil.copytree(data, tmp_path / "rows")), per_epoch=2)
    out = tmp_path / "lora"
    # The rate rises until the end, so that the adapter first learns and then breaks.
    changes = (
        "schedule=constant_with_warmup", "warmup=0.99", "learning_rate=0.2", "dropout=0.0",
        "sample_every=4",
    )  # fmt: skip
    ended = runner.run("--data", rows, "--base", tiny.model, "--out", out, *quick(*changes))
    assert ended.status == 0, ended.log
    found = checks(out)
    best = max(found, key=lambda one: one.rank)
    assert best.step < found[-1].step == 60
    assert f"The adapter of step {best.step} is the best" in ended.log
    assert settings(out)["steps"] == best.step
    assert settings(out)["word_for_word"]["training"]["right"] == best.learned.right
    assert settings(out)["refusals"]["invented"]["right"] >= best.refused.right
    status = read_status(out)
    assert status is not None
    assert status.check == found[-1]
