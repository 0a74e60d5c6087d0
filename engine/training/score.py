"""Ask a model in training for answers, and count those that are right word for word."""

from collections.abc import Callable, Mapping, Sequence

import torch
from transformers import GenerationConfig

from engine.core.types import Progress
from engine.training.encode import Encoder, TokenizedAnswer, TokenizedRows
from engine.training.processes import Processes
from engine.training.recipe import Recipe
from engine.training.runs.status import Score, StatusFile
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


def score(
    recipe: Recipe,
    rows: Mapping[str, TokenizedRows],
    answerer: Answerer,
    processes: Processes,
    status: StatusFile | None,
    show: Callable[[Progress], None],
) -> dict[str, Score]:
    """Ask some of each file's questions and count the right answers.

    Every process calls this and asks its share; if the model is sharded, all ask every question.
    """
    if status:
        status.enter("scoring")
    scores = {
        name: _score(found.some(recipe.score_rows), answerer, processes, show)
        for name, found in rows.items()
        if found.answers
    }
    if status:
        status.sampled(scores)
    return scores


@torch.inference_mode()
def _score(
    examples: Sequence[TokenizedAnswer],
    answerer: Answerer,
    processes: Processes,
    show: Callable[[Progress], None],
) -> Score:
    share = examples if processes.sharded else examples[processes.index :: processes.count]
    right = 0
    for number, example in enumerate(share):
        show(Progress(f"scoring: {right} of {number} word for word", number / len(share)))
        right += is_right(answerer(example), example)
    return Score(len(examples), right if processes.sharded else processes.total(right))
