"""Follow a run from inside the trainer: progress, metrics, status, checkpoints, samples. Heavy."""

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import torch
from transformers import TrainerCallback

from engine.core.files import timestamp, write_atomic
from engine.core.i18n import tr
from engine.core.process import memory_limit, used_memory
from engine.core.types import Progress
from engine.evaluation.questions import title_of
from engine.training.encode import TokenizedAnswer, TokenizedRows
from engine.training.failures import diverged
from engine.training.processes import Processes
from engine.training.recipe import Recipe
from engine.training.runs.folder import WHOLE, MetricsWriter
from engine.training.runs.status import Score, StatusFile, Usage, scores_text
from engine.training.score import Answerer, is_right

_SAMPLE_TIME = 0.05
"""The share of the time that samples may take if the recipe does not set `sample_every`."""
_FIRST_SAMPLE = 0.1
"""The share of the steps before the first such sample: earlier there is little to see."""


@dataclass(eq=False)
class RunCallback(TrainerCallback):  # type: ignore[misc] # untyped library
    """Report each step, mark complete checkpoints, and stop the run on request."""

    processes: Processes
    metrics: MetricsWriter | None
    status: StatusFile | None
    show: Callable[[Progress], None]
    stopping: Callable[[], bool]
    _first_step: int = 0
    _loss: str = ""
    _began: float = 0.0
    _last: tuple[float, float] = (0.0, 0.0)
    _speed: float = 0.0
    _limit: int = 0

    def on_train_begin(self, _args: Any, state: Any, _control: Any, **kwargs: Any) -> None:  # noqa: ANN401
        """Start the clocks, write the first status, and move the rate to where the run is."""
        self._first_step = state.global_step  # not 0 in a resumed run
        self._began = time.monotonic()
        self._last = (self._began, 0.0)
        self.show(Progress("training", 0.0))
        rate = kwargs["lr_scheduler"]
        if rate.last_epoch < state.global_step:  # the checkpoint of a finished run has no rate
            rate.last_epoch = state.global_step - 1
            rate.step()
        if self.status:
            self._limit = memory_limit(self.processes.local_count)
            self.status.begin(state.global_step, state.max_steps)

    def on_step_end(self, _args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ANN401
        """Report the step; save and stop if any process was asked to."""
        label = f"step {state.global_step} of {state.max_steps}{self._loss}"
        spent = (time.monotonic() - self._began) / (state.global_step - self._first_step)
        left = spent * (state.max_steps - state.global_step)
        self.show(Progress(label, state.global_step / state.max_steps, left))
        stopping = self.processes.any(self.stopping())
        control.should_training_stop |= stopping
        # After the last step too: a run killed while scoring then need not train again.
        control.should_save |= stopping or state.global_step >= state.max_steps
        if self.status:
            self.status.step(state.global_step)

    def on_log(self, args: Any, state: Any, _control: Any, **kwargs: Any) -> None:  # noqa: ANN401
        """Record a logged step. Raise BalcaoError if its loss is not finite."""
        logs: dict[str, float] = kwargs["logs"]
        if "loss" not in logs:
            return
        loss, rate = logs["loss"], logs["learning_rate"]
        if not math.isfinite(loss):
            raise diverged(state.global_step, loss, args.learning_rate)
        self._measure_speed(logs.get("num_tokens", 0.0))
        # Over the whole time, as the time that is left.
        speed = self._last[1] / max(self._last[0] - self._began, 1e-9)
        self._loss = f", loss {loss:.4f}, learning rate {rate:.2g}, {speed:,.0f} tokens/s"
        if self.status:
            self.status.logged(loss, speed, self._usage())
        if self.metrics:
            self.metrics.add(
                {
                    "step": state.global_step,
                    "epoch": logs["epoch"],
                    "loss": loss,
                    "learning_rate": rate,
                    "grad_norm": logs["grad_norm"],
                    "token_accuracy": logs["mean_token_accuracy"],
                    "tokens_per_second": round(self._speed, 1),
                    "time": timestamp(),
                }
            )

    def on_save(self, args: Any, state: Any, _control: Any, **_: Any) -> None:  # noqa: ANN401
        """Mark the checkpoint as complete once every process has written its part."""
        self.processes.wait()
        if self.processes.first:
            write_atomic(Path(args.output_dir) / f"checkpoint-{state.global_step}" / WHOLE, b"")

    def _usage(self) -> Usage:
        if torch.cuda.is_available():
            return Usage(torch.cuda.memory_reserved(), torch.cuda.mem_get_info()[1])
        return Usage(used_memory() or 0, self._limit, torch.get_num_threads())

    def _measure_speed(self, tokens: float) -> None:
        now, (then, before) = time.monotonic(), self._last
        self._last = (now, tokens)
        if tokens > before and now > then:
            self._speed = (tokens - before) / (now - then)


@dataclass(eq=False)
class SampleCallback(TrainerCallback):  # type: ignore[misc] # untyped library
    """Ask a few training, held-out and unknown questions during the run, and score the answers.

    The first process asks; if the model is sharded, all processes do. `rows` has the names
    "training", "held_out" and "unknown". Without `sample_every` it asks at the ends of epochs, as
    long as that takes little of the time. Samples leave no trace in the adapter, bit by bit.
    """

    processes: Processes
    metrics: MetricsWriter | None
    status: StatusFile | None
    recipe: Recipe
    rows: Mapping[str, TokenizedRows]
    answerer: Answerer
    say: Callable[[str], None]
    _last: tuple[float, float] = (0.0, 0.0)

    def on_step_end(self, _args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ANN401
        """Sample before the step's checkpoint, so that a resumed run has the sample too."""
        every = self.recipe.sample_every
        if every and not state.global_step % every:
            self._sample(state, control, kwargs["model"])

    def on_epoch_end(self, _args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ANN401
        """Sample after the epoch's last step, before its checkpoint."""
        early = state.global_step < state.max_steps * _FIRST_SAMPLE
        if not self.recipe.sample_every and not early and self._has_time():
            self._sample(state, control, kwargs["model"])

    def _sample(self, state: Any, control: Any, model: Any) -> None:  # noqa: ANN401
        # At the end the adapter is scored anyway; after Ctrl-C nobody wants to wait.
        ending = control.should_training_stop or state.global_step >= state.max_steps
        asking = self.processes.first or self.processes.sharded
        questions = {
            name: rows.some(self.recipe.sample_rows)
            for name, rows in self.rows.items()
            if self.recipe.sample_rows and rows.answers
        }
        if ending or not asking or not questions:
            return
        began = time.monotonic()
        with evaluating(model):
            samples = {name: [self._ask(one) for one in some] for name, some in questions.items()}
        seconds = time.monotonic() - began
        self._last = (time.monotonic(), seconds)
        scores = {
            name: Score(len(asked), sum(bool(one["right"]) for one in asked))
            for name, asked in samples.items()
        }
        if self.metrics:
            self.metrics.add(
                {
                    "step": state.global_step,
                    "epoch": state.epoch,
                    "word_for_word": msgspec.to_builtins(scores),
                    "samples": samples,
                    "seconds": round(seconds, 2),
                    "time": timestamp(),
                }
            )
        if self.status:
            self.status.sampled(scores)
        text = scores_text(scores)
        self.say(tr("step {step}: {scores} word for word", step=state.global_step, scores=text))

    def _has_time(self) -> bool:
        ended, seconds = self._last
        due = seconds <= (time.monotonic() - ended) * _SAMPLE_TIME
        return self.processes.any(due) if self.processes.sharded else due

    def _ask(self, example: TokenizedAnswer) -> dict[str, object]:
        answer = self.answerer(example).text
        return {
            "question": example.question,
            "title": title_of(example.question),
            "said": answer,
            "wanted": example.answer,
            "right": is_right(answer, example),
        }


@contextlib.contextmanager
def evaluating(model: Any) -> Iterator[None]:  # noqa: ANN401 - untyped library
    """Leave training mode, and restore it and the random state afterwards."""
    training = model.training
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    # Not inference_mode: tensors that are cached in it cannot be trained with later.
    with torch.random.fork_rng(devices), torch.no_grad():
        model.eval()
        try:
            yield
        finally:
            model.train(training)
