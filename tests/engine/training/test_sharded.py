"""FSDP with the shipped configuration: two processes, each with half of the model."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from engine.core.files import read_manifest
from engine.training.runs.folder import last_checkpoint, step_of
from tests.engine.backends.llama.tiny import Tiny
from tests.engine.training.conftest import ANSWERS, Runner, quick, write_data
from tests.engine.training.test_resume import assert_same, samples, steps, wait_for

_MORE = {"Stool": "Step 3 of stone.", "Apron": "tick of stone", "Clerk": "I am the clerk."}
_ADAPTER = "adapter_model.safetensors"


@pytest.fixture(scope="module")
def seven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows that do not come out even."""
    return write_data(tmp_path_factory.mktemp("seven"), ANSWERS | _MORE)


@pytest.fixture(scope="module")
def sharded(
    runner: Runner, tiny: Tiny, seven: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Return the output folder of two processes with half of the model each."""
    out = tmp_path_factory.mktemp("sharded") / "lora"
    ended = runner.run("sharded", *arguments(tiny, seven, out), processes=2)
    assert ended.status == 0, ended.log
    assert "processes 2, the model sharded over them" in ended.log
    assert ended.log.count("rows word for word") == 1
    assert ended.log.count("0.500 of the model is here") == 2
    return out


def arguments(tiny: Tiny, data: Path, out: Path, *changes: str) -> list[str | Path]:
    given = quick("dropout=0.0", "epochs=10", "batch_size=1", "accumulate=2", "sample_every=8")
    more = [word for change in changes for word in ("--set", change)]
    return ["--data", data, "--base", tiny.model, "--out", out, *given, *more]


def test_it_learns_what_one_process_does(
    runner: Runner, tiny: Tiny, seven: Path, tmp_path: Path, sharded: Path
) -> None:
    one = tmp_path / "one"
    ended = runner.run(*arguments(tiny, seven, one, "batch_size=2"))
    assert ended.status == 0, ended.log
    assert [step for step, _ in steps(sharded)] == list(range(1, 21))
    for (_, loss), (_, other) in zip(steps(one), steps(sharded), strict=True):
        assert other == pytest.approx(loss, rel=1e-3)
    assert steps(one)[0][1] == pytest.approx(steps(sharded)[0][1], rel=1e-6)
    assert samples(sharded) == samples(one)
    assert read_manifest(sharded).settings["processes"] == 2


def test_the_adapter_is_whole(
    runner: Runner, tiny: Tiny, seven: Path, tmp_path: Path, sharded: Path
) -> None:
    one = tmp_path / "one"
    # Half the steps: it is the shapes that count.
    ended = runner.run(*arguments(tiny, seven, one, "batch_size=2", "epochs=1"))
    assert ended.status == 0, ended.log
    shapes = {name: (found.shape, found.dtype) for name, found in load_file(one / _ADAPTER).items()}
    found = load_file(sharded / _ADAPTER)
    assert {name: (one.shape, one.dtype) for name, one in found.items()} == shapes
    assert all(weights.any() for weights in found.values())
    assert not (sharded / "checkpoints").exists()


def test_a_killed_run_comes_to_the_same_adapter(
    runner: Runner, tiny: Tiny, seven: Path, tmp_path: Path, sharded: Path
) -> None:
    out = tmp_path / "lora"
    given = ["sharded", *arguments(tiny, seven, out)]
    pid = runner.start(*given, processes=2)
    wait_for(out / "checkpoints" / "checkpoint-10" / "whole")
    os.kill(pid, signal.SIGKILL)
    assert runner.end().status == -signal.SIGKILL
    assert step_of(last_checkpoint(out)) >= 10
    resumed = runner.run(*given, "--resume", processes=2)
    assert resumed.status == 0, resumed.log
    assert_same(out, sharded)


def test_half_as_large_and_computed_twice(
    runner: Runner, tiny: Tiny, seven: Path, tmp_path: Path
) -> None:
    out = tmp_path / "lora"
    changes = "saved_in=bf16", "checkpoint_activations=true", "packing=true", "epochs=2"
    ended = runner.run("sharded", *arguments(tiny, seven, out, *changes), processes=2)
    assert ended.status == 0, ended.log
    assert (out / _ADAPTER).exists()


def test_where_accelerate_does_not_shard_it_is_not_said_to(
    runner: Runner, tiny: Tiny, seven: Path, tmp_path: Path
) -> None:
    ended = runner.run("launched", *arguments(tiny, seven, tmp_path / "lora"), processes=2)
    assert ended.status == 2
    assert ended.log.count("shards a model only over GPUs") == 1
    assert "data_parallel.yaml" in ended.log
