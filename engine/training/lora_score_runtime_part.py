"""How many questions a model answers word for word, by greedy decoding. Imported late."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch  # noqa: TID253 - this module is imported lazily
from transformers import GenerationConfig  # noqa: TID253 - as above

from engine.core.types import Progress
from engine.training.encode import Encoder, Example

_SPARE_TOKENS = 8


def score(
    model: Any,  # noqa: ANN401 - untyped library
    encoder: Encoder,
    examples: Sequence[Example],
    show: Callable[[Progress], None],
) -> int:
    """Ask every example's question and compare, blanks aside: how many answers are right."""
    right = 0
    with torch.inference_mode():
        for number, example in enumerate(examples):
            show(Progress(f"asking, {right} of {number} word for word", number / len(examples)))
            answer = encoder.text(answer_tokens(model, example))
            right += answer.split() == example.answer.split()
    return right


def answer_tokens(model: Any, example: Example) -> list[int]:  # noqa: ANN401 - untyped library
    """What `model` answers greedily, with its end, but not much longer than what is right."""
    prompt = torch.tensor([example.prompt], device=model.device)
    end = example.completion[-1]
    tokens = model.generate(
        input_ids=prompt,
        attention_mask=torch.ones_like(prompt),
        generation_config=GenerationConfig(
            # An answer that is right has ended by then.
            max_new_tokens=len(example.completion) + _SPARE_TOKENS,
            do_sample=False,
            eos_token_id=end,
            pad_token_id=end,
        ),
    )
    found: list[int] = tokens[0, prompt.shape[1] :].tolist()
    return found
