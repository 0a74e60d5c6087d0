"""Each epoch of a run draws other rows about unknown products from the pool."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from engine.catalogue.rows.prepare import PrepareConfig, prepare
from engine.config.paths import sample_source
from engine.core.errors import DataError
from engine.training.data import read_data, taught_products
from engine.training.refusals import drawn_rows, read_pool
from tests.engine.backends.llama.tiny import Tiny
from tests.engine.training.conftest import ANSWERS, Runner, quick, with_pool, write_data


def test_no_row_comes_again_before_each_had_its_turn() -> None:
    epochs = [drawn_rows(10, 4, epoch, seed=0) for epoch in range(5)]
    assert [len(rows) for rows in epochs] == [4] * 5
    in_turn = [row for rows in epochs for row in rows]
    assert sorted(in_turn[:10]) == sorted(in_turn[10:]) == list(range(10))
    assert in_turn[:10] != in_turn[10:]
    assert epochs[1] == drawn_rows(10, 4, 1, seed=0) != drawn_rows(10, 4, 1, seed=1)


def test_more_rows_than_the_pool_has_come_in_equal_numbers() -> None:
    assert set(Counter(drawn_rows(3, 12, 2, seed=0)).values()) == {4}
    assert list(drawn_rows(0, 0, 2, seed=0)) == []


def test_a_run_takes_as_many_rows_as_its_epochs_draw(tmp_path: Path) -> None:
    pool = read_pool(with_pool(tmp_path))
    assert (len(pool.rows), len(pool.scored)) == (20, 5)
    rows, drawn = pool.for_run(epochs=2.5, seed=0, share=0.5)
    assert (len(rows), drawn) == (6, 2)
    assert len(set(rows)) == 6
    assert rows == pool.for_run(2.5, 0, 0.5)[0] != pool.for_run(2.5, 1, 0.5)[0]
    assert len(pool.for_run(60, 0, 1.0)[0]) == 20


def test_rows_without_a_pool_train_as_before(tmp_path: Path) -> None:
    data = read_data(write_data(tmp_path, ANSWERS))
    assert data.refusals.for_run(60, 0, 1.0) == ([], 0)
    assert [file.name for file in data.files] == ["train.jsonl"]


def test_a_damaged_pool_is_an_error(tmp_path: Path) -> None:
    with_pool(tmp_path)
    (tmp_path / "refusals.jsonl").write_text('{"kind": "invented"}\n')
    with pytest.raises(DataError, match="refusals"):
        read_pool(tmp_path)


def test_products_that_are_refused_are_not_taught(tmp_path: Path) -> None:
    out = tmp_path / "rows"
    prepare(sample_source(), out, PrepareConfig(limit=40, forms=None, refusals=1.0))
    data = read_data(out)
    assert data.refusals.per_epoch == len(data.train)
    assert out / "refusals.jsonl" in data.files
    asked = {row.messages[1].content for row in data.refusals.rows + data.refusals.scored}
    assert not any(product.title in asked for product in taught_products(out))


def test_a_run_draws_refusals_each_epoch(runner: Runner, tiny: Tiny, tmp_path: Path) -> None:
    data = with_pool(write_data(tmp_path / "rows", ANSWERS))
    out = tmp_path / "lora"
    values = quick("epochs=3", "sample_rows=0", "score_rows=1")
    ended = runner.run("--data", data, "--base", tiny.model, "--out", out, *values)
    assert ended.status == 0, ended.log
    assert "4 other rows in each epoch" in ended.log
    assert "about 12 steps" in ended.log
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["settings"]["steps"] == 12
    assert manifest["counts"]["refusals_per_epoch"] == 4
    asked = {kind: one["asked"] for kind, one in manifest["settings"]["refusals"].items()}
    assert asked == {"known": 1, "invented": 1}
    refused = manifest["settings"]["refusals"]["invented"]["refused"]
    assert f"- Refused: {refused} of 1 invented titles" in (out / "README.md").read_text()
    assert f"refused   {refused} of 1 invented titles" in ended.log
    assert "refusals.jsonl" in [one["name"] for one in manifest["inputs"]]
