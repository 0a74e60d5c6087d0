"""Trains the demo model; called by tools/make_demo_model.py. Imports torch: imported late."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaForCausalLM
from transformers.utils.logging import disable_progress_bar

from engine.backends.llama.tokens import PromptTokens, read_tokenizer
from engine.core.types import Product, Progress
from engine.prompts import QUESTION_FORMS, training_messages
from tools.demo.rows import FINISH, IGNORED, SETTLE, DemoRows, Mixture, Row, padded
from tools.demo.shape import CONTEXT, make_model
from tools.demo.tokenizer import make_tokenizer

_FORM = QUESTION_FORMS[1]
_FEW = 16
"""Products that are asked now and then while it trains."""
_ASK_EVERY = 100
_SEEN_ASKED = 100
_ROUND_UP = 64
"""The vocabulary's rows are a multiple of this."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How the demo model is trained. `batch` is in tokens."""

    seed: int = 0
    steps: int = 1400
    finish: int = 450
    """Steps after those, from memory above all (demo_rows_runtime.FINISH)."""
    finish_rate: float = 1.2e-3
    settle: int = 250
    """Steps after those, with a record in every prompt (demo_rows_runtime.SETTLE)."""
    settle_rate: float = 6e-4
    settle_batch: int = 1536
    settle_warm_up: int = 30
    batch: int = 2048
    learning_rate: float = 1.5e-3
    warm_up: int = 50
    """Steps in which the rate rises."""
    bf16: bool = True
    mixture: Mixture = field(default_factory=Mixture)


@dataclass(frozen=True, slots=True)
class Scores:
    """Of how many products the description is said word for word, with what is given."""

    unseen_grounded: tuple[int, int]
    seen_grounded: tuple[int, int]
    seen_memory: tuple[int, int]
    unseen_memory: tuple[int, int]


