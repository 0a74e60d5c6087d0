"""Compare an evaluation with an older one, question by question."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from engine.core.errors import UsageError
from engine.core.files import UNDECODABLE, open_file, reading
from engine.evaluation.ask import ANSWERS_FILE, AnswerFile, SavedAnswer, Target
from engine.evaluation.metrics import ScoredAnswer, Verdict, score_answer
from engine.evaluation.questions import Group, Question

COMPARISON = "against.json"
_SAME = 0.005
"""A smaller change of the fidelity is none."""

_Answers = dict[tuple[str, str], SavedAnswer]


class ComparedRow(Struct, frozen=True):
    """A question that both asked; scores are 0 to 1: fidelity, or for an invented title a no."""

    group: Group
    title: str
    before: float
    after: float


class Comparison(Struct, frozen=True):
    """What a target says better and worse than a target of the older evaluation."""

    target: str
    older: str
    better: list[ComparedRow]
    worse: list[ComparedRow]
    same: int


def read_answers(folder: Path) -> _Answers:
    """Read the answers of an evaluation. Raise UsageError if the folder has none."""
    if not (folder / ANSWERS_FILE).is_file():
        raise UsageError(
            f"{folder} contains no evaluation.", "Pass the --out folder of an older evaluation."
        )
    decode = msgspec.json.Decoder(SavedAnswer).decode
    found: _Answers = {}
    with reading(folder), open_file(folder / ANSWERS_FILE) as lines:
        for line in lines:
            try:
                answer = decode(line)
            except UNDECODABLE:
                continue
            found[answer.target, answer.question] = answer
    return found


def compare_answers(
    targets: Sequence[Target], questions: Sequence[Question], answers: AnswerFile, older: _Answers
) -> list[Comparison]:
    """Compare each target with the same one, or the only one of that mode, of older answers."""
    keys = list(dict.fromkeys(key for key, _ in older))
    found = []
    for target in targets:
        before = _counterpart(target, targets, keys)
        rows = [
            row
            for question in questions
            if before
            and (row := _compare(target, question, answers, older.get((before, question.id))))
        ]
        if before and rows:
            found.append(_sort(target.key, before, rows))
    if not found:
        raise UsageError(
            "The older evaluation has no answers to the same questions.",
            "Compare evaluations of the same rows, with the same --seed and --limit.",
        )
    return found


def _counterpart(target: Target, targets: Sequence[Target], keys: Sequence[str]) -> str:
    if target.key in keys:
        return target.key
    mode = f":{target.mode}"
    new = [one.key for one in targets if one.key.endswith(mode) and one.key not in keys]
    left = {one.key for one in targets}
    old = [key for key in keys if key.endswith(mode) and key not in left]
    return old[0] if len(old) == len(new) == 1 and new[0] == target.key else ""


def _compare(
    target: Target, question: Question, answers: AnswerFile, old: SavedAnswer | None
) -> ComparedRow | None:
    new = answers.find(target, question)
    if new is None or old is None:
        return None
    before, after = (score_answer(question, one, target.mode) for one in (old, new))
    if Verdict.FAILED in (before.verdict, after.verdict):
        return None
    return ComparedRow(question.group, question.title, _score(before), _score(after))


def _score(answer: ScoredAnswer) -> float:
    if not answer.question.record:
        return float(answer.verdict is Verdict.REFUSED)
    return 1.0 if answer.scores.word_for_word else answer.scores.fidelity


def _sort(target: str, older: str, rows: Sequence[ComparedRow]) -> Comparison:
    changed = sorted(rows, key=lambda row: row.after - row.before)
    worse = [row for row in changed if row.after < row.before - _SAME]
    better = [row for row in reversed(changed) if row.after > row.before + _SAME]
    return Comparison(target, older, better, worse, len(rows) - len(better) - len(worse))
