"""Asks a few training and held-out titles while a run trains, and scores the answers.

It disturbs nothing: greedy decoding draws no random numbers, and the random state is put back all
the same (a test holds a run with samples bit-equal to one without). Imported late.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import torch
from transformers import (
    GenerationConfig,
    TrainerCallback,
)

from engine.core.files import timestamp, write_atomic
from engine.core.i18n import tr
from engine.core.types import Progress
from engine.training.encode import Encoder, Example
from engine.training.failures import RunAway
from engine.training.process_group import any_of, wait_for_all
from engine.training.runs.folder import WHOLE, MetricsWriter
from engine.training.runs.status import Score, StatusFile, scores_text

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


class Telling(TrainerCallback):  # type: ignore[misc] # untyped library
    """Hears of every step from the trainer, in the first process."""

    def __init__(self, status: StatusFile) -> None:
        self._status = status

    def on_train_begin(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:  # noqa: ANN401
        """Before the first step, or the first after a checkpoint."""
        self._status.begin(state.global_step, state.max_steps)

    def on_step_end(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:  # noqa: ANN401
        """After an optimizer step."""
        self._status.step(state.global_step)

    def on_log(
        self,
        _args: Any,  # noqa: ANN401 - untyped library
        _state: Any,  # noqa: ANN401 - as above
        _control: Any,  # noqa: ANN401 - as above
        logs: dict[str, float] | None = None,
        **_: Any,  # noqa: ANN401 - as above
    ) -> None:
        """When the trainer has something to log."""
        if logs and "loss" in logs:
            self._status.logged(logs["loss"])


_SHARE = 0.05
"""Of the time, that samples may take where the recipe names no steps."""
_EARLY = 10
"""Not before a tenth of the steps: there is nothing to see yet."""


@dataclass(frozen=True, slots=True)
class Samples:
    """What is asked (`rows` by `training` and `held_out`), every how many steps, and who hears.

    `every` 0: at the end of an epoch, as often as that takes little of the time.
    """

    rows: Mapping[str, Sequence[Example]]
    every: int
    tell: Callable[[str], None]


class Sampling(TrainerCallback):  # type: ignore[misc] # untyped library
    """Hears of every step from the trainer. `ask` gives the model's answer to an example.

    Of several processes the first one asks, and has `metrics` and `status`; where the model is
    spread over them all ask `together`.
    """

    def __init__(
        self,
        samples: Samples,
        ask: Callable[[Example], str],
        metrics: MetricsWriter | None,
        status: StatusFile | None,
        *,
        together: bool,
    ) -> None:
        self._samples = samples
        self._rows = [(name, rows) for name, rows in samples.rows.items() if rows]
        self._ask = ask
        self._metrics = metrics
        self._status = status
        self._together = together
        self._last = (0.0, 0.0)

    def on_step_end(self, _args: Any, state: Any, control: Any, **kept: Any) -> None:  # noqa: ANN401
        """After an optimizer step, before its checkpoint: a resumed run has the sample too."""
        if self._samples.every and not state.global_step % self._samples.every:
            self._sample(state, control, kept["model"])

    def on_epoch_end(self, _args: Any, state: Any, control: Any, **kept: Any) -> None:  # noqa: ANN401
        """After an epoch's last step, before its checkpoint."""
        early = state.global_step * _EARLY < state.max_steps
        if not self._samples.every and not early and self._is_time():
            self._sample(state, control, kept["model"])

    def _sample(self, state: Any, control: Any, model: Any) -> None:  # noqa: ANN401
        # At the end the adapter is scored anyway; who presses Ctrl-C does not want to wait.
        over = control.should_training_stop or state.global_step >= state.max_steps
        if over or not self._rows:
            return
        began = time.monotonic()
        with _undisturbed(model):
            asked = {name: [self._one(row) for row in rows] for name, rows in self._rows}
        self._last = (time.monotonic(), time.monotonic() - began)
        scores = {
            name: Score(len(found), sum(bool(one["right"]) for one in found))
            for name, found in asked.items()
        }
        if self._metrics is not None and self._status is not None:
            self._metrics.add(
                {
                    "step": state.global_step,
                    "epoch": state.epoch,
                    "word_for_word": msgspec.to_builtins(scores),
                    "samples": asked,
                    "seconds": round(self._last[1], 2),
                    "time": timestamp(),
                }
            )
            self._status.sampled(scores)
        told = tr("step {step}: {scores} word for word")
        self._samples.tell(told.format(step=state.global_step, scores=scores_text(scores)))

    def _is_time(self) -> bool:
        ended, took = self._last
        due = took <= (time.monotonic() - ended) * _SHARE
        return any_of(due) if self._together else due

    def _one(self, row: Example) -> dict[str, object]:
        said = self._ask(row)
        right = said.split() == row.answer.split()
        return {"question": row.question, "said": said, "wanted": row.answer, "right": right}


