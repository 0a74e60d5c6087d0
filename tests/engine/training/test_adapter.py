"""A run writes an adapter that the chat's engine uses, with its manifest, card and metrics."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.backends.llama.adapters import find_adapter
from engine.backends.llama.weights import find_model, read_header
from engine.core.files import describe_file, read_manifest
from engine.core.trained_products import read_trained_products
from engine.prompts import PROMPT_VERSION
from tests.engine.backends.llama.conftest import engine, gather, request_of, text_of
from tests.engine.backends.llama.tiny import Tiny
from tests.engine.training.conftest import ANSWERS, Runner, quick


@pytest.fixture(scope="session")
def learned(
    runner: Runner, tiny: Tiny, data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """An adapter that has learned its rows."""
    out = tmp_path_factory.mktemp("learned") / "lora"
    changes = quick(
        "rank=16",
        "alpha=64",
        "epochs=60",
        "batch_size=4",
        "dropout=0.0",
        "save_every=100",
        "saved_in=bf16",
    )
    ended = runner.run("--data", data, "--base", tiny.model, "--out", out, *changes)
    assert ended.status == 0, ended.log
    return out


async def test_the_chat_says_what_was_learned(tiny: Tiny, learned: Path) -> None:
    tuned = engine("lora", model=str(tiny.model), adapter=str(learned))
    assert tuned.availability().ready
    try:
        for title, answer in ANSWERS.items():
            chunks = await gather(tuned, request_of(f"Tell me about {title}."))
            assert text_of(chunks).strip() == answer
            assert [chunk.notice for chunk in chunks if chunk.notice] == []
    finally:
        await tuned.unload()


def test_the_chat_has_nothing_to_warn_of(tiny: Tiny, learned: Path) -> None:
    found = find_adapter(str(learned), find_model(str(tiny.model), "base"))
    assert found.warning == ""


def test_the_manifest_tells_what_it_was_made_from(tiny: Tiny, data: Path, learned: Path) -> None:
    made = read_manifest(learned)
    files = [data / "train.jsonl", data / "valid.jsonl", tiny.model / "config.json",
             tiny.model / "model.safetensors"]  # fmt: skip
    assert made.kind == "lora-adapter"
    assert made.prompt_version == PROMPT_VERSION
    assert made.inputs == [describe_file(file) for file in files]
    assert (made.counts["read"], made.counts["kept"]) == (4, 4)
    assert made.settings["base"] == str(tiny.model.resolve())
    assert made.settings["recipe"]["epochs"] == 60
    assert made.settings["steps"] == 60
    assert 0 <= made.settings["loss"] < 0.1
    assert made.settings["word_for_word"]["training"] == {"asked": 4, "right": 4}
    assert made.settings["word_for_word"]["held_out"] == {"asked": 1, "right": 0}


def test_the_manifest_lists_the_products_of_the_rows(learned: Path) -> None:
    listed = json.loads((learned / "manifest.json").read_bytes())
    assert listed["products"] == [{"uid": f"uid-{title}", "title": title} for title in ANSWERS]
    assert listed["counts"]["products"] == 4
    found = read_trained_products(learned)
    assert found is not None
    assert found.titles == tuple(ANSWERS)


def test_the_card_is_in_the_hubs_format(tiny: Tiny, learned: Path) -> None:
    text = (learned / "README.md").read_text(encoding="utf-8")
    front, _, body = text.removeprefix("---\n").partition("\n---\n")
    assert f"base_model: {json.dumps(str(tiny.model.resolve()))}" in front.splitlines()
    assert "library_name: peft" in front
    assert "training rows: 4 of 4" in body
    assert "- Asked: word for word in wordings that were not trained: English" in body
    assert "of 4 near misses of taught titles; 4 by the program with its list" in body
    assert "- Products: 4, such as `Lighthouse`, `Tick`" in body


def test_the_weights_are_saved_as_the_recipe_says(learned: Path) -> None:
    tensors = read_header(learned / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {"BF16"}


def test_every_step_is_in_the_metrics(learned: Path) -> None:
    lines = (learned / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    steps = [line for line in map(json.loads, lines) if "loss" in line]
    assert [step["step"] for step in steps] == list(range(1, 61))
    assert steps[-1]["loss"] < steps[0]["loss"] / 10
    assert all(step["tokens_per_second"] > 0 for step in steps)


def test_the_loss_is_on_the_answers_alone(
    runner: Runner, tiny: Tiny, data: Path, learned: Path
) -> None:
    ended = runner.run("loss", tiny.model, data)
    first = json.loads((learned / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert first["loss"] == pytest.approx(float(ended.log.splitlines()[-1]), rel=1e-4)
