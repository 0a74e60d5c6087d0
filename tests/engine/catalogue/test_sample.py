"""Build the sample catalogue and answer from it."""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from engine.catalogue.catalogue import Catalogue
from engine.catalogue.clean import clean
from engine.catalogue.index import ensure_sample
from engine.config import paths
from engine.core.types import Status
from tui.widgets.welcome import TITLES

pytestmark = pytest.mark.usefixtures("sample_at_hand")

MARKUP = ("[/b]", "[red]", "](", "`", "{", "<")


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    with paths.sample_source().open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def test_the_sample_has_the_fields_of_the_data_set(rows: list[dict[str, Any]]) -> None:
    keys = ["uid", "title", "content", "target_ind", "target_rel"]
    assert len(rows) >= 400
    assert all(list(row) == keys for row in rows)
    assert len({row["uid"] for row in rows}) == len(rows)
    assert all(len(row["uid"]) == 10 for row in rows)
    assert all(len(row["target_ind"]) == len(row["target_rel"]) for row in rows)


def test_the_sample_has_the_markup_of_the_data_set(rows: list[dict[str, Any]]) -> None:
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


def test_every_title_of_the_sample_finds_its_product(rows: list[dict[str, Any]]) -> None:
    # Titles as the chat shows them: nobody types the tags in a title.
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


def test_the_titles_that_the_chat_suggests_are_found() -> None:
    catalogue = Catalogue.open(ensure_sample())
    found = [catalogue.find(title).status for title in TITLES]
    catalogue.close()
    assert found == [Status.EXACT] * 3


def test_the_sample_is_built_once_and_again_if_outdated() -> None:
    folder = ensure_sample()
    made = folder / "manifest.json"
    first = made.read_bytes()
    assert ensure_sample() == folder == paths.sample_catalogue_dir()
    assert made.read_bytes() == first
    made.write_bytes(first.replace(b'"fold_version": 1', b'"fold_version": 0'))
    ensure_sample()
    assert b'"fold_version": 1' in made.read_bytes()
    assert len(Catalogue.open(folder)) > 100


def test_three_processes_may_build_the_sample_at_once() -> None:
    shutil.rmtree(paths.sample_catalogue_dir())
    code = (
        "from engine.catalogue.index import ensure_sample;"
        "print((ensure_sample() / 'manifest.json').read_text())"
    )
    command = [sys.executable, "-c", code]
    with ThreadPoolExecutor(3) as threads:
        ended = list(
            threads.map(
                lambda _: subprocess.run(command, capture_output=True, check=False), [0] * 3
            )
        )
    assert [one.returncode for one in ended] == [0, 0, 0], ended
    assert len({one.stdout for one in ended}) == 1