def make(
    seen: Sequence[Product],
    unseen: Sequence[Product],
    folder: Path,
    plan: Plan,
    show: Callable[[Progress], None],
) -> Scores:
    """Write tokenizer and model into `folder`, trained on `seen`, and measure what was written.

    `unseen` is never trained on; how well it is copied is told while the training goes on.
    """
    disable_progress_bar()  # ours is on the same line
    tokens = PromptTokens(make_tokenizer(seen, folder))
    size = -(-len(tokens.tokenizer) // _ROUND_UP) * _ROUND_UP
    model = make_model(size, plan.seed)
    rows = DemoRows(tokens, seen, plan.mixture, plan.seed)
    ask = lambda: _exact(model, tokens, unseen[:_FEW], grounded=True)  # noqa: E731 - two words
    _train(model, rows, plan, ask, show, grown=False)
    _save(model, folder)
    finish(seen, unseen, folder, plan, show)
    settle(seen, unseen, folder, plan, show)
    return measure(seen, unseen, folder, show)


def finish(
    seen: Sequence[Product],
    unseen: Sequence[Product],
    folder: Path,
    plan: Plan,
    show: Callable[[Progress], None],
) -> None:
    """Train the model in `folder`, as it was written, through the last steps."""
    tokens, model = PromptTokens(read_tokenizer(folder)), _read(folder)
    rows = DemoRows(tokens, seen, FINISH, plan.seed + 1)
    last = replace(plan, steps=plan.finish, learning_rate=plan.finish_rate)
    ask = lambda: _exact(model, tokens, unseen[:_FEW], grounded=True)  # noqa: E731 - as above
    _train(model, rows, last, ask, show, grown=True)
    _save(model, folder)


def settle(
    seen: Sequence[Product],
    unseen: Sequence[Product],
    folder: Path,
    plan: Plan,
    show: Callable[[Progress], None],
) -> None:
    """Train the model in `folder`, as it was written, to copy again what it is shown."""
    tokens, model = PromptTokens(read_tokenizer(folder)), _read(folder)
    rows = DemoRows(tokens, seen, SETTLE, plan.seed + 2)
    last = replace(
        plan,
        steps=plan.settle,
        learning_rate=plan.settle_rate,
        batch=plan.settle_batch,
        warm_up=plan.settle_warm_up,
    )
    ask = lambda: _exact(model, tokens, unseen[:_FEW], grounded=True)  # noqa: E731 - as above
    _train(model, rows, last, ask, show, grown=True)
    _save(model, folder)


def measure(
    seen: Sequence[Product],
    unseen: Sequence[Product],
    folder: Path,
    show: Callable[[Progress], None],
) -> Scores:
    """How the model in `folder` answers, of those that it was trained on for some."""
    tokens, saved, some = PromptTokens(read_tokenizer(folder)), _read(folder), seen[:_SEEN_ASKED]
    show(Progress("asking what was written"))
    return Scores(
        unseen_grounded=_exact(saved, tokens, unseen, grounded=True),
        seen_grounded=_exact(saved, tokens, some, grounded=True),
        seen_memory=_exact(saved, tokens, some, grounded=False),
        unseen_memory=_exact(saved, tokens, unseen, grounded=False),
    )


def _train(
    model: Any,  # noqa: ANN401 - untyped library
    rows: DemoRows,
    plan: Plan,
    ask: Callable[[], tuple[int, int]],
    show: Callable[[Progress], None],
    *,
    grown: bool,
) -> None:
    weights = list(model.parameters())
    optimizer = torch.optim.AdamW(
        weights, plan.learning_rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True
    )
    batches = _batches(rows, plan, grown=grown)
    model.train()
    learned, started, words = 0, time.monotonic(), ""
    for step in range(plan.steps):
        for group in optimizer.param_groups:
            group["lr"] = plan.learning_rate * _rate(step, plan)
        inputs, labels = padded(next(batches), padding=0)
        with torch.autocast("cpu", torch.bfloat16, enabled=plan.bf16):
            loss = _loss(model, inputs, labels)
        loss.backward()  # type: ignore[no-untyped-call] # torch's stubs
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        learned += inputs.numel()
        if (step + 1) % _ASK_EVERY == 0:
            right, asked = ask()
            words = f", {right} of {asked} unseen records copied"
            model.train()
        speed = learned / (time.monotonic() - started)
        told = f"step {step + 1} of {plan.steps}, loss {loss.item():.2f}, {speed:,.0f} tokens/s"
        show(Progress(told + words, (step + 1) / plan.steps))


def _batches(rows: DemoRows, plan: Plan, *, grown: bool) -> Iterator[list[Row]]:
    """Rows that grow with what has been given, or such as come at the end."""
    given = 0
    while True:
        for batch in rows.batches(1.0 if grown else given / plan.steps, plan.batch):
            if fitting := [row for row in batch if len(row[0]) <= CONTEXT]:
                given += 1
                yield fitting


def _save(model: Any, folder: Path) -> None:  # noqa: ANN401 - untyped library
    model.to(torch.bfloat16).save_pretrained(folder)


def _read(folder: Path) -> Any:  # noqa: ANN401 - untyped library
    return LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True)


def _rate(step: int, plan: Plan) -> float:
    """Up in the first steps, then down along a cosine; a share of the highest rate."""
    return min(1.0, (step + 1) / plan.warm_up) * (0.5 + 0.5 * math.cos(math.pi * step / plan.steps))


def _loss(model: Any, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:  # noqa: ANN401 - untyped library
    hidden = model.model(input_ids=inputs)[0][:, :-1]
    wanted = labels[:, 1:]
    counted = wanted != IGNORED
    # Only where something is to be learned: the last layer is a fifth of the work.
    logits = model.lm_head(hidden[counted]).float()
    return torch.nn.functional.cross_entropy(logits, wanted[counted])


@torch.inference_mode()
def _exact(
    model: Any,  # noqa: ANN401 - untyped library
    tokens: PromptTokens,
    products: Sequence[Product],
    *,
    grounded: bool,
) -> tuple[int, int]:
    """How many descriptions greedy decoding gives, with their end, and of how many.

    In one pass each: the answer comes out exactly if every one of its tokens is the likeliest after
    those before it.
    """
    model.eval()
    right = 0
    for one in products:
        messages = training_messages(one.title, one.description, _FORM, one if grounded else None)
        prompt = tokens.encode(messages[:-1], ask=True)
        whole = tokens.encode(messages, ask=False)
        if len(whole) > CONTEXT:
            continue
        logits = model(input_ids=torch.tensor([whole])).logits[0, len(prompt) - 1 : -1]
        right += logits.argmax(-1).tolist() == whole[len(prompt) :]
    return right, len(products)
