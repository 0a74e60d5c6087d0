"""Memory runs out during a real run: the error names the batch and how to resume with less."""

from __future__ import annotations

import os
import re
import shlex
import signal
import sys
from pathlib import Path

import pytest

from engine.core import process
from engine.core.errors import BalcaoError
from engine.training.failures import StepOutOfMemory, explain_errors
from engine.training.recipe import Recipe, changed_values, smaller_batch
from engine.training.runs.display import next_step
from engine.training.runs.folder import last_checkpoint, step_of
from engine.training.runs.view import view_run
from tests.engine.backends.llama.tiny import Tiny
from tests.engine.training.conftest import Runner, quick, write_data
from tests.engine.training.test_resume import steps, wait_for

_LIMITED = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux holds a process to a limit of its addresses"
)
_MEGABYTES = "350"
"""Enough for a batch of short rows, too little for one with the long row."""
_ROWS, _BATCH, _SEED = 64, 32, 2
"""In the order that is drawn from it the last row is not in the first batch."""


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Many short rows and a long one."""
    rows = {f"Clock {number}": "tick tock" for number in range(_ROWS - 1)}
    return write_data(tmp_path_factory.mktemp("uneven"), {**rows, "Tower": "tick tock " * 270})


@_LIMITED
def test_memory_that_runs_out_in_mid_run_is_done_with_less(
    runner: Runner, tiny: Tiny, uneven: Path, tmp_path: Path
) -> None:
    whole, out = tmp_path / "whole", tmp_path / "lora"
    changes = quick("dropout=0.0", "epochs=2", f"batch_size={_BATCH}", "save_every=1",
                    "score_rows=1", "sample_rows=0", f"seed={_SEED}")  # fmt: skip
    base: list[str | Path] = ["--data", uneven, "--base", tiny.model]
    given: list[str | Path] = [*base, "--no-probe", *changes, "--out"]
    assert runner.run(*given, whole).status == 0
    ended = runner.run("addresses", _MEGABYTES, *given, out)
    assert ended.status == 1, ended.log
    found = re.search(r"Memory ran out at step (\d+), with 32 rows of (\d+) tokens", ended.log)
    assert found, ended.log
    step, longest = map(int, found.groups())
    assert step > 1
    assert longest > 500
    assert step_of(last_checkpoint(out)) == step - 1
    assert f"it continues from step {step - 1}." in ended.log
    assert view_run(out).state == "failed"
    assert "Memory ran out at step" in view_run(out).error
    tries = 0
    while ended.status == 1:
        advice = re.search(r"`(--resume --set [^`]+)`", ended.log)
        assert advice, ended.log
        tries += 1
        assert tries < 6
        ended = runner.run("addresses", _MEGABYTES, *given, out, *shlex.split(advice[1]))
    assert ended.status == 0, ended.log
    assert [step for step, _ in steps(out)] == [1, 2, 3, 4]
    for (_, loss), (_, other) in zip(steps(whole), steps(out), strict=True):
        assert other == pytest.approx(loss, rel=1e-3)


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        (Recipe(batch_size=6, accumulate=2), "`--resume --set batch_size=3 --set accumulate=4`"),
        (Recipe(batch_size=5), "`--resume --set batch_size=1 --set accumulate=5`"),
        (Recipe(batch_size=1), "`--resume --set checkpoint_activations=true`"),
        (Recipe(batch_size=1, checkpoint_activations=True), "lower `max_length`"),
    ],
)
def test_what_takes_less(tmp_path: Path, recipe: Recipe, words: str) -> None:
    (tmp_path / "run.json").touch()
    with pytest.raises(BalcaoError) as raised, explain_errors(recipe, tmp_path):
        raise StepOutOfMemory(3, recipe.batch_size, 600)
    assert words in str(raised.value)
    assert "starts again, since nothing was saved yet" in str(raised.value)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:132] DefaultCPUAllocator: can't allocate memory"
        ),
        RuntimeError("NCCL error: unhandled cuda error, Cuda failure 2 'out of memory'"),
        MemoryError(),
    ],
)
def test_memory_that_runs_out_between_steps(tmp_path: Path, error: Exception) -> None:
    saved = tmp_path / "checkpoints" / "checkpoint-7"
    saved.mkdir(parents=True)
    (saved / "whole").touch()
    (tmp_path / "run.json").touch()
    words = r"Memory ran out.* With --resume the run continues from step 7\."
    with pytest.raises(BalcaoError, match=words), explain_errors(Recipe(), tmp_path):
        raise error


def test_what_may_change_when_a_run_goes_on() -> None:
    recipe = Recipe(batch_size=8, accumulate=3)
    assert smaller_batch(recipe, 7) == (6, 4)
    assert not changed_values(
        recipe, Recipe(batch_size=6, accumulate=4, checkpoint_activations=True)
    )
    assert changed_values(recipe, Recipe(batch_size=4, accumulate=3))
    assert changed_values(recipe, Recipe(batch_size=8, accumulate=3, max_length=100))


@pytest.mark.parametrize(
    ("own", "root", "limit", "used", "prefix"),
    [
        ("0::/box/run\n", ".", "memory.max", "memory.current", ""),
        ("4:memory:/box/run\n0::/\n", "memory", "memory.limit_in_bytes",
         "memory.usage_in_bytes", "total_"),
    ],
)  # fmt: skip
def test_what_the_groups_leave(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    own: str,
    root: str,
    limit: str,
    used: str,
    prefix: str,
) -> None:
    (tmp_path / "own").write_text(own, encoding="ascii")
    monkeypatch.setattr(process, "_OWN", tmp_path / "own")
    monkeypatch.setattr(process, "_GROUPS", tmp_path)
    assert list(process._left_in_groups()) == []
    for name, most in (("box", "1000"), ("box/run", "5000")):
        group = tmp_path / root / name
        group.mkdir(parents=True, exist_ok=True)
        (group / limit).write_text(f"{most}\n", encoding="ascii")
        (group / used).write_text("800\n", encoding="ascii")
        stat = f"shmem 90\n{prefix}inactive_file 70\n{prefix}active_file 30\n"
        (group / "memory.stat").write_text(stat, encoding="ascii")
    assert list(process._left_in_groups()) == [4300, 300]


def test_a_run_that_was_killed_may_have_been_so_for_want_of_memory(
    runner: Runner, tiny: Tiny, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "lora"
    given: list[str | Path] = ["--data", data, "--base", tiny.model, "--out", out, *quick()]
    pid = runner.start(*given)
    wait_for(out / "checkpoints" / "checkpoint-10" / "whole")
    os.kill(pid, signal.SIGKILL)
    runner.end()
    view = view_run(out)
    assert view.state == "killed"
    assert "possibly out of memory" in next_step(view)
    # The memory is measured again before it resumes: it may have been the cause.
    resumed = runner.run(*given, "--resume")
    assert resumed.status == 0, resumed.log
    assert resumed.log.count("memory    about") == 1
    assert "time      about" not in resumed.log
