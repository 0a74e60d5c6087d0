"""Sort, compare and remove runs, without a model."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.training.recipe import Recipe
from engine.training.runs.folder import MetricsWriter, RunInputs, write_inputs
from engine.training.runs.view import list_runs
from scripts.cli import main
from tests.engine.training.runs.test_runs import finished, running


def logged(out: Path, losses: list[float]) -> Path:
    """A finished run with a line for each step."""
    finished(out)
    metrics = MetricsWriter(out, 0)
    for step, loss in enumerate(losses, 1):
        metrics.add({"step": step, "loss": loss})
    return out


def test_runs_are_sorted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("beta", "alpha"):
        finished(tmp_path / name)
    assert main(["runs", "--sort", "name"]) == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert names == ["RUN", "alpha", "beta"]


def test_two_runs_are_compared_on_one_scale(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logged(tmp_path / "long", [4.0, 3.0, 2.0, 1.0])
    short = logged(tmp_path / "short", [2.0, 1.5])
    write_inputs(
        short,
        RunInputs(
            base="models/llama", weights={}, data=[], recipe=Recipe(rank=8), prompt_version=1
        ),
    )
    assert main(["runs", "compare", "long", "short"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert "recipe: rank 64 / 8" in lines
    curves = [lines[place + 1 :] for place, line in enumerate(lines) if ": done" in line]
    for curve in curves:  # both from the highest loss of the two to the lowest
        assert curve[0].split()[0] == "4.000"
        assert next(line for line in curve[1:] if "┤" in line).split()[0] == "1.000"
    assert main(["runs", "compare", "long"]) == 2
    assert "compare needs two runs" in capsys.readouterr().err


def test_a_run_is_removed_after_a_question(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = finished(tmp_path / "lora")
    assert main(["runs", "remove", "lora"]) == 2
    assert "Add --yes to confirm" in capsys.readouterr().err
    assert out.exists()
    assert main(["runs", "remove", "lora", "--yes"]) == 0
    assert not out.exists()
    assert list_runs() == []
    with running(tmp_path / "live"):
        assert main(["runs", "remove", "live", "--yes"]) == 2
    assert "is active" in capsys.readouterr().err


def test_a_misspelled_action_is_recognised(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", "fllow"]) == 2
    assert "Unknown run fllow. Did you mean “follow”?" in capsys.readouterr().err
