"""Ask a model in training for answers; count those that are right word for word, and refusals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from transformers import GenerationConfig

from engine.catalogue.rows.kinds import RowKind, row_kind
from engine.core.types import Progress
from engine.prompts import is_refusal
from engine.training.encode import Encoder, TokenizedAnswer, TokenizedRows
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
    """The scores of an adapter: right answers by file, refusals by kind of title."""

    word_for_word: dict[str, Score]
    refusals: dict[str, RefusalScore]


def score(
    recipe: Recipe,
    rows: Mapping[str, TokenizedRows],
    unknown: Mapping[str, TokenizedRows],
    answerer: Answerer,
    processes: Processes,
    status: StatusFile | None,
    show: Callable[[Progress], None],
) -> Scores:
    """Ask some of each file's questions, and of those about `unknown` titles, by their kind.

    Every process calls this and asks its share; if the model is sharded, all ask every question.
    """
    if status:
        status.enter("scoring")

    def ask(found: TokenizedRows) -> _Asked:
        return _ask(found.some(recipe.score_rows), answerer, processes, show)

    asked = {name: ask(found) for name, found in rows.items() if found.answers}
    scores = {name: Score(len(one.examples), one.right()) for name, one in asked.items()}
    refused = {name: ask(found) for name, found in unknown.items() if found.answers}
    if refused and "training" in asked:
        refused = {"known": asked["training"].from_memory(), **refused}
    if status:
        status.sampled(scores)
    return Scores(scores, {name: one.refusals() for name, one in refused.items()})


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

    def refusals(self) -> RefusalScore:
        refused = self.total(sum(is_refusal(said) for _, said in self.answers))
        return RefusalScore(len(self.examples), self.right(), refused)


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
