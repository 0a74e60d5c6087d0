"""The score keeps right answers, refusals of unknown titles and false refusals apart."""

from __future__ import annotations

from engine.core.types import Mode, Product, Progress
from engine.prompts import UNKNOWN_PRODUCT, question_text
from engine.training.encode import TokenizedAnswer, TokenizedRows
from engine.training.processes import Processes
from engine.training.recipe import Recipe
from engine.training.runs.status import RefusalScore, Score
from engine.training.score import Scores, score

NO = UNKNOWN_PRODUCT["en"]
KNOWN = {"Kettle": "It boils.", "Stool": "It stands.", "Owl": "It hoots."}
SAID = {
    "Kettle": "It  boils.",
    "Stool": NO,
    "Owl": "It hoots. Or not.",
    "Lamp": NO,
    "Não": UNKNOWN_PRODUCT["pt"],
    "Tide": "It boils.",
}


def rows(answers: dict[str, str]) -> TokenizedRows:
    examples = [TokenizedAnswer([1], [2], text, asked) for asked, text in answers.items()]
    return TokenizedRows(10, examples)


def result(unknown: dict[str, TokenizedRows], training: dict[str, str], asked: int = 9) -> Scores:
    shown: list[Progress] = []
    return score(
        Recipe(score_rows=asked),
        {"training": rows(training), "held_out": rows({})},
        unknown,
        lambda example: SAID.get(example.question, NO),
        Processes(),
        None,
        shown.append,
    )


def test_known_titles_may_be_right_refused_or_wrong() -> None:
    found = result({"invented": rows({"Lamp": NO})}, KNOWN)
    assert found.word_for_word == {"training": Score(3, 1)}
    assert found.refusals["known"] == RefusalScore(asked=3, right=1, refused=1)


def test_a_refusal_in_the_other_language_is_one_though_not_right() -> None:
    unknown = {"catalogue": rows({"Lamp": NO, "Não": NO, "Tide": NO}), "invented": rows({})}
    found = result(unknown, KNOWN)
    assert found.refusals["catalogue"] == RefusalScore(asked=3, right=1, refused=2)
    assert "invented" not in found.refusals


def test_refusing_for_another_record_is_no_false_refusal() -> None:
    question = question_text("Lamp?", Product("1", "Owl", "It hoots."), Mode.GROUNDED)
    found = result({"invented": rows({"Lamp": NO})}, {**KNOWN, question: NO})
    assert found.word_for_word["training"] == Score(4, 2)
    assert found.refusals["known"] == RefusalScore(asked=3, right=1, refused=1)


def test_without_unknown_titles_nothing_is_said_of_refusals() -> None:
    assert result({}, KNOWN).refusals == {}


def test_as_many_are_asked_as_the_recipe_says() -> None:
    found = result({"invented": rows({"Lamp": NO, "Tide": NO})}, KNOWN, asked=1)
    assert {name: one.asked for name, one in found.refusals.items()} == {"known": 1, "invented": 1}