@contextlib.contextmanager
def _undisturbed(model: Any) -> Iterator[None]:  # noqa: ANN401 - untyped library
    """Ask `model` without a trace in the random state, or in what trains."""
    training = model.training
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    # Not inference_mode: a tensor that is cached in it could not be trained with later.
    with torch.random.fork_rng(devices), torch.no_grad():
        model.eval()
        try:
            yield
        finally:
            model.train(training)


class Watch(TrainerCallback):  # type: ignore[misc] # untyped library
    """Hears of every step from the trainer. `first` is the step that the run went on from.

    Only the first of several processes has metrics to write.
    """

    def __init__(
        self,
        metrics: MetricsWriter | None,
        show: Callable[[Progress], None],
        stopping: Callable[[], bool],
        first: int,
    ) -> None:
        self._metrics = metrics
        self._show = show
        self._stopping = stopping
        self._first = first
        self._loss = ""
        self._last = (time.monotonic(), 0.0)
        self._speed = 0.0

    def on_step_end(self, _args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ANN401
        """After an optimizer step."""
        ahead = max(state.max_steps - self._first, 1)
        words = f"step {state.global_step} of {state.max_steps}{self._loss}"
        self._show(Progress(words, (state.global_step - self._first) / ahead))
        stopping = any_of(self._stopping())
        control.should_training_stop |= stopping
        # At the end too: a run that is killed while it is scored has not to train again.
        control.should_save |= stopping or state.global_step >= state.max_steps

    def on_log(
        self,
        _args: Any,  # noqa: ANN401 - untyped library
        state: Any,  # noqa: ANN401 - as above
        _control: Any,  # noqa: ANN401 - as above
        logs: dict[str, float] | None = None,
        **_: Any,  # noqa: ANN401 - as above
    ) -> None:
        """When the trainer has something to log. Raises RunAway."""
        if logs is None or "loss" not in logs:
            return
        if not math.isfinite(logs["loss"]):
            raise RunAway(logs["loss"], state.global_step)
        self._measure(logs.get("num_tokens", 0.0))
        rate = logs["learning_rate"]
        self._loss = f", loss {logs['loss']:.4f}, rate {rate:.2g}, {self._speed:,.0f} tokens/s"
        if self._metrics is None:
            return
        self._metrics.add(
            {
                "step": state.global_step,
                "epoch": logs["epoch"],
                "loss": logs["loss"],
                "learning_rate": rate,
                "grad_norm": logs["grad_norm"],
                "token_accuracy": logs["mean_token_accuracy"],
                "tokens_per_second": round(self._speed, 1),
                "time": timestamp(),
            }
        )

    def on_save(self, args: Any, state: Any, _control: Any, **_: Any) -> None:  # noqa: ANN401
        """After this process's part of a checkpoint is on disk."""
        wait_for_all()
        if self._metrics is not None:
            write_atomic(Path(args.output_dir) / f"checkpoint-{state.global_step}" / WHOLE, b"")

    def _measure(self, tokens: float) -> None:
        moment, before = time.monotonic(), self._last
        self._last = (moment, tokens)
        if tokens > before[1] and moment > before[0]:
            self._speed = (tokens - before[1]) / (moment - before[0])
