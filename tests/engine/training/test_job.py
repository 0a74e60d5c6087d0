"""`balcao job run` does what is not done, and continues where it was interrupted."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from engine.config.settings import load, own_catalogue
from tests.engine.backends.llama.tiny import Tiny
from tests.engine.training.conftest import Runner, write_job
from tests.engine.training.test_resume import wait_for

DONE = "done before"


def test_a_killed_job_comes_to_the_same_adapter_and_does_the_rest(
    runner: Runner, tiny: Tiny, tmp_path: Path
) -> None:
    jobs = []
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
        jobs.append(write_job(tmp_path / name, tiny.model, f"lora-{name}"))
    whole, cut = jobs
    ended = runner.run("job", "run", whole)
    assert ended.status == 0, ended.log
    assert DONE not in ended.log

    process = runner.start("job", "run", cut)
    made = cut.parent / "made"
    wait_for(made / "lora-cut/checkpoints/checkpoint-20/whole")
    os.kill(process, signal.SIGKILL)
    assert runner.end().status == -signal.SIGKILL
    ended = runner.run("job", "run", cut)
    assert ended.status == 0, ended.log
    assert ended.log.count(DONE) == 2  # catalogue and rows
    assert "--resume" in ended.log
    adapters = [folder / "adapter_model.safetensors" for folder in (
        whole.parent / "made/lora-whole", made / "lora-cut")]  # fmt: skip
    assert adapters[0].read_bytes() == adapters[1].read_bytes()

    ended = runner.run("job", "run", cut)
    assert ended.status == 0, ended.log
    assert ended.log.count(DONE) == 5
    assert "--engine lora-cut --memory" in ended.log.splitlines()[-1]


def test_a_new_product_is_learned_and_the_engine_stays(
    runner: Runner, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = write_job(tmp_path, tiny.model, "lora-grown")
    assert runner.run("job", "run", job).status == 0
    source = tmp_path / "shop.jsonl"
    first = source.read_text(encoding="utf-8")
    source.write_text(first + '\n{"uid": "5", "title": "Stool", "content": "Step 3 of stone."}')
    ended = runner.run("job", "run", job)
    assert ended.status == 0, ended.log
    assert DONE not in ended.log
    monkeypatch.setenv("BALCAO_HOME", str(runner.home))
    engine = load().engines["lora-grown"]
    assert engine["adapter"] == str(tmp_path / "made/lora-grown-2")
    assert own_catalogue(engine) == str(tmp_path / "made/catalogue")

    # The first adapter is still there for the first file.
    source.write_text(first, encoding="utf-8")
    ended = runner.run("job", "run", job)
    assert ended.status == 0, ended.log
    assert "Train an adapter: done before" in ended.log
    assert load().engines["lora-grown"]["adapter"] == str(tmp_path / "made/lora-grown")


def test_other_judges_and_rows_do_what_depends_on_them(
    runner: Runner, tiny: Tiny, tmp_path: Path
) -> None:
    job = write_job(tmp_path, tiny.model, "lora-judged")
    assert runner.run("job", "run", job).status == 0
    text = job.read_text(encoding="utf-8")
    job.write_text(text.replace("limit = 2", "limit = 3"), encoding="utf-8")
    ended = runner.run("job", "run", job)
    assert ended.status == 0, ended.log
    assert ended.log.count(DONE) == 4
    job.write_text(text.replace("forms = 1", "forms = 2"), encoding="utf-8")
    ended = runner.run("job", "run", job, "--dry-run")
    assert ended.status == 0, ended.log
    assert "memory    about" in ended.log
    table = [line.split()[:2] for line in ended.log.splitlines()[-5:]]
    assert table == [["index", "done"], ["prepare", "to"], ["train", "to"],
                     ["use", "to"], ["evaluate", "to"]]  # fmt: skip
    assert not (tmp_path / "made/lora-judged-2").exists()
