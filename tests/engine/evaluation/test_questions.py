"""Rows read as questions, samples by hash and invented titles."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from engine.catalogue.catalogue import Catalogue
from engine.catalogue.rows.prepare import PrepareConfig, prepare
from engine.config.paths import sample_source
from engine.core.errors import DataError
from engine.core.types import Decision, Hit, Product, Status
from engine.evaluation.questions import (
    Group,
    Question,
    QuestionRow,
    exam_questions,
    invent_questions,
    is_absent,
    read_rows,
    sample_questions,
    title_of,
)
from engine.prompts import QUESTION_FORMS, training_messages
from tests.conftest import write_rows

pytestmark = pytest.mark.usefixtures("encoder_at_hand")

TITLES = (
    "Canvas Stool, Green",
    "So you have what it takes?",
    "What is {this}? Tell me.",
    "Tell me",
    "O que é",
)


def row_line(title: str, record: str, form: str, product: Product | None = None) -> str:
    messages = training_messages(title, record, form, product)
    return msgspec.json.encode({"messages": messages}).decode()


def write(file: Path, pairs: list[tuple[str, str]], form: str = "{title}") -> Path:
    file.write_text("".join(row_line(*pair, form) + "\n" for pair in pairs), encoding="utf-8")
    return file


@pytest.mark.parametrize("title", TITLES)
@pytest.mark.parametrize("form", QUESTION_FORMS)
def test_the_title_of_every_wording(title: str, form: str) -> None:
    assert title_of(form.format(title=title)) == title


def test_a_title_that_is_typed_in_another_form_is_no_other_product(tmp_path: Path) -> None:
    config = PrepareConfig(limit=8, forms=8, as_typed=0.9, valid=0.0, test=0.0)
    prepare(sample_source(), tmp_path / "rows", config)
    rows = list(read_rows(tmp_path / "rows/train.jsonl"))
    assert not all(row.title in row.question for row in rows)
    assert len({(row.title, row.record) for row in rows}) == 8
    trained = tmp_path / "rows/train.jsonl"
    questions, _ = sample_questions(trained, trained, None, 0)
    assert len(questions) == 8
    # Rows that somebody has edited are read as they are.
    lines = trained.read_text(encoding="utf-8").splitlines(keepends=True)
    trained.write_text("".join(lines[1:]), encoding="utf-8")
    assert all(row.title in row.question for row in read_rows(trained))


def test_rows_of_prepare_are_read(tmp_path: Path) -> None:
    prepare(sample_source(), tmp_path / "rows", PrepareConfig(forms=3))
    rows = [
        row
        for name in ("train", "valid", "test")
        for row in read_rows(tmp_path / f"rows/{name}.jsonl")
    ]
    assert len(rows) > 1200
    assert len({(row.title, row.record) for row in rows}) == len(rows) / 3
    assert all(row.title in row.question for row in rows)


def test_a_grounded_row_is_asked_without_its_record(tmp_path: Path) -> None:
    product = Product("1", "Oak Gall Ink", "First line.\n\nSecond line.")
    line = row_line(product.title, product.description, "Describe {title}", product)
    (tmp_path / "rows.jsonl").write_text(line + "\n", encoding="utf-8")
    found = list(read_rows(tmp_path / "rows.jsonl"))
    assert found == [
        QuestionRow("Describe Oak Gall Ink", "Oak Gall Ink", product.description, True)
    ]


def test_a_grounded_training_row_is_neither_trained_nor_untrained(tmp_path: Path) -> None:
    shown = Product("1", "Oak Gall Ink", "Black.\n\nVery.")
    lines = [
        row_line("A", "One.", "Describe {title}"),
        row_line(shown.title, shown.description, "Tell me about {title}.", shown),
    ]
    trained = tmp_path / "train.jsonl"
    trained.write_text("\n".join(lines) + "\n", encoding="utf-8")
    data = write(tmp_path / "test.jsonl", [(shown.title, shown.description), ("B", "Two.")])
    questions, _ = sample_questions(data, trained, None, 0)
    assert groups(questions) == {
        Group.TRAINED: {"A"}, Group.UNTRAINED: {"B"},
    }  # fmt: skip


def test_bad_lines_are_skipped_and_other_files_rejected(tmp_path: Path) -> None:
    good = row_line("A", "One.", "{title}")
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b'{"messages": 3}\n\n\xff\n' + f"{good}\n{good[:40]}".encode())
    assert list(read_rows(file)) == [QuestionRow("A", "A", "One.")]
    with pytest.raises(DataError, match="no training rows"):
        list(read_rows(write_rows(tmp_path / "trn.json")))
    with pytest.raises(DataError, match="Cannot read"):
        list(read_rows(tmp_path / "nowhere.jsonl"))


def groups(questions: list[Question]) -> dict[Group, set[str]]:
    titles = {group: {one.title for one in questions if one.group is group} for group in Group}
    return {group: found for group, found in titles.items() if found}


def test_groups(tmp_path: Path) -> None:
    trained = write(tmp_path / "train.jsonl", [("A", "One."), ("B", "Two.")])
    pairs = [("A", "One."), ("C", "Two."), ("A", "Three."), ("D", "Four."), ("D", "Five.")]
    data = write(tmp_path / "test.jsonl", pairs)
    questions, titles = sample_questions(data, trained, None, 0)
    # C has a description that was trained on, the second A a title that was.
    assert groups(questions) == {
        Group.TRAINED: {"A", "B"}, Group.UNTRAINED: {"D"},
    }  # fmt: skip
    assert len([one for one in questions if one.title == "D"]) == 2
    assert sorted(titles) == ["A", "A", "C", "D", "D"]
    assert groups(sample_questions(data, None, None, 0)[0])[Group.UNTRAINED] == {"A", "C", "D"}


def test_a_product_is_asked_for_once(tmp_path: Path) -> None:
    lines = [row_line("Oak Gall Ink", "Black.", form) for form in QUESTION_FORMS]
    (tmp_path / "test.jsonl").write_text("\n".join(lines), encoding="utf-8")
    assert len(sample_questions(tmp_path / "test.jsonl", None, None, 0)[0]) == 1


def test_a_small_sample_is_part_of_a_larger_one(tmp_path: Path) -> None:
    pairs = [(f"Title {number:05}", f"Text {number}.") for number in range(5000)]
    data = write(tmp_path / "test.jsonl", pairs)
    small, titles = sample_questions(data, None, 100, 0)
    large, same_titles = sample_questions(data, None, 1200, 0)
    other, _ = sample_questions(data, None, 100, 1)
    assert large[:100] == small
    assert titles == same_titles
    assert not set(small) <= set(other)
    in_the_head = sum(one.title < "Title 02500" for one in large)
    assert 500 < in_the_head < 700


def test_invented_titles_are_absent_and_repeatable(sample: Path) -> None:
    catalogue = Catalogue.open(sample)
    titles = [row.title for row in _sample_rows()]
    made = invent_questions(24, titles, catalogue.find, seed=3)
    words = {word for title in titles for word in title.split()}
    try:
        assert len({one.title for one in made}) == 24
        assert made == invent_questions(24, titles, catalogue.find, seed=3)
        assert made[:8] == invent_questions(8, titles, catalogue.find, seed=3)
        assert {one.title for one in made} != {
            one.title for one in invent_questions(24, titles, catalogue.find, seed=4)
        }
        assert not {one.title for one in made} & set(titles)
        assert all(one.record == "" and one.group is Group.INVENTED for one in made)
        known = [one for one in made if set(one.title.split()) <= words]
        assert 4 <= len(known) <= 20
    finally:
        catalogue.close()


def _sample_rows() -> list[Product]:
    import json

    with sample_source().open(encoding="utf-8") as lines:
        return [Product(row["uid"], row["title"], row["content"]) for row in map(json.loads, lines)]


def test_a_title_that_may_mean_a_product_is_not_absent() -> None:
    stool = Product("1", "Canvas Stool, Green", "")
    near = Decision(Status.NONE, nearest=(Hit(stool, 0.4),))
    assert not is_absent("The canvas stool, green", near)
    assert not is_absent("Green Stool Atlas", near)
    assert is_absent("Green Umbrella Atlas", near)
    assert is_absent("Green Umbrella", Decision(Status.NONE))
    assert not is_absent("!?", Decision(Status.NONE))


def test_inventing_ends_if_the_catalogue_has_every_title() -> None:
    def find(title: str) -> Decision:
        return Decision(Status.EXACT, (Hit(Product("1", title, ""), 1.0),))

    assert invent_questions(3, ["Oak Gall Ink"], find, 0) == []


def test_trained_products_are_asked_in_other_words_and_their_near_misses_too(
    tmp_path: Path,
) -> None:
    prepare(sample_source(), tmp_path / "rows", PrepareConfig(limit=60, forms=2))
    trained = tmp_path / "rows/train.jsonl"
    rows = list(read_rows(trained))
    made = exam_questions(trained, 20, 0)
    known = [one for one in made if one.group is Group.REWORDED]
    near = [one for one in made if one.group is Group.NEAR_MISS]
    assert (len(known), len(near)) == (20, 20)
    assert {one.question for one in known}.isdisjoint(row.question for row in rows)
    assert {one.record for one in known} <= {row.record for row in rows}
    assert {one.title for one in near}.isdisjoint(row.title for row in rows)
    assert not any(one.record for one in near)
    # A larger sample asks the same, and more.
    assert {one.id for one in made} < {one.id for one in exam_questions(trained, 30, 0)}
    (tmp_path / "rows/products.jsonl").unlink()
    assert exam_questions(trained, 20, 0) == []
