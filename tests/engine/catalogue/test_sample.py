"""The sample catalogue has what it promises, and every product in it can be asked for."""

from __future__ import annotations

import json
import statistics
from collections import Counter
from typing import Any

import pytest

from engine.catalogue.catalogue import Catalogue
from engine.catalogue.clean import clean
from engine.catalogue.index import ensure_sample
from engine.config import paths
from engine.core.types import Status
from tui.widgets.welcome import SAMPLE

MARKUP = ("[/b]", "[red]", "](", "`", "{", "<")


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    with paths.sample_source().open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def test_the_shape_of_the_data_set(rows: list[dict[str, Any]]) -> None:
    keys = ["uid", "title", "content", "target_ind", "target_rel"]
    assert len(rows) >= 400
    assert all(list(row) == keys for row in rows)
    assert len({row["uid"] for row in rows}) == len(rows)
    assert all(len(row["uid"]) == 10 for row in rows)
    assert all(len(row["target_ind"]) == len(row["target_rel"]) for row in rows)


def test_the_dirt_of_the_data_set(rows: list[dict[str, Any]]) -> None:
    titles, contents = [row["title"] for row in rows], [row["content"] for row in rows]
    lengths = [len(content) for content in contents if content]
    assert 250 <= statistics.median(lengths) <= 550
    assert max(lengths) > 2000
    assert contents.count("") >= 10
    assert sum("&#" in content for content in contents) >= 60
    assert sum("--This text refers to" in content for content in contents) >= 20
    assert sum(count > 1 for count in Counter(titles).values()) >= 10
    assert sum(any(mark in title for mark in MARKUP) for title in titles) >= 5
    assert sum(" uma " in content or " não " in content for content in contents) >= 12
    long = Counter(content for content in contents if len(content) > 100)
    assert max(long.values()) == 1


def test_every_title_finds_its_own_product(rows: list[dict[str, Any]]) -> None:
    # Asked for as the counter shows it: a tag in a title is not something that people type.
    asked = [(row["uid"], clean(row["title"])) for row in rows if row["title"]]
    catalogue = Catalogue.open(ensure_sample())
    wrong = []
    for uid, title in asked:
        decision = catalogue.find(title)
        found = {hit.product.uid for hit in decision.hits}
        if uid not in found or decision.status not in (Status.EXACT, Status.SEVERAL):
            wrong.append((title, decision.status))
    catalogue.close()
    assert wrong == []


def test_what_the_chat_says_one_could_ask_is_there() -> None:
    questions = [line.strip() for line in SAMPLE.splitlines() if line.startswith("    ")]
    catalogue = Catalogue.open(ensure_sample())
    found = [catalogue.find(question).status for question in questions]
    catalogue.close()
    assert found == [Status.EXACT, Status.SEVERAL, Status.EXACT]
