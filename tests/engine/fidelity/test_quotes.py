"""What an answer quotes of a record, against values counted by hand."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.fidelity_faults import Record, faithful, faults, has_alarm, is_found, read_records
from engine.config import paths
from engine.fidelity.quotes import changed_sentences, compare, is_whole, spans

RECORD = (
    "A folding stool of canvas and beech. It is not suitable for children under 36 months. "
    "Holds 110 kg and weighs two. Colour: navy, so as not to show the dirt."
)


def unquoted(answer: str, record: str = RECORD) -> list[str]:
    return [span.text.strip() for span in spans(answer, record) if not span.quoted]


@pytest.fixture(scope="module")
def records() -> list[Record]:
    return read_records(paths.sample_source())


@pytest.mark.parametrize(
    "answer",
    [
        RECORD,
        RECORD.replace(" ", "\n"),
        RECORD.lower().replace(". It", "; It").replace("holds", "“holds").replace(":", "…"),
    ],
)
def test_all_of_the_record_is_word_for_word(answer: str) -> None:
    found = compare(answer, RECORD)
    assert found == (1.0, 1.0, 31, True)
    assert is_whole(answer, RECORD)
    assert unquoted(answer) == []


@pytest.mark.parametrize(
    ("answer", "covered"),
    [
        ("Holds 110 kg and weighs two.", 6),
        (
            "It is not suitable for children under 36 months. A folding stool of canvas and beech.",
            16,
        ),
        ("“Holds 110 kg and weighs two.” … “A folding stool of canvas and beech.”", 13),
        ("folding stool of canvas", 4),
        ("110 kg", 2),
        ("- **Holds** 110 kg and weighs two", 6),
    ],
)
def test_a_part_of_the_record_has_full_precision_and_its_share_of_coverage(
    answer: str, covered: int
) -> None:
    found = compare(answer, RECORD)
    assert found
    assert (found.precision, found.whole) == (1.0, False)
    assert found.coverage == pytest.approx(covered / 31)


@pytest.mark.parametrize(
    ("answer", "wrong"),
    [
        ("Holds 120 kg and weighs two.", ["120"]),
        ("It is suitable for children under 36 months.", ["suitable"]),
        ("Suitable for children under 36 months.", ["Suitable"]),
        ("It is not suitable for children under 3 months.", ["3"]),
        ("Holds 110 kg and two weighs.", ["two weighs."]),
        ("Weighs two and holds 110 kg.", ["Weighs two and"]),
        ("Made of canvas and beech. Holds 110 kg and weighs two.", ["Made"]),
        (
            "Holds 110 kg and weighs two. Holds 110 kg and weighs two.",
            ["Holds 110 kg and weighs two."],
        ),
    ],
)
def test_a_slip_is_a_word_that_does_not_count(answer: str, wrong: list[str]) -> None:
    assert unquoted(answer) == wrong
    found = compare(answer, RECORD)
    assert found
    assert found.precision < 1


def test_a_slip_in_a_long_answer_costs_a_word() -> None:
    found = compare(RECORD.replace("110", "120"), RECORD)
    assert found
    assert (found.precision, found.coverage) == pytest.approx((30 / 31, 30 / 31))
    assert changed_sentences(RECORD.replace("110", "120"), RECORD) == [
        "Holds 120 kg and weighs two"
    ]


@pytest.mark.parametrize(
    "answer",
    [
        "A 112222222222222222222222",
        "of and the to is so as not for it a",
        "the the the the the the the",
        "stool stool stool stool stool",
        "“P.",
        "kg 110 beech months children dirt navy two",
        "A folding a folding a folding a folding a folding a folding",
    ],
)
def test_function_words_single_words_and_repetition_count_nothing(answer: str) -> None:
    found = compare(answer, RECORD)
    assert found
    assert found.precision == 0


def test_the_last_word_of_a_cut_answer_may_be_a_beginning() -> None:
    found = compare("A folding stool of canvas and be", RECORD, cut=True)
    complete = compare("A folding stool of canvas and be", RECORD)
    assert found
    assert complete
    assert (found.precision, complete.precision) == pytest.approx((1.0, 6 / 7))


def test_nothing_to_compare() -> None:
    assert compare("", RECORD) is None
    assert compare("words", " …") is None
    assert spans("", RECORD) == []
    assert not is_whole("", "")


@given(st.lists(st.sampled_from([*RECORD.split(), "sings", "“", "\n"]), max_size=40))
def test_spans_are_the_answer_and_agree_with_precision(words: list[str]) -> None:
    answer = " ".join(words)
    found, compared = spans(answer, RECORD), compare(answer, RECORD)
    assert "".join(span.text for span in found) == answer
    assert all(one.quoted != other.quoted for one, other in pairwise(found))
    if compared and not compared.whole:
        quoted = sum(len(re.findall(r"\w+", span.text)) for span in found if span.quoted)
        assert quoted == compared.quoted
        assert 0 <= compared.precision <= 1
        assert 0 <= compared.coverage <= 1


def test_planted_faults_are_found_in_both_languages(records: list[Record]) -> None:
    planted, found = Counter[str](), Counter[str]()
    some = [*records[:12], *[one for one in records if one.language == "pt"][:8]]
    for fault in faults(some, random.Random(5)):  # noqa: S311 - repeatable
        planted[fault.record.language] += 1
        found[fault.record.language] += is_found(fault)
    assert planted["pt"] > 20
    for language, count in planted.items():
        assert found[language] / count >= 0.98


def test_faithful_answers_raise_no_alarm(records: list[Record]) -> None:
    said = alarms = 0
    for record in records[::9]:
        for answer in faithful(record, random.Random(5)):  # noqa: S311 - repeatable
            said += len(answer.sentences)
            alarms += len(has_alarm(answer, record))
    assert said > 500
    assert alarms / said <= 0.002


def _nonsense(record: str, rng: random.Random) -> str:
    kinds: tuple[Callable[[], str], ...] = (
        lambda: " ".join([rng.choice(record.split())] * rng.randint(3, 60)),
        lambda: "".join(rng.choices("abcdefgh 012", k=rng.randint(5, 200))),
        lambda: " ".join(rng.choices("the of and a to in is de que o não".split(), k=30)),  # noqa: SIM905
        lambda: " ".join(word[::-1] for word in record.split()),
    )
    return rng.choice(kinds)()


def test_nonsense_other_descriptions_and_cut_answers_are_told_apart() -> None:
    rng = random.Random(200)  # noqa: S311 - repeatable
    with Path(paths.sample_source()).open(encoding="utf-8") as lines:
        texts = [json.loads(line)["content"] for line in lines]
    texts = [text for text in texts if len(text.split()) >= 10]
    for text in rng.sample(texts, 200):
        nonsense = compare(_nonsense(text, rng), text)
        other = compare(rng.choice([one for one in texts if one != text]), text)
        cut = compare(text[: rng.randrange(1, len(text) - 2)], text, cut=True)
        assert nonsense is None or nonsense.precision <= 0.05
        assert other
        assert other.precision <= 0.05
        assert cut is None or (cut.precision, cut.whole) == (1.0, False)
