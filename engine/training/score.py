"""Ask a model in training: count right answers and refusals, and calibrate its probabilities."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import torch
from msgspec.structs import astuple
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from engine.catalogue.rows.kinds import RowKind, row_kind
from engine.catalogue.taught import Witnesses, taught_titles
from engine.core.trained_products import FIRST_TOKENS, Calibration
from engine.core.types import Decision, Progress, Status, Taught
from engine.evaluation.confidence import LEAST, calibrate
from engine.evaluation.statistics import Rates, rates
from engine.prompts import begins_refusal, is_refusal
from engine.training.encode import Encoder, TokenizedAnswer, TokenizedRows
from engine.training.exam import Exam
from engine.training.processes import Processes
from engine.training.recipe import Recipe
from engine.training.runs.status import RefusalScore, Score, StatusFile

if TYPE_CHECKING:
    from engine.training.trainer import LoraTrainer, Numerics


class GeneratedAnswer(NamedTuple):
    """An answer, and the mean log-probability of its first tokens."""

    text: str
    tokens: list[int]
    logprob: float


Answerer = Callable[[TokenizedAnswer], GeneratedAnswer]
"""Answers the question of an example."""
_SPARE_TOKENS = 8


def generate(
    trainer: LoraTrainer,
    encoder: Encoder,
    numerics: Numerics,
    example: TokenizedAnswer,
    most: int = 0,
) -> GeneratedAnswer:
    """Answer the question greedily, by default up to a few tokens more than the right answer."""
    model = trainer.model  # FSDP replaces it when training begins
    prompt = torch.tensor([example.prompt], device=model.device)
    end = example.completion[-1]
    first = _FirstLogprobs()
    with numerics.autocast():
        tokens = model.generate(
            input_ids=prompt,
            attention_mask=torch.ones_like(prompt),
            generation_config=GenerationConfig(
                max_new_tokens=most or len(example.completion) + _SPARE_TOKENS,
                do_sample=False,
                eos_token_id=end,
                pad_token_id=end,
            ),
            logits_processor=LogitsProcessorList([first]),
        )
    said = tokens[0, prompt.shape[1] :].tolist()
    return GeneratedAnswer(encoder.decode(said), said, sum(first.found) / len(first.found))


class _FirstLogprobs(LogitsProcessor):  # type: ignore[misc] # untyped library
    """Record the log-probabilities of the first tokens, which are the likeliest ones."""

    def __init__(self) -> None:
        self.found: list[float] = []

    def __call__(self, _tokens: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        if len(self.found) < FIRST_TOKENS:
            self.found.append(float(logits.float().log_softmax(-1).max()))
        return logits


@torch.inference_mode()
def calibrate_on(
    exam: EncodedExam, begin: Answerer, show: Callable[[Progress], None]
) -> Calibration | None:
    """Calibrate on the first tokens of answers to an exam's questions. Every process does all."""
    known = [one for rows in exam.known.values() for one in rows.answers]
    unknown = [one for rows in exam.unknown.values() for one in rows.answers]
    asked = [*known, *unknown] if len(known) >= LEAST else []
    right: list[float] = []
    wrong: list[float] = []
    for number, example in enumerate(asked):
        show(Progress("calibrating", number / len(asked)))
        said = begin(example)
        if not begins_refusal(said.text):
            is_right = example.completion[: len(said.tokens)] == said.tokens
            (right if is_right and number < len(known) else wrong).append(said.logprob)
    return calibrate(right, wrong)


def is_right(answer: str, example: TokenizedAnswer) -> bool:
    """Return whether the answer is right word for word, whitespace aside."""
    return answer.split() == example.answer.split()


