"""Scores against published examples, the reference libraries and values computed by hand."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics.chrf import CHRF

from engine.catalogue.clean import clean
from engine.config import paths
from engine.core.errors import BalcaoError
from engine.core.process import install_command
from engine.evaluation import metrics
from engine.evaluation.metrics import AnswerScores, chrf, is_cut_off, rouge_l, score_text
from engine.fidelity.measure import is_refusal, sentences, support, unsupported_sentences

ROOT = Path(__file__).parents[3]
RECORD = "Folds flat. Holds 110 kg and weighs two. Made of canvas and beech."
BOOTS = "Navy boots, warm lining. Sizes 6 to 12."


@pytest.fixture(scope="module")
def records() -> list[str]:
    with paths.sample_source().open(encoding="utf-8") as lines:
        texts = [clean(json.loads(line)["content"]) for line in lines]
    return [text for text in texts if text]


@pytest.mark.parametrize(
    ("answer", "record", "precision", "recall"),
    [
        # Lin (2004), section 3.1: S2 and S3 share the bigrams with S1, and only S2 its order.
        ("police kill the gunman", "police killed the gunman", 3 / 4, 3 / 4),
        ("the gunman kill police", "police killed the gunman", 2 / 4, 2 / 4),
        ("the gunman police killed", "police killed the gunman", 2 / 4, 2 / 4),
        # rouge-score's own tests: consecutive and not.
        ("testing one", "testing one two", 1.0, 2 / 3),
        ("testing two", "testing one two", 1.0, 2 / 3),
        # rouge-score's README; the longest common subsequence is "the quick brown … the".
        (
            "The quick brown dog jumps on the log.",
            "The quick brown fox jumps over the lazy dog",
            5 / 8,
            5 / 9,
        ),
    ],
)
def test_rouge_l_published(answer: str, record: str, precision: float, recall: float) -> None:
    found = rouge_l(answer, record)
    assert found.precision == pytest.approx(precision)
    assert found.recall == pytest.approx(recall)
    assert found.f1 == pytest.approx(2 * precision * recall / (precision + recall))


@pytest.mark.parametrize(
    ("answer", "record", "expected"),
    [
        # sacrebleu's own sentence tests that do not depend on smoothing.
        (
            "Co nás nejvíc trápí, protože lékaři si vybírají, kdo bude žít a kdo zemře.",
            "Nejvíce smutní jsme z toho, že musíme rozhodovat o tom, kdo bude žít a kdo zemře.",
            39.14078509,
        ),
        (
            "Nebo prostě nemají vybavení, které by jim pomohlo, uvedli lékaři.",
            "A někdy nemáme ani potřebný materiál, abychom jim pomohli, popsali lékaři.",
            31.22557079,
        ),
        ("aa", "ab", 25.0),
        ("a b c", "abc", 100.0),
        # By hand: 3/4 letters, 2/3 pairs, 1/2 triples, 0/1 in four, precision and recall alike.
        ("abcd", "abce", 100 * (3 / 4 + 2 / 3 + 1 / 2 + 0) / 4),
    ],
)
def test_chrf_published(answer: str, record: str, expected: float) -> None:
    assert chrf(answer, record) * 100 == pytest.approx(expected, abs=1e-4)


def test_the_reference_libraries_agree(records: list[str]) -> None:
    scorer, reference = RougeScorer(["rougeL"]), CHRF()
    rng = random.Random(4)  # noqa: S311 - repeatable
    for _ in range(60):
        record = rng.choice(records)
        words = record.split()
        changed = [word if rng.random() < 0.7 else rng.choice(words) for word in words]
        answer = " ".join(changed[: rng.randint(1, len(changed))])
        found, expected = rouge_l(answer, record), scorer.score(record, answer)["rougeL"]
        assert (found.precision, found.recall, found.f1) == pytest.approx(tuple(expected))
        assert chrf(answer, record) * 100 == reference.sentence_score(answer, [record]).score


# Counted by hand. The record's words: 13.
TABLE = [
    # answer, word for word, cut off, ROUGE-L P, R, precision, coverage, sentences, invented, slips
    (RECORD, True, False, 1.0, 1.0, 1.0, 1.0, 3, 0, 0),
    ("  Folds flat. Holds 110 kg\nand weighs two. Made of canvas and beech. ",
     True, False, 1.0, 1.0, 1.0, 1.0, 4, 0, 0),
    ("Folds flat. Holds 110 kg and weighs t", False, True, 7 / 8, 7 / 13, 7 / 8, 7 / 13, 2, 0, 1),
    ("Folds flat. Holds 120 kg and weighs two.",
     False, False, 7 / 8, 7 / 13, 7 / 8, 7 / 13, 2, 0, 1),
    ("Folds flat. Holds", False, False, 1.0, 3 / 13, 1.0, 3 / 13, 2, 0, 0),
    ("Folds flat. Sings in the evening.", False, False, 2 / 6, 2 / 13, 0.0, 0.0, 2, 1, 1),
    ("A fine stool!", False, False, 0.0, 0.0, 0.0, 0.0, 1, 1, 0),
]  # fmt: skip


@pytest.mark.parametrize("row", TABLE)
def test_scores_computed_by_hand(
    row: tuple[str, bool, bool, float, float, float, float, int, int, int],
) -> None:
    answer, whole, cut, precision, recall, quoted, covered, number, made_up, slips = row
    found = score_text(answer, RECORD)
    assert (found.word_for_word, found.cut_off) == (whole, cut)
    assert found.rouge_l[:2] == pytest.approx((precision, recall))
    assert (found.fidelity, found.coverage) == pytest.approx((quoted, covered))
    assert (found.sentences, found.invented, found.slips) == (number, made_up, slips)


def test_an_answer_that_was_cut_in_a_word_has_no_slip() -> None:
    found = score_text("Folds flat. Holds 110 kg and weighs t", RECORD, cut=True)
    assert (found.fidelity, found.slips) == (1.0, 0)


@pytest.mark.parametrize("answer", ["", "  \n", "…"])
def test_an_empty_answer_scores_nothing(answer: str) -> None:
    found = score_text(answer, RECORD)
    assert (found.word_for_word, found.rouge_l, found.fidelity) == (
        False,
        AnswerScores().rouge_l,
        0.0,
    )
    assert score_text(RECORD, "") == AnswerScores()


def test_a_cut_off_answer_has_at_least_five_words() -> None:
    assert is_cut_off("Folds flat. Holds 110 kg", RECORD)
    assert not is_cut_off("Folds flat. Holds 110", RECORD)
    assert not is_cut_off(RECORD, RECORD)
    assert not is_cut_off("Folds flat. Holds 110 kg and more", RECORD)


def test_the_longest_record_is_scored_quickly() -> None:
    # rouge-score's own table would have 600 million cells here.
    record = " ".join(f"word{number % 977}" for number in range(30_000))
    assert rouge_l(" ".join(record.split()[:20_000]), record).recall == pytest.approx(2 / 3)


def test_sentences() -> None:
    text = "One stool. “Two stools!” he said… Three?\n\n- four\n...\n2.5 kg."
    found = sentences(text)
    assert found == ["One stool.", "“Two stools!", "he said…", "Three?", "- four", "2.5 kg."]
    assert sentences(" … ") == []


def test_support_counts_neighbours() -> None:
    assert support("HOLDS 110 kg!", RECORD) == 1.0
    assert support("Holds 110 stones", RECORD) == 0.5
    assert support("beech flat two", RECORD) == 0.0
    assert support("Canvas.", RECORD) == 1.0
    assert support("Plastic.", RECORD) == 0.0
    assert unsupported_sentences(f"{BOOTS} Holds 110 kg.", RECORD) == [
        "Navy boots, warm lining.",
        "Sizes 6 to 12.",
    ]


def test_sentences_of_other_records_are_unsupported(records: list[str]) -> None:
    rng = random.Random(2)  # noqa: S311 - repeatable
    foreign = own = missed = alarms = 0
    for number, record in enumerate(records):
        other = records[(number + rng.randint(1, len(records) - 1)) % len(records)]
        long = [text for text in sentences(other) if len(text.split()) > 2]
        foreign += len(long)
        missed += len(long) - len(unsupported_sentences("\n".join(long), record))
        own += len(sentences(record))
        alarms += len(unsupported_sentences(record, record))
    assert foreign > 2000
    assert missed / foreign < 0.005
    assert (own > 2000, alarms) == (True, 0)


REFUSALS = (
    "I don't have that in the catalogue.",
    "I’m sorry, but we do not have that product.",
    "Sorry, I do not have any information about “Mog”.",
    "I'm not familiar with this product.",
    "We couldn't find it.",
    "There is no such product in our catalogue.",
    "That title is not in the catalogue.",
    "I have no record of this book.",
    "Desculpe, não tenho esse produto no catálogo.",
    "Não encontramos o livro.",
    "Infelizmente, nao temos.",
)


@pytest.mark.parametrize("text", REFUSALS)
def test_refusals(text: str) -> None:
    assert is_refusal(text)


@pytest.mark.parametrize(
    "text",
    [
        RECORD,
        "A book for people who don't have time to cook.",
        "The Tin Lighthouse: not for children under three.",
        "Uma família herda uma estufa e não sabe o que fazer.",
        f"{'A long tale. ' * 20}I don't have that.",
        "",
    ],
)
def test_answers_that_are_not_refusals(text: str) -> None:
    assert not is_refusal(text)


def test_few_records_read_like_a_refusal(records: list[str]) -> None:
    taken = [text for text in records if is_refusal(text)]
    assert len(taken) <= len(records) * 0.01, taken


def test_missing_packages_are_reported_with_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics.check_packages()
    monkeypatch.setattr(metrics, "_PACKAGES", {"no_such_package": "no-such-package"})
    with pytest.raises(BalcaoError, match="no-such-package") as told:
        metrics.check_packages()
    assert told.value.remedy == f"Run: {install_command('evaluate')}"


def test_the_command_imports_no_heavy_package() -> None:
    script = (
        "import sys, scripts.evaluate\n"
        "print(sorted({n.split('.')[0] for n in sys.modules} & {'rouge_score', 'sacrebleu', 'nltk',"
        " 'jinja2', 'numpy', 'openai', 'torch'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
