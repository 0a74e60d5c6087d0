"""Words of titles alone find their products, and the suggestions agree with the answer."""

from __future__ import annotations

import pytest

from benchmarks.catalogue_words import draw_words, judge, titles_of
from engine.catalogue.catalogue import Catalogue
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
