"""Mistakes are reported before the start, and nothing is written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from engine.catalogue.rows.prepare import PrepareConfig, prepare
from engine.config.paths import sample_source
from engine.core.errors import BalcaoError, DataError, UsageError
from engine.core.files import Manifest, read_manifest, write_manifest
from engine.core.process import install_command
from engine.training.data import read_data, taught_products
from engine.training.recipe import read_recipe
from scripts.train import RECIPES, main
from tests.engine.backends.llama.tiny import Tiny
from tests.engine.training.conftest import ANSWERS, Runner, row, write_data
from tests.test_imports import HEAVY, loaded_after

_GOOD = row(("user", "Stool?"), ("assistant", "Folds flat."))
_OTHER = row(("user", "Apron?"), ("assistant", "Navy twill."))


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([], "at least 2"),
        ([_GOOD], "1 usable rows; at least 2"),
        ([_GOOD, row(("user", "Apron?"))], "line 2: the last message is not an assistant message"),
        ([_GOOD, row(("user", "Apron?"), ("assistant", " "))], "line 2: message 3 is empty"),
        ([_GOOD, '{"messages": ['], "line 2: not valid JSON"),
        ([_GOOD, row(("seller", "x"), ("assistant", "y"))], "Invalid enum value .seller."),
    ],
)
def test_rows_that_cannot_be_trained_on(tmp_path: Path, lines: list[str], words: str) -> None:
    (tmp_path / "train.jsonl").write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(DataError, match=words):
        read_data(tmp_path)


def test_rows_worth_a_warning(tmp_path: Path) -> None:
    otherwise = row(("user", "Stool?"), ("assistant", "Floats."))
    bare = json.dumps({"messages": json.loads(_OTHER)["messages"][1:]})
    lines = [_GOOD, _GOOD, otherwise, bare]
    (tmp_path / "train.jsonl").write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "valid.jsonl").write_text(_GOOD, encoding="utf-8")
    repeated, contradicting, system, shared = read_data(tmp_path).warnings
    assert "1 rows are duplicates" in repeated
    assert "1 rows answer a repeated question" in contradicting
    assert "1 rows do not begin with the chat's system prompt" in system
    assert "1 rows of valid.jsonl are also in train.jsonl" in shared


def test_rows_with_the_record_before_the_question_are_no_cause_for_a_warning(
    tmp_path: Path,
) -> None:
    prepare(
        sample_source(),
        tmp_path / "rows",
        PrepareConfig(limit=100, valid=0.2, forms=3, grounded=200),
    )
    data = read_data(tmp_path / "rows")
    assert data.warnings == ()
    prompts = [one.messages[1].content for one in (*data.train, *data.valid)]
    assert sum(prompt.startswith("Title: ") for prompt in prompts) > 150
    assert len(data.valid) > 40


def test_the_products_taught_are_those_with_a_row_of_their_own_in_the_training_rows(
    tmp_path: Path,
) -> None:
    config = PrepareConfig(limit=30, valid=0.2, test=0.2, forms=2, grounded=30)
    prepare(sample_source(), tmp_path / "rows", config)
    lines = (tmp_path / "rows/train.jsonl").read_text(encoding="utf-8").splitlines()
    asked = [json.loads(line)["messages"][1]["content"] for line in lines]
    from_memory = [one for one in asked if not one.startswith("Title: ")]
    taught = taught_products(tmp_path / "rows")
    assert len(taught) == len(from_memory) / 2 < 30
    for place, product in enumerate(taught):
        assert all(product.title in one for one in from_memory[2 * place : 2 * place + 2])
    first = asked.index(from_memory[0]) + 1
    assert taught_products(tmp_path / "rows", {first}) == taught
    assert taught_products(tmp_path / "rows", {first, first + 1}) == taught[1:]


def test_the_products_of_other_rows_are_unknown(tmp_path: Path) -> None:
    assert taught_products(write_data(tmp_path, ANSWERS)) == []
    prepare(sample_source(), tmp_path / "rows", PrepareConfig(limit=30))
    rows = tmp_path / "rows/train.jsonl"
    rows.write_text(f"{rows.read_text(encoding='utf-8')}{_GOOD}\n", encoding="utf-8")
    assert taught_products(tmp_path / "rows") == []
    for damaged in (b"\xff", b"[1]\n", b"{\n", b'{"uid": 1}\n'):
        (tmp_path / "rows/products.jsonl").write_bytes(damaged)
        assert taught_products(tmp_path / "rows") == []


def test_rows_of_other_prompts(tmp_path: Path) -> None:
    write_data(tmp_path, ANSWERS)
    write_manifest(tmp_path, Manifest(kind="rows", version=1, prompt_version=0))
    with pytest.raises(DataError, match="version 0 of the prompts"):
        read_data(tmp_path)


def test_no_data(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        read_data(tmp_path / "nothing")
    with pytest.raises(DataError, match=r"does not contain train\.jsonl"):
        read_data(tmp_path)


@pytest.mark.parametrize("name", ["exact", "seed", "smollm2"])
def test_the_recipes_give_every_value(name: str) -> None:
    file = RECIPES / f"{name}.toml"
    recipe = read_recipe(file)
    lines = [line for line in file.read_text(encoding="utf-8").splitlines() if " = " in line]
    assert [line.split(" = ")[0] for line in lines] == list(recipe.__struct_fields__)
    assert all("  # " in line or " # " in line for line in lines)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("rank=0", "rank"),
        ("rnak=8", "rnak`. Did you mean “rank”"),
        ("schedule=falling", "schedule"),
        ("rank=x", "a whole number, got text"),
        ("rank", "NAME"),
    ],
)
def test_a_wrong_value_is_named(change: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        read_recipe(RECIPES / "exact.toml", [change])


@pytest.mark.parametrize(
    "text",
    ["[" * 50_000, "a." * 20_000 + "a = 1", "a = " + "1" * 5000, "#" * 300_000, "\udcff"],
    ids=["lists", "parts", "digits", "size", "no text"],
)
def test_a_recipe_that_cannot_be_parsed_is_one_error(tmp_path: Path, text: str) -> None:
    file = tmp_path / "recipe.toml"
    file.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(UsageError, match=r"recipe\.toml( is not valid TOML: .|: it is not UTF-8)"):
        read_recipe(file)


def test_a_flag_is_over_the_recipe() -> None:
    changes = ["epochs=3", 'targets=["q_proj"]', "schedule=linear"]
    recipe = read_recipe(RECIPES / "exact.toml", changes)
    assert (recipe.epochs, recipe.targets, recipe.schedule) == (3.0, ["q_proj"], "linear")


@pytest.mark.parametrize(
    ("base", "words"),
    [("nothing", "Model folder not found"), ("gpt", "is a “gpt2” model, not a Llama")],
)
def test_a_base_that_is_no_llama(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], base: str, words: str
) -> None:
    (tmp_path / "gpt").mkdir()
    (tmp_path / "gpt" / "config.json").write_text('{"model_type": "gpt2"}', encoding="utf-8")
    data = write_data(tmp_path / "rows", ANSWERS)
    out = tmp_path / "lora"
    assert main(["--data", str(data), "--base", str(tmp_path / base), "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert "--base" in said
    assert not out.exists()


def test_a_base_that_is_not_downloaded_names_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_data(tmp_path / "rows", ANSWERS)
    given = ["--data", str(data), "--out", str(tmp_path / "lora"), "--base"]
    assert main([*given, "smollm2"]) == 2
    assert "Run: balcao models pull smollm2" in capsys.readouterr().err
    assert main([*given, "demo"]) == 2
    assert "Set --base to smollm2" in capsys.readouterr().err


def test_a_folder_that_is_not_empty(
    tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_data(tmp_path / "rows", ANSWERS)
    assert main(["--data", str(data), "--base", str(tiny.model), "--out", str(data)]) == 2
    assert "is not empty" in capsys.readouterr().err


def test_missing_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    from engine.training import data

    monkeypatch.setattr(data, "_REQUIRED", ("torch", "no_such_package"))
    with pytest.raises(BalcaoError, match="no_such_package") as told:
        data.check_packages(read_recipe(RECIPES / "exact.toml"))
    assert told.value.remedy == f"Run: {install_command('train')}"


def test_a_dry_run_counts_what_is_left_out(runner: Runner, tiny: Tiny, tmp_path: Path) -> None:
    long = {"Long": "tick tock " * 400, "Marked": "Folds </s> flat."}
    data = write_data(tmp_path / "rows", ANSWERS | long)
    out = tmp_path / "lora"
    ended = runner.run("--data", data, "--base", tiny.model, "--out", out, "--dry-run")
    assert ended.status == 0, ended.log
    assert "4 answers to learn" in ended.log
    assert "answers left out: 1 longer than" in ended.log
    assert "longer than 640 tokens with the question (the first in line 5)" in ended.log
    assert "1 that the tokenizer does not reproduce" in ended.log
    assert "recipe    exact\n" in ended.log
    assert not out.exists()


def test_nothing_that_fits(runner: Runner, tiny: Tiny, data: Path, tmp_path: Path) -> None:
    ended = runner.run("--data", data, "--base", tiny.model, "--out", tmp_path / "lora",
                       "--set", "max_length=20")  # fmt: skip
    assert ended.status == 1
    assert "Cannot train on" in ended.log
    assert "longer than 20 tokens" in ended.log


def test_layers_that_the_base_lacks(runner: Runner, tiny: Tiny, data: Path, tmp_path: Path) -> None:
    ended = runner.run("--data", data, "--base", tiny.model, "--out", tmp_path / "lora",
                       "--set", 'targets=["c_attn"]')  # fmt: skip
    assert ended.status == 2
    assert "No layer of a Llama is `targets` c_attn" in ended.log


def test_weights_that_are_cut_short(
    tiny: Tiny, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = Path(shutil.copytree(tiny.model, tmp_path / "model"))
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert main(["--data", str(data), "--base", str(model), "--out", str(tmp_path / "lora")]) == 2
    assert "is truncated" in capsys.readouterr().err


def test_qlora_and_the_seed_recipe_run(
    runner: Runner, tiny: Tiny, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "lora"
    ended = runner.run("--data", data, "--base", tiny.model, "--out", out, "--recipe", "seed",
                       "--set", "epochs=2", "--set", "score_rows=1", "--set", "rank=8")  # fmt: skip
    assert ended.status == 0, ended.log
    assert read_manifest(out).settings["precision"] == "NF4, fp32 on the CPU"


def test_nothing_heavy_is_loaded_before_it_is_needed() -> None:
    script = "import scripts.train, engine.training.train\nscripts.train.make_parser()"
    assert not loaded_after(script) & (HEAVY | {"textual", "tui"})


@pytest.mark.parametrize(
    ("name", "words"),
    [("nobody", "Unknown tracker “nobody”"), ("clearml", "package for “clearml”")],
)
def test_who_cannot_be_reported_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, words: str
) -> None:
    given = ["--data", str(tmp_path), "--base", "x", "--out", str(tmp_path / "lora")]
    assert main([*given, "--set", f'report_to=["{name}"]']) == 2
    assert words in capsys.readouterr().err
