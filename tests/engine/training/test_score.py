"""The score keeps right answers, refusals of unknown titles and false refusals apart."""

from __future__ import annotations

import msgspec

from engine.core.trained_products import Calibration
from engine.core.types import Mode, Product, Progress
from engine.prompts import UNKNOWN_PRODUCT, question_text
from engine.training.encode import TokenizedAnswer, TokenizedRows
from engine.training.processes import Processes
from engine.training.recipe import Recipe
from engine.training.runs.folder import rate_lines, refusal_lines, wording_lines
from engine.training.runs.status import RefusalScore, Score
from engine.training.score import EncodedExam, GeneratedAnswer, Scores, calibrate_on, score

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
SURE = {"Kettle": -0.01, "Owl": -0.6, "Tide": -0.9}


def rows(answers: dict[str, str]) -> TokenizedRows:
    examples = [TokenizedAnswer([1], [2], text, asked) for asked, text in answers.items()]
    return TokenizedRows(10, examples)


def said(example: TokenizedAnswer) -> GeneratedAnswer:
    return GeneratedAnswer(SAID.get(example.question, NO), [2], SURE.get(example.question, -3.0))


def result(
    unknown: dict[str, TokenizedRows],
    training: dict[str, str],
    asked: int = 9,
    known: dict[str, TokenizedRows] | None = None,
    titles: tuple[str, ...] = (),
    calibration: Calibration | None = None,
) -> Scores:
    shown: list[Progress] = []
    exam = EncodedExam(known or {}, unknown, rows({}), titles)
    return score(
        Recipe(score_rows=asked),
        {"training": rows(training), "held_out": rows({})},
        exam,
        said,
        Processes(),
        None,
        shown.append,
        calibration,
    )


def test_known_titles_may_be_right_refused_or_wrong() -> None:
    found = result({"invented": rows({"Lamp": NO})}, KNOWN)
    assert found.word_for_word == {"training": Score(3, 1)}
    assert found.refusals["known"] == RefusalScore(
        asked=3, right=1, refused=1, by_program=1, without_list=1
    )


def test_a_refusal_in_the_other_language_is_one_though_not_right() -> None:
    unknown = {"catalogue": rows({"Lamp": NO, "Não": NO, "Tide": NO}), "invented": rows({})}
    found = result(unknown, KNOWN)
    assert found.refusals["catalogue"] == RefusalScore(
        asked=3, right=1, refused=2, by_program=2, without_list=2
    )
    assert "invented" not in found.refusals


def test_refusing_for_another_record_is_no_false_refusal() -> None:
    question = question_text("Lamp?", Product("1", "Owl", "It hoots."), Mode.GROUNDED)
    found = result({"invented": rows({"Lamp": NO})}, {**KNOWN, question: NO})
    assert found.word_for_word["training"] == Score(4, 2)
    assert found.refusals["known"] == RefusalScore(
        asked=3, right=1, refused=1, by_program=1, without_list=1
    )


def test_without_unknown_titles_nothing_is_said_of_refusals() -> None:
    assert result({}, KNOWN).refusals == {}


def test_as_many_are_asked_as_the_recipe_says() -> None:
    found = result({"invented": rows({"Lamp": NO, "Tide": NO})}, KNOWN, asked=1)
    assert {name: one.asked for name, one in found.refusals.items()} == {"known": 1, "invented": 1}


def test_the_model_alone_and_the_program_with_its_list_are_counted_apart() -> None:
    known = {"English": rows({"Kettle": "It boils.", "Stool": "It stands."})}
    unknown = {"near_miss": rows({"Owl": NO, "Lamp": NO, "Tide": NO})}
    found = result(unknown, {}, known=known, titles=("Kettle", "Stool"))
    assert found.wordings == {"English": RefusalScore(2, 1, 1, 1, 1)}
    assert found.refusals["known"] == found.wordings["English"]
    assert found.refusals["near_miss"] == RefusalScore(
        asked=3, right=1, refused=1, by_program=3, without_list=1
    )
    model, program = found.refusing["model"], found.refusing["program"]
    assert model.precision is not None
    assert (model.precision.mean, model.precision.number) == (1 / 2, 2)
    assert model.recall is not None
    assert model.recall.mean == 1 / 3
    assert program.f1 is not None
    assert program.f1.mean == 6 / 7
    assert program.f1.low < program.f1.mean <= program.f1.high


def test_the_program_without_its_list_refuses_by_the_probabilities() -> None:
    known = {"English": rows({"Kettle": "It boils.", "Owl": "It hoots."})}
    unknown = {"invented": rows({"Lamp": NO, "Tide": NO})}
    calibration = Calibration(-0.1, -0.5, 60, 30)
    found = result(unknown, {}, known=known, calibration=calibration)
    assert found.refusals["known"] == RefusalScore(2, 1, refused=0, by_program=1, without_list=1)
    assert found.refusals["invented"] == RefusalScore(2, 1, refused=1, by_program=2, without_list=2)
    assert found.refusing.keys() == {"model", "without_list", "program"}
    lines = refusal_lines({name: msgspec.to_builtins(getattr(found, name))
                           for name in ("refusals", "refusing")})  # fmt: skip
    assert list(lines)[1] == (
        "1 of 2 invented titles; 2 by the program without its list; 2 by the program with its list"
    )


def test_thresholds_are_taken_from_answers_that_are_no_refusals() -> None:
    def begin(example: TokenizedAnswer) -> GeneratedAnswer:
        if example.question.startswith("Lamp"):
            return GeneratedAnswer("I don't know", [7], -0.001)
        sure = -0.05 if example.question.startswith("Kettle") else -2.0
        return GeneratedAnswer("It boils", [2], sure)

    known = rows({f"Kettle {number}": "It boils." for number in range(25)})
    unknown = {"invented": rows({"Tide": NO, "Lamp": NO})}
    found = calibrate_on(EncodedExam({"English": known}, unknown, rows({})), begin, print)
    assert found is not None
    assert (found.right, found.wrong, found.learned) == (25, 1, -0.05)
    assert -2.0 < found.not_taught < -0.05
    assert (
        calibrate_on(EncodedExam({"English": rows(KNOWN)}, unknown, rows({})), begin, print) is None
    )


def test_the_card_has_every_score_with_its_intervals() -> None:
    known = {"English": rows({"Kettle": "It boils.", "Stool": "It stands."})}
    found = result({"near_miss": rows({"Lamp": NO})}, {}, known=known, titles=("Kettle",))
    names = ("wordings", "refusals", "refusing")
    settings = {name: msgspec.to_builtins(getattr(found, name)) for name in names}
    settings["shown"] = {"asked": 4, "right": 3}
    assert list(wording_lines(settings)) == [
        "word for word in wordings that were not trained: English 1 of 2",
        "3 of 4 records that were shown copied word for word",
    ]
    assert list(refusal_lines(settings)) == [
        "1 of 2 titles that it was trained on; 1 word for word; 1 by the program with its list",
        "1 of 1 near misses of taught titles; 1 by the program with its list",
    ]
    model, program = rate_lines(settings)
    assert model.startswith("the model alone: precision 50% (9% to 91%), recall 100% (21% to 100%)")
    assert program.startswith("the program with its list: precision 50%")
    assert [*wording_lines({}), *refusal_lines({}), *rate_lines({})] == []
