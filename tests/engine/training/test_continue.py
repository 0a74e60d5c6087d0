"""What a resumed run needs, and what it refuses before anything heavy loads."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from engine.config import settings
from engine.core.files import describe_file, write_manifest
from engine.core.trained_products import AdapterManifest
from engine.core.types import Progress
from engine.prompts import PROMPT_VERSION
from engine.training.data import find_base, read_data
from engine.training.recipe import Recipe, doubts
from engine.training.runs.folder import (
    ADAPTER_KIND,
    ADAPTER_VERSION,
    RunInputs,
    is_done,
    saved_bytes,
    write_inputs,
)
from scripts.common import ProgressLine
from scripts.train import main
from tests.engine.backends.llama.tiny import Tiny
from tests.engine.training.conftest import ANSWERS, write_data


@pytest.fixture
def out(tiny: Tiny, data: Path, tmp_path: Path) -> Path:
    """The folder of a run that was killed before its first step."""
    base, rows = find_base(str(tiny.model)), read_data(data)
    folder = tmp_path / "lora"
    folder.mkdir()
    inputs = RunInputs(
        base=base.name,
        weights={file.name: file.stat().st_size for file in base.files},
        data=[describe_file(file) for file in rows.files],
        recipe=Recipe(epochs=20),
        prompt_version=PROMPT_VERSION,
        data_folder=str(data),
    )
    write_inputs(folder, inputs)
    return folder


def finish(out: Path, right: int) -> None:
    scores = {"training": {"asked": 4, "right": right}}
    found = {"base": "smollm2", "steps": 40, "loss": 1.0, "word_for_word": scores}
    made = AdapterManifest(
        kind=ADAPTER_KIND, version=ADAPTER_VERSION, settings=found, prompt_version=PROMPT_VERSION
    )
    write_manifest(out, made)


@pytest.mark.parametrize("finished", [False, True])
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["--set", "alpha=16"], "alpha 128.0 (now 16.0)"),
        (["--set", "batch_size=3"], "4 rows per step (now 3)"),
        (["--epochs", "10"], "epochs 20.0 (now 10.0)"),
        (["--recipe", "seed"], "dropout 0.0 (now 0.1)"),
        (["--set", "seed=1", "--set", "rank=8"], "rank 64 (now 8); seed 0 (now 1)"),
    ],
)
def test_another_value_is_refused_by_its_name(
    out: Path,
    capsys: pytest.CaptureFixture[str],
    changes: Sequence[str],
    words: str,
    *,
    finished: bool,
) -> None:
    if finished:
        finish(out, right=4)
    assert main(["--resume", "--out", str(out), *changes]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("finished", [False, True])
def test_other_rows_or_another_base_are_refused(
    out: Path, tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str], *, finished: bool
) -> None:
    if finished:
        finish(out, right=4)
    rows = write_data(tmp_path / "rows", {**ANSWERS, "Bell": "ding"})
    assert main(["--resume", "--out", str(out), "--data", str(rows)]) == 2
    assert "other rows in train.jsonl, valid.jsonl" in capsys.readouterr().err
    base = Path(shutil.copytree(tiny.model, tmp_path / "base"))
    assert main(["--resume", "--out", str(out), "--base", str(base)]) == 2
    assert f"(now {base})" in capsys.readouterr().err


def test_a_run_of_an_older_version_needs_its_rows_named(
    out: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = json.loads((out / "run.json").read_bytes())
    del old["data_folder"], old["recipe"]["known_above"], old["recipe"]["keep_best"]
    (out / "run.json").write_text(json.dumps(old))
    assert main(["--resume", "--out", str(out)]) == 2
    assert "--data DIR is missing" in capsys.readouterr().err
    given = ["--resume", "--out", str(out), "--data", str(data), "--dry-run", "--no-probe"]
    assert main(given) == 0


def test_a_folder_without_a_run_is_refused_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--resume", "--out", str(tmp_path / "none")]) == 2
    assert "no run to resume" in capsys.readouterr().err


def test_an_adapter_is_no_base(
    tiny: Tiny, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--data", str(data), "--out", str(tmp_path / "lora"), "--base", str(tiny.adapter)]
    assert main(given) == 2
    assert "is an adapter, not a base" in capsys.readouterr().err


@pytest.mark.parametrize(("right", "offered"), [(0, False), (1, True)])
def test_an_adapter_that_learned_nothing_is_not_offered(
    out: Path, capsys: pytest.CaptureFixture[str], right: int, *, offered: bool
) -> None:
    finish(out, right)
    assert main(["--resume", "--out", str(out), "--engine", "mine"]) == 0
    assert ("mine" in settings.load().engines) == offered
    assert ("not offered" in capsys.readouterr().err) != offered


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        (Recipe(learning_rate=2), "learning_rate 2 is far too high"),
        (Recipe(learning_rate=2e-8), "far too low"),
        (Recipe(rank=512), "rank 512 is more than the base's width, 256"),
        (Recipe(batch_size=64, accumulate=8), "512 rows, and an epoch has 100"),
        (Recipe(epochs=0.1), "too few"),
    ],
)
def test_what_cannot_work_is_doubted(recipe: Recipe, words: str) -> None:
    steps = 100 / recipe.batch_size / recipe.accumulate * recipe.epochs
    assert words in "; ".join(doubts(recipe, 100, steps, 256))


def test_the_default_recipe_is_not_doubted() -> None:
    assert list(doubts(Recipe(), 100, 1500, 576)) == []


def test_a_run_with_checkpoints_is_not_done(out: Path) -> None:
    finish(out, right=4)
    assert is_done(out)
    (out / "checkpoints" / "checkpoint-40").mkdir(parents=True)
    (out / "checkpoints" / "checkpoint-40" / "weights").write_bytes(b"1234")
    assert not is_done(out)
    assert saved_bytes(out) == 4


def test_the_time_left_of_a_resumed_run_does_not_count_what_came_before() -> None:
    stream = io.StringIO()
    line = ProgressLine(stream)
    line.show(Progress("training", 0.0))
    line._shown = -1e9  # long ago
    line.show(Progress("step 9 of 10", 0.9, 90.0))
    assert "90% step 9 of 10, 90 s left" in stream.getvalue()
