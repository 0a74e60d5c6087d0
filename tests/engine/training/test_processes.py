"""Several processes (gloo, on this CPU) learn what one does; the first prints and writes."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from engine.core.files import read_manifest
from engine.training.processes import Processes
from tests.engine.backends.llama.tiny import Tiny
from tests.engine.training.conftest import ANSWERS, Runner, quick, with_pool, write_data
from tests.engine.training.test_resume import assert_same, steps, wait_for

_MORE = {"Stool": "Step 3 of stone.", "Apron": "tick of stone", "Clerk": "I am the clerk."}


@pytest.fixture(scope="module")
def seven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows that do not come out even: the last of two processes has a batch of none."""
    return write_data(tmp_path_factory.mktemp("seven"), ANSWERS | _MORE)


@pytest.fixture(scope="module")
def two(
    runner: Runner, tiny: Tiny, seven: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str]:
    """Return the output folder and the log of two processes."""
    out = tmp_path_factory.mktemp("two") / "lora"
    ended = runner.run(*arguments(tiny, seven, out), processes=2)
    assert ended.status == 0, ended.log
    return out, ended.log


def arguments(tiny: Tiny, data: Path, out: Path, *changes: str) -> list[str | Path]:
    given = quick("dropout=0.0", "epochs=10", "batch_size=1", "accumulate=2", *changes)
    return ["--data", data, "--base", tiny.model, "--out", out, *given]


@pytest.mark.parametrize("grouped", ["false", "true"])
def test_two_processes_learn_what_one_does(
    runner: Runner, tiny: Tiny, seven: Path, tmp_path: Path, two: tuple[Path, str], grouped: str
) -> None:
    one, other, data = tmp_path / "one", two[0], seven
    if grouped == "true":  # and three of seven rows an epoch come from a pool
        data = with_pool(write_data(tmp_path / "rows", ANSWERS), per_epoch=3)
    whole = [f"length_grouped={grouped}", "batch_size=2"]
    assert runner.run(*arguments(tiny, data, one, *whole)).status == 0
    if grouped == "true":
        other = tmp_path / "two"
        given = arguments(tiny, data, other, whole[0])
        assert runner.run(*given, processes=2).status == 0
    assert len(steps(one)) == 20
    for (step, loss), (other_step, other_loss) in zip(steps(one), steps(other), strict=True):
        assert step == other_step
        assert other_loss == pytest.approx(loss, rel=1e-3)
    assert steps(one)[0][1] == pytest.approx(steps(other)[0][1], rel=1e-6)


def test_one_process_speaks_and_writes(two: tuple[Path, str]) -> None:
    out, log = two
    assert log.count("7 answers to learn") == 1
    assert "processes 2, each with the whole model" in log
    assert log.count("memory    about") == 1
    assert log.count("rows word for word") == 1
    assert [step for step, _ in steps(out)] == list(range(1, 21))
    made = read_manifest(out)
    assert made.settings["processes"] == 2
    assert made.settings["word_for_word"]["training"]["asked"] == 4
    assert not (out / "checkpoints").exists()


def test_two_killed_processes_come_to_the_same_adapter(
    runner: Runner, tiny: Tiny, seven: Path, tmp_path: Path, two: tuple[Path, str]
) -> None:
    out = tmp_path / "lora"
    given = arguments(tiny, seven, out)
    pid = runner.start(*given, processes=2)
    wait_for(out / "checkpoints" / "checkpoint-10" / "whole")
    os.kill(pid, signal.SIGKILL)
    killed = runner.end()
    assert killed.status == -signal.SIGKILL
    assert "The connection to another process of this run was lost" in killed.log
    alone = runner.run(*given, "--resume")
    assert alone.status == 2
    assert "different processes" in alone.log
    resumed = runner.run(*given, "--resume", processes=2)
    assert resumed.status == 0, resumed.log
    assert_same(out, two[0])


def test_what_is_wrong_is_said_once(runner: Runner, tiny: Tiny, seven: Path) -> None:
    ended = runner.run(*arguments(tiny, seven, seven), processes=2)
    assert ended.status == 2
    assert ended.log.count("is not empty") == 1


def test_the_launcher_tells_which_process_this_is() -> None:
    assert Processes.here({}) == Processes()
    torchrun = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "ACCELERATE_USE_FSDP": "true"}
    assert Processes.here(torchrun) == Processes(3, 4, 1, 4, sharded=True)
    two_machines = torchrun | {"LOCAL_WORLD_SIZE": "2"}
    assert Processes.here(two_machines).local_count == 2
    mpi = {"PMI_RANK": "1", "PMI_SIZE": "2", "MPI_LOCALRANKID": "1"}
    assert Processes.here(mpi) == Processes(1, 2, 1, 2)
    assert not Processes.here(mpi).first