@dataclass(frozen=True, slots=True)
class Scores:
    """The scores of an adapter: right answers by file, refusals by kind of title.

    `wordings` has those of known titles by wording, `shown` counts the records that it copied, and
    `refusing` rates the refusals of the model alone and of the program, without its list and with.
    """

    word_for_word: dict[str, Score]
    refusals: dict[str, RefusalScore]
    wordings: dict[str, RefusalScore] = field(default_factory=dict)
    shown: Score | None = None
    refusing: dict[str, Rates] = field(default_factory=dict)
    calibration: Calibration | None = None


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
    calibration: Calibration | None = None,
) -> Scores:
    """Ask some of each file's questions, and those of an exam.

    The program refuses by its list of taught titles and by a calibration, as the chat does. Every
    process calls this and asks its share; if the model is sharded, all ask every question.
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
    program = _Program(exam.titles, calibration)
    wordings = {name: one.refusals(program) for name, one in known.items()}
    refused = {
        kind: ask(found).refusals(program) for kind, found in exam.unknown.items() if found.answers
    }
    if refused and wordings:
        refused = {"known": _sum(wordings.values()), **refused}
    elif refused and "training" in asked:
        refused = {"known": asked["training"].from_memory().refusals(program), **refused}
    shown = ask(exam.shown) if exam.shown.answers else None
    return Scores(
        scores,
        refused,
        wordings,
        Score(len(shown.examples), shown.right()) if shown else None,
        _rate(refused, calibrated=calibration is not None),
        calibration,
    )


@dataclass(frozen=True, slots=True)
class _Program:
    """What the chat refuses, by its list of taught titles and by the probabilities."""

    titles: tuple[str, ...]
    calibration: Calibration | None

    def refuses(self, question: str, said: GeneratedAnswer, *, by_list: bool) -> bool:
        listed = None
        if by_list and self.titles:
            # A run has no catalogue.
            listed = taught_titles(self.titles).judge(question, Decision(Status.NONE))
        found = Witnesses(listed, self.calibration).weigh(said.text, [said.logprob])
        return is_refusal(said.text) or found is Taught.NOT_TAUGHT


def _sum(scores: Iterable[RefusalScore]) -> RefusalScore:
    return RefusalScore(*map(sum, zip(*map(astuple, scores), strict=True)))


def _rate(scores: Mapping[str, RefusalScore], *, calibrated: bool) -> dict[str, Rates]:
    """Rate the refusals of the model alone, and those of the program."""
    known = scores.get("known")
    unknown = [score for kind, score in scores.items() if kind != "known"]
    if not known or not unknown:
        return {}
    total = _sum(unknown)
    found = {"model": rates(total.refused, total.asked, known.refused, known.asked)}
    if calibrated:
        without = rates(total.without_list, total.asked, known.without_list, known.asked)
        found["without_list"] = without
    program = rates(total.by_program, total.asked, known.by_program, known.asked)
    return found | {"program": program}


@dataclass(frozen=True, slots=True)
class _Asked:
    """The examples of a file, and the answers to those that this process asked."""

    examples: Sequence[TokenizedAnswer]
    answers: Sequence[tuple[TokenizedAnswer, GeneratedAnswer]]
    total: Callable[[int], int]

    def from_memory(self) -> _Asked:
        """Return those about products to know."""
        return _Asked(
            [one for one in self.examples if _is_from_memory(one)],
            [pair for pair in self.answers if _is_from_memory(pair[0])],
            self.total,
        )

    def right(self) -> int:
        return self.total(sum(is_right(said.text, one) for one, said in self.answers))

    def refusals(self, program: _Program) -> RefusalScore:
        refused = self.total(sum(is_refusal(said.text) for _, said in self.answers))
        by_program, without_list = (
            self.total(
                sum(program.refuses(one.question, said, by_list=by) for one, said in self.answers)
            )
            for by in (True, False)
        )
        return RefusalScore(len(self.examples), self.right(), refused, by_program, without_list)


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
    answers: list[tuple[TokenizedAnswer, GeneratedAnswer]] = []
    right = 0
    for number, example in enumerate(share):
        so_far = f", {right} of {number} word for word" if number else ""
        show(Progress(f"scoring {number + 1} of {len(share)}{so_far}", number / len(share)))
        answers.append((example, answerer(example)))
        right += is_right(answers[-1][1].text, example)
    return _Asked(examples, answers, int if processes.sharded else processes.total)
