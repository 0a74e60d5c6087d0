"""A run is estimated before it starts, and the probe leaves no trace in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.core.errors import BalcaoError
from engine.training.estimate import MeasuredStep, estimate_run, expected_peak, single_row_error
from engine.training.recipe import Recipe
from tests.engine.backends.llama.tiny import Tiny
from tests.engine.training.conftest import Runner, quick, write_data
from tests.engine.training.test_resume import assert_same

_GB = 10**9


def measured(rows: int, *, held: float, peak: float = 0.0) -> MeasuredStep:
    """A step of rows of 100 tokens: 1 second, and 0.01 for each token."""
    return MeasuredStep(
        rows, 100 * rows, 1.0 + rows, round(held * _GB), round((peak or held) * _GB)
    )


def test_the_whole_batch_was_tried() -> None:
    tried = [measured(1, held=2.0), measured(2, held=3.0), measured(4, held=5.0, peak=5.5)]
    found = estimate_run(tried, Recipe(batch_size=4, epochs=3), [400, 200], 8 * _GB)
    assert found.seconds == pytest.approx(3 * (5.0 + 3.0))
    assert found.speed == pytest.approx(600 / 8.0)
    assert (found.peak, found.fits) == (5.5 * _GB, True)
    memory, time = found.lines()
    assert "about 5.5 GB of 8.0 GB available" in memory
    assert "about 24 s (8 s per epoch, 75 tokens/s)" in time
    assert list(found.lines(resumed=True)) == [memory]
    found.check()


def test_a_batch_that_will_not_fit_and_one_that_does() -> None:
    tried = [measured(1, held=2.0), measured(2, held=3.0)]
    assert expected_peak(tried, 4) == 5 * _GB
    recipe = Recipe(batch_size=8, accumulate=2)
    found = estimate_run(tried, recipe, [800], 4 * _GB)
    assert not found.fits
    assert found.peak == 9 * _GB
    with pytest.raises(BalcaoError, match=r"9\.0 GB.* 4\.0 GB.*`batch_size = 2`.*`accumulate = 8`"):
        found.check()


def test_what_was_held_before_does_not_hide_what_a_row_takes() -> None:
    flat = [measured(1, held=2.0, peak=2.1), measured(2, held=2.0, peak=2.6)]
    assert expected_peak(flat, 4) == round(3.6 * _GB)
    loading = [measured(1, held=2.0, peak=4.0), measured(2, held=3.5, peak=4.0)]
    assert expected_peak(loading, 4) == round(6.5 * _GB)


@pytest.mark.parametrize(
    ("recipe", "nf4", "words"),
    [
        (Recipe(batch_size=1), False, "checkpoint_activations = true"),
        (Recipe(batch_size=1, checkpoint_activations=True), False, 'quantization = "nf4"'),
        (Recipe(batch_size=1, checkpoint_activations=True), True, "smaller base"),
    ],
)
def test_what_is_left_when_one_row_does_not_fit(recipe: Recipe, nf4: bool, words: str) -> None:
    with pytest.raises(BalcaoError, match=words):
        raise single_row_error(recipe, nf4=nf4)


def test_the_probe_leaves_no_trace(
    runner: Runner, tiny: Tiny, data: Path, undisturbed: Path, tmp_path: Path
) -> None:
    out = tmp_path / "lora"
    ended = runner.run("--data", data, "--base", tiny.model, "--out", out, *quick(), "--no-probe")
    assert ended.status == 0, ended.log
    assert "memory    about" not in ended.log
    assert_same(out, undisturbed)


def test_a_dry_run_estimates_and_writes_nothing(
    runner: Runner, tiny: Tiny, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "lora"
    ended = runner.run("--data", data, "--base", tiny.model, "--out", out, *quick(), "--dry-run")
    assert ended.status == 0, ended.log
    assert "memory    about" in ended.log
    assert "time      about" in ended.log
    assert not list(tmp_path.iterdir())


def test_a_batch_too_large_is_refused_before_the_start(
    runner: Runner, tiny: Tiny, tmp_path: Path
) -> None:
    rows = {f"Clock {number}": "tick tock " * 100 for number in range(64)}
    data = write_data(tmp_path / "rows", rows)
    given = ["--data", str(data), "--base", str(tiny.model), "--out", str(tmp_path / "lora")]
    ended = runner.run("addresses", "300", *given, *quick("batch_size=64"))
    assert ended.status == 1, ended.log
    assert "The run does not fit into memory: it needs about" in ended.log
    assert "this was tried" in ended.log
    # Nothing was trained: the folder is as good as new.
    ended = runner.run(*given, *quick("batch_size=4", "epochs=0.1"), "--no-probe")
    assert ended.status == 0, ended.log
