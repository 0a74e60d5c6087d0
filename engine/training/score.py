"""Ask a model in training for answers; count those that are right word for word, and refusals."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from msgspec.structs import astuple
from transformers import GenerationConfig

from engine.catalogue.rows.kinds import RowKind, row_kind
from engine.catalogue.taught import taught_titles
from engine.core.types import Decision, Progress, Status, Taught
from engine.evaluation.statistics import Rates, rates
from engine.prompts import is_refusal
from engine.training.encode import Encoder, TokenizedAnswer, TokenizedRows
from engine.training.exam import Exam
from engine.training.processes import Processes
from engine.training.recipe import Recipe
from engine.training.runs.status import RefusalScore, Score, StatusFile

if TYPE_CHECKING:
    from engine.training.trainer import LoraTrainer, Numerics

Answerer = Callable[[TokenizedAnswer], str]
"""Answers the question of an example."""
_SPARE_TOKENS = 8


def generate(
    trainer: LoraTrainer, encoder: Encoder, numerics: Numerics, example: TokenizedAnswer
) -> str:
    """Answer the example's question greedily, up to a few tokens more than the right answer has."""
    model = trainer.model  # FSDP replaces it when training begins
    prompt = torch.tensor([example.prompt], device=model.device)
    end = example.completion[-1]
    with numerics.autocast():
        tokens = model.generate(
            input_ids=prompt,
            attention_mask=torch.ones_like(prompt),
            generation_config=GenerationConfig(
                max_new_tokens=len(example.completion) + _SPARE_TOKENS,
                do_sample=False,
                eos_token_id=end,
                pad_token_id=end,
            ),
        )
    return encoder.decode(tokens[0, prompt.shape[1] :].tolist())


def is_right(answer: str, example: TokenizedAnswer) -> bool:
    """Return whether the answer is right word for word, whitespace aside."""
    return answer.split() == example.answer.split()


@dataclass(frozen=True, slots=True)
class Scores:
    """The scores of an adapter: right answers by file, refusals by kind of title.

    `wordings` has those of known titles by wording, `shown` counts the records that it copied, and
    `refusing` rates the refusals of the model alone and of the program.
    """

    word_for_word: dict[str, Score]
    refusals: dict[str, RefusalScore]
    wordings: dict[str, RefusalScore] = field(default_factory=dict)
    shown: Score | None = None
    refusing: dict[str, Rates] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EncodedExam:
    """An Exam as tokens."""

    known: Mapping[str, TokenizedRows]
    unknown: Mapping[str, TokenizedRows]
    shown: TokenizedRows
    titles: tuple[str, ...] = ()

    @classmethod
    def encode(cls, exam: Exam, encoder: Encoder, limit: int) -> EncodedExam:
        """Encode the rows of an exam of up to `limit` tokens."""
        known = {name: encoder.encode(rows, limit) for name, rows in exam.known.items()}
        unknown = {kind: encoder.encode(rows, limit) for kind, rows in exam.unknown.items()}
        return cls(known, unknown, encoder.encode(exam.shown, limit), exam.titles)


def score(
    recipe: Recipe,
    rows: Mapping[str, TokenizedRows],
    exam: EncodedExam,
    answerer: Answerer,
    processes: Processes,
    status: StatusFile | None,
    show: Callable[[Progress], None],
) -> Scores:
    """Ask some of each file's questions, and those of an exam.

    Every process calls this and asks its share; if the model is sharded, all ask every question.
    """
    if status:
        status.enter("scoring")

    def ask(found: TokenizedRows) -> _Asked:
        return _ask(found.some(recipe.score_rows), answerer, processes, show)

    asked = {name: ask(found) for name, found in rows.items() if found.answers}
    scores = {name: Score(len(one.examples), one.right()) for name, one in asked.items()}
    if status:
        status.sampled(scores)
    known = {name: ask(found) for name, found in exam.known.items() if found.answers}
    refuses = _refuser(exam.titles)
    wordings = {name: one.refusals(refuses) for name, one in known.items()}
    refused = {
        kind: ask(found).refusals(refuses) for kind, found in exam.unknown.items() if found.answers
    }
    if refused and wordings:
        refused = {"known": _sum(wordings.values()), **refused}
    elif refused and "training" in asked:
        refused = {"known": asked["training"].from_memory().refusals(refuses), **refused}
    shown = ask(exam.shown) if exam.shown.answers else None
    return Scores(
        scores,
        refused,
        wordings,
        Score(len(shown.examples), shown.right()) if shown else None,
        _rate(refused),
    )


def _refuser(titles: tuple[str, ...]) -> Callable[[str, str], bool]:
    """Return what the program makes of a question and an answer, by its list if it has one."""
    if not titles:
        return lambda _question, answer: is_refusal(answer)
    judge = taught_titles(titles).judge
    found = Decision(Status.NONE)  # a run has no catalogue

    def refuses(question: str, answer: str) -> bool:
        return is_refusal(answer) or judge(question, found) is Taught.NOT_TAUGHT

    return refuses


def _sum(scores: Iterable[RefusalScore]) -> RefusalScore:
    return RefusalScore(*map(sum, zip(*map(astuple, scores), strict=True)))


def _rate(scores: Mapping[str, RefusalScore]) -> dict[str, Rates]:
    """Rate the refusals of the model alone, and those of the program."""
    known = scores.get("known")
    unknown = [score for kind, score in scores.items() if kind != "known"]
    if not known or not unknown:
        return {}
    total = _sum(unknown)
    return {
        "model": rates(total.refused, total.asked, known.refused, known.asked),
        "program": rates(total.by_program, total.asked, known.by_program, known.asked),
    }


@dataclass(frozen=True, slots=True)
class _Asked:
    """The examples of a file, and the answers to those that this process asked."""

    examples: Sequence[TokenizedAnswer]
    answers: Sequence[tuple[TokenizedAnswer, str]]
    total: Callable[[int], int]

    def from_memory(self) -> _Asked:
        """Return those about products to know."""
        return _Asked(
            [one for one in self.examples if _is_from_memory(one)],
            [pair for pair in self.answers if _is_from_memory(pair[0])],
            self.total,
        )

    def right(self) -> int:
        return self.total(sum(is_right(said, one) for one, said in self.answers))

    def refusals(self, refuses: Callable[[str, str], bool]) -> RefusalScore:
        refused = self.total(sum(is_refusal(said) for _, said in self.answers))
        by_program = self.total(sum(refuses(one.question, said) for one, said in self.answers))
        return RefusalScore(len(self.examples), self.right(), refused, by_program)


def _is_from_memory(example: TokenizedAnswer) -> bool:
    return row_kind(example.question, example.answer) is RowKind.MEMORY


@torch.inference_mode()
def _ask(
    examples: Sequence[TokenizedAnswer],
    answerer: Answerer,
    processes: Processes,
    show: Callable[[Progress], None],
) -> _Asked:
    share = examples if processes.sharded else examples[processes.index :: processes.count]
    answers: list[tuple[TokenizedAnswer, str]] = []
    right = 0
    for number, example in enumerate(share):
        show(Progress(f"scoring: {right} of {number} word for word", number / len(share)))
        answers.append((example, answerer(example)))
        right += is_right(answers[-1][1], example)
    return _Asked(examples, answers, int if processes.sharded else processes.total)
