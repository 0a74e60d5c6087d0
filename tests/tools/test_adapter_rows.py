"""The adapter that ships with the program was made from the rows of tools.adapter_rows."""

from __future__ import annotations

import json
from pathlib import Path

from engine.catalogue.formats.counts import Counts
from engine.catalogue.read import read_rows
from engine.catalogue.rows.typist import Typist
from engine.config import paths
from engine.core.trained_products import read_trained_products
from engine.prompts import PROMPT_VERSION, QUESTION_FORMS
from engine.training.refusals import read_pool
from tools.adapter_rows import LEARNED, choose, main, memory_rows, read_products

PRODUCTS = read_products(read_rows(paths.sample_source(), Counts()))


def test_the_shipped_adapter_learned_the_chosen_products() -> None:
    learned, _ = choose(PRODUCTS)
    trained_on = read_trained_products(paths.small_adapter_dir())
    assert trained_on
    assert all(one in trained_on for one in learned)
    assert len(trained_on.titles) == len(learned) == LEARNED
    manifest = json.loads((paths.small_adapter_dir() / "manifest.json").read_text())
    assert manifest["prompt_version"] == PROMPT_VERSION
    assert manifest["settings"]["base"] == paths.SMALL


def test_no_record_to_copy_is_one_to_learn() -> None:
    learned, shown = choose(PRODUCTS)
    assert not {one.description for one in learned} & {one.description for one in shown}


def test_a_product_is_asked_for_in_each_wording_and_often_in_lower_case() -> None:
    product = PRODUCTS[0]
    rows = memory_rows(product, Typist(0.0, seed=0), ()).splitlines()
    asked = [json.loads(row)["messages"][1]["content"] for row in rows]
    forms = [form.format(title=product.title).lower() for form in QUESTION_FORMS]
    assert {one.lower() for one in asked} == set(forms)
    assert len(set(asked)) == len(asked)
    assert sum(product.title not in one for one in asked) == 7


def test_the_refusals_ask_for_no_product_that_is_learned(tmp_path: Path) -> None:
    assert main(["--out", str(tmp_path / "rows")]) == 0
    learned, _ = choose(PRODUCTS)
    pool = read_pool(tmp_path / "rows")
    assert pool.per_epoch > len(learned)
    titles = {one.title.lower() for one in learned}
    asked = [one.messages[1].content.lower() for one in (*pool.rows[:2000], *pool.scored)]
    assert not [one for one in asked if one in titles]
