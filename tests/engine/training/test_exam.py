"""The final score asks for products of the run in wordings, and for titles, that no row has."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.catalogue.rows.prepare import PrepareConfig, prepare
from engine.config.paths import sample_source
from engine.core.trained_products import TrainedProduct
from engine.prompts import has_record, is_refusal
from engine.training.data import TrainingData, read_data, taught_products
from engine.training.exam import Exam, make_exam
from engine.training.openai.plan import TrainingRow


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TrainingData:
    folder = tmp_path_factory.mktemp("exam") / "rows"
    prepare(sample_source(), folder, PrepareConfig(limit=30, forms=2, valid=0.2, refusals=1.0))
    return read_data(folder)


@pytest.fixture(scope="module")
def products(data: TrainingData) -> list[TrainedProduct]:
    return taught_products(data.folder)


@pytest.fixture(scope="module")
def exam(data: TrainingData, products: list[TrainedProduct]) -> Exam:
    return make_exam(data, products, 10)


def asked(rows: list[TrainingRow]) -> list[str]:
    return [row.messages[-2].content for row in rows]


def answers(rows: list[TrainingRow]) -> list[str]:
    return [row.messages[-1].content for row in rows]


def test_known_products_are_asked_in_no_trained_question(data: TrainingData, exam: Exam) -> None:
    trained = {row.messages[-2].content: row.messages[-1].content for row in data.train}
    rows = [row for some in exam.known.values() for row in some]
    assert len(rows) == 10
    assert trained.keys().isdisjoint(asked(rows))
    assert set(answers(rows)) <= set(trained.values())


def test_a_known_product_keeps_its_own_description(
    data: TrainingData, products: list[TrainedProduct]
) -> None:
    exam = make_exam(data, products, 1000)
    rows = [row for some in exam.known.values() for row in some]
    assert len(rows) == len(products)
    lower = [row for row in exam.known["lower case"] if row.messages[-2].content.isascii()]
    by_title = {product.title.lower(): product for product in products}
    for row in lower:
        title = max((one for one in by_title if one in row.messages[-2].content), key=len)
        # A trained row with the same answer names the same title.
        same = [one for one in data.train if one.messages[-1].content == row.messages[-1].content]
        assert any(title.split()[0] in one.messages[-2].content.lower() for one in same)


def test_unknown_titles_of_each_kind_are_to_be_refused(exam: Exam) -> None:
    assert {kind: len(rows) for kind, rows in exam.unknown.items()} == {
        "catalogue": 10,
        "invented": 10,
        "near_miss": 10,
    }
    assert all(is_refusal(answer) for rows in exam.unknown.values() for answer in answers(rows))


def test_records_are_shown_of_products_that_were_held_out(
    products: list[TrainedProduct], exam: Exam
) -> None:
    assert exam.shown
    titles = {product.title for product in products}
    for question, record in zip(asked(exam.shown), answers(exam.shown), strict=True):
        assert has_record(question)
        assert record in question
        assert question.split("\n")[0].removeprefix("Title: ") not in titles


def test_rows_without_a_list_of_products_have_no_known_ones(
    data: TrainingData, tmp_path: Path
) -> None:
    bare = TrainingData(tmp_path, data.train, data.valid, (), data.refusals)
    exam = make_exam(bare, [], 10)
    assert not any(exam.known.values())
    assert not exam.shown
    assert [bool(rows) for rows in exam.unknown.values()] == [True, True, False]
