"""Words of titles alone find their products, and the suggestions agree with the answer."""

from __future__ import annotations

import json

import pytest

from benchmarks.catalogue_words import draw_words, judge, titles_of
from engine.catalogue.catalogue import Catalogue
from engine.catalogue.complete import completer_of
from engine.catalogue.index import build_catalogue
from engine.config import paths


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    folder = tmp_path_factory.mktemp("sample") / "index"
    build_catalogue(paths.sample_source(), folder, meaning=False)
    return Catalogue.open(folder)


def test_two_words_or_a_rare_one_of_a_title_find_it_as_the_suggestions_do(
    sample: Catalogue,
) -> None:
    judged = {
        question: judge(sample, question)
        for question in draw_words(titles_of(sample.folder), 200, seed=18)
    }
    assert [question for question, one in judged.items() if one["apart"]] == []
    assert [question for question, one in judged.items() if not one["found"]] == []


@pytest.fixture(scope="module")
def alike(tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    titles = {
        "B000000001": "Bellweather",
        "B000000002": "The Bellweather's Garden of Autumn Light",
    }
    folder = tmp_path_factory.mktemp("alike")
    source = folder / "rows.jsonl"
    rows = [{"uid": uid, "title": title, "content": "A."} for uid, title in titles.items()]
    source.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    build_catalogue(source, folder / "index", meaning=False)
    return Catalogue.open(folder / "index")


def test_a_word_of_a_title_is_no_typo_of_another_title(alike: Catalogue) -> None:
    found = [hit.product.title for hit in alike.find("bellweathers").hits]
    assert found == ["The Bellweather's Garden of Autumn Light", "Bellweather"]
    assert [hit.product.title for hit in alike.find("belweather").hits] == ["Bellweather"]


def test_a_long_title_is_found_by_its_words_though_never_suggested() -> None:
    long = f"Marigold {'and Some More ' * 20}Quillwort"
    completer = completer_of(("Marigold", long, "Quillwort", "Marigold and Quillwort at Sea"))
    assert completer.rows("marigold quillwort", 10) == [3, 1]
    assert [one.title for one in completer.complete("marigold quillwort", 10)] == [
        "Marigold and Quillwort at Sea"
    ]
