"""The pool of refusal rows: unknown titles only, asked for like the known ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.catalogue.clean import clean
from engine.catalogue.rows.prepare import PrepareConfig, prepare
from engine.catalogue.rows.refusals import EPOCHS, UnknownTitles
from engine.catalogue.rows.typist import title_key
from engine.config.paths import sample_source
from engine.core.files import read_manifest
from engine.evaluation.questions import title_of
from engine.prompts import QUESTION_FORMS, UNKNOWN_PRODUCT

PLAIN = PrepareConfig(limit=10, forms=16, refusals=1.0)
TYPED = PrepareConfig(limit=60, forms=32, as_typed=0.4, refusals=0.03, grounded=20)


def lines(folder: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / name).read_text(encoding="utf-8").splitlines()]


def question(row: dict[str, Any]) -> str:
    return str(row["messages"][1]["content"])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("refusals") / "rows"
    prepare(sample_source(), folder, PLAIN)
    return folder


def test_catalogue_titles_are_of_products_without_rows_and_invented_ones_of_none(
    made: Path,
) -> None:
    source = sample_source().read_text(encoding="utf-8").splitlines()
    real = {title_key(clean(json.loads(line)["title"])) for line in source}
    used = {title_key(one["title"]) for one in lines(made, "products.jsonl")}
    asked: dict[str, set[str]] = {"catalogue": set(), "invented": set()}
    for row in lines(made, "refusals.jsonl"):
        asked[row["kind"]].add(title_key(title_of(question(row))))
    assert asked["catalogue"] <= real - used
    assert not asked["invented"] & real
    assert len(asked["catalogue"]) > 300


def test_the_pool_has_another_title_for_every_row_of_the_default_recipe(made: Path) -> None:
    counts = read_manifest(made).counts["refusals"]
    rows = lines(made, "refusals.jsonl")
    assert counts["per_epoch"] == len(lines(made, "train.jsonl"))
    assert counts["rows"] == sum(row["split"] == "train" for row in rows)
    titles = {title_key(title_of(question(row))) for row in rows if row["split"] == "train"}
    assert len(titles) >= counts["per_epoch"] * EPOCHS
    assert len({question(row) for row in rows}) == len(rows)


def test_the_score_asks_for_titles_that_no_training_row_has(made: Path) -> None:
    titles: dict[str, set[str]] = {"train": set(), "test": set()}
    for row in lines(made, "refusals.jsonl"):
        titles[row["split"]].add(title_key(title_of(question(row))))
    assert titles["test"]
    assert not titles["test"] & titles["train"]


def test_the_answer_is_the_sentence_of_the_questions_language(made: Path) -> None:
    answers: dict[str, set[str]] = {}
    for row in lines(made, "refusals.jsonl"):
        first = question(row).lower().split()[0]
        answers.setdefault(first, set()).add(row["messages"][2]["content"])
    assert answers["tell"] == answers["describe"] == {UNKNOWN_PRODUCT["en"]}
    assert answers["descreva"] == answers["vocês"] == {UNKNOWN_PRODUCT["pt"]}


def test_refused_and_known_questions_are_written_alike(tmp_path: Path) -> None:
    config = PrepareConfig(limit=200, forms=32, as_typed=0.4, refusals=0.02, valid=0, test=0)
    prepare(sample_source(), tmp_path / "rows", config)
    known, refused = (
        lines(tmp_path / "rows", "train.jsonl"),
        lines(tmp_path / "rows", "refusals.jsonl"),
    )
    for trait in (
        lambda asked: asked.islower(),
        lambda asked: asked[-1] in ".?",
        lambda asked: asked.lower().startswith(("vocês", "qual", "me fale")),
        lambda asked: asked.startswith("Describe "),
        lambda asked: "(" in asked or "[" in asked,
    ):
        rates = [sum(trait(question(row)) for row in rows) / len(rows) for rows in (known, refused)]
        assert abs(rates[0] - rates[1]) < 0.04
    forms = {form.format(title="") for form in QUESTION_FORMS}
    assert len(forms) == len(QUESTION_FORMS)


def test_titles_that_could_be_a_known_product_are_not_refused() -> None:
    unknown = UnknownTitles(0)
    unknown.use("Night Ferry: The Film [DVD]")
    assert unknown.is_used("night ferry")
    assert unknown.is_used("Night Ferry (Paperback)")
    assert not unknown.is_used("Night Train")


def test_the_pool_is_the_same_for_the_same_input_in_any_order(tmp_path: Path) -> None:
    source = tmp_path / "reversed.jsonl"
    source.write_text(
        "\n".join(reversed(sample_source().read_text(encoding="utf-8").splitlines())), "utf-8"
    )
    for name, file in (("one", sample_source()), ("other", source)):
        prepare(file, tmp_path / name, TYPED)
    pools = [(tmp_path / name / "refusals.jsonl").read_bytes() for name in ("one", "other")]
    assert pools[0] == pools[1]


def test_a_catalogue_of_single_words_has_nothing_to_invent(tmp_path: Path) -> None:
    source = tmp_path / "trn.json"
    source.write_text(
        "".join(f'{{"uid":"{n}","title":"Owl{n}","content":"Hoo {n}."}}\n' for n in range(20))
    )
    made = prepare(source, tmp_path / "rows", PrepareConfig(refusals=1.0))
    assert made.counts["refusals"]["rows"] == 0
