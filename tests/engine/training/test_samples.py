"""Samples during a run: their content, their files, their frequency."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.training.runs.status import Score, read_status
from tests.engine.backends.llama.tiny import Tiny
from tests.engine.training.conftest import ANSWERS, Runner, quick


@pytest.fixture(scope="module")
def sampled(
    runner: Runner, tiny: Tiny, data: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str]:
    """A run with a sample every 8 of 40 steps, that TensorBoard hears of, and what it printed."""
    out = tmp_path_factory.mktemp("sampled") / "lora"
    changes = quick("sample_every=8", "sample_rows=2", "dropout=0.0", 'report_to=["tensorboard"]')
    given: list[str | Path] = ["--data", data, "--base", tiny.model, "--out", out, "--json"]
    ended = runner.run(*given, *changes)
    assert ended.status == 0, ended.log
    return out, ended.log


def samples(out: Path) -> list[dict[str, Any]]:
    lines = (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [line for line in map(json.loads, lines) if "samples" in line]


def test_training_and_held_out_rows_are_asked(sampled: tuple[Path, str]) -> None:
    found = samples(sampled[0])
    assert [line["step"] for line in found] == [8, 16, 24, 32]
    for line in found:
        asked = line["samples"]["training"]
        assert [one["wanted"] for one in asked] == [ANSWERS["Lighthouse"], ANSWERS["Counter"]]
        assert asked[0]["question"] == "Tell me about Lighthouse."
        assert [one["right"] for one in asked] == [
            one["said"].split() == one["wanted"].split() for one in asked
        ]
        right = sum(one["right"] for one in asked)
        assert line["word_for_word"]["training"] == {"asked": 2, "right": right}
        assert line["word_for_word"]["held_out"] == {"asked": 1, "right": 0}
    # The answers change as the model learns.
    said = [[one["said"] for one in line["samples"]["training"]] for line in found]
    assert said[0] != said[-1]


def test_a_sample_is_told_and_does_not_touch_the_log_of_losses(sampled: tuple[Path, str]) -> None:
    out, log = sampled
    for line in samples(out):
        right = line["word_for_word"]["training"]["right"]
        words = f"{right} of 2 training and 0 of 1 held-out titles word for word"
        assert f"step {line['step']}: {words}" in log.splitlines()


def test_the_lines_of_the_metrics_are_printed_and_the_result(sampled: tuple[Path, str]) -> None:
    out, log = sampled
    *printed, result = [line for line in log.splitlines() if line.startswith("{")]
    assert printed == (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert any("check" in json.loads(line) for line in printed)
    found = json.loads(result)
    assert (found["adapter"], found["steps"]) == (str(out), 40)
    assert found["word_for_word"]["training"]["asked"] == 4


def test_the_status_at_the_end_has_the_last_scores(sampled: tuple[Path, str]) -> None:
    out, _ = sampled
    status = read_status(out)
    assert status is not None
    assert (status.phase, status.step, status.steps) == ("done", 40, 40)
    assert status.word_for_word["training"].asked == 4
    assert status.word_for_word["held_out"] == Score(1, 0)
    assert status.loss == losses(out)[-1]


def test_tensorboard_has_the_losses(sampled: tuple[Path, str]) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    out, _ = sampled
    events = EventAccumulator(str(out / "tensorboard"))
    events.Reload()
    assert [event.value for event in events.Scalars("train/loss")] == pytest.approx(losses(out))
    checks = [line["check"] for line in map(json.loads, metrics(out)) if "check" in line]
    held_out = [event.value for event in events.Scalars("eval/loss")]
    assert held_out == pytest.approx([one["held_out_loss"] for one in checks])
    assert [one["step"] for one in checks] == [8, 16, 24, 32, 40]


def metrics(out: Path) -> list[str]:
    return (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()


def losses(out: Path) -> list[float]:
    return [line["loss"] for line in map(json.loads, metrics(out)) if "loss" in line]
