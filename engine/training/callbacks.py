"""Asks a few training and held-out titles while a run trains, and scores the answers.

It disturbs nothing: greedy decoding draws no random numbers, and the random state is put back all
the same (a test holds a run with samples bit-equal to one without). Imported late.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import torch  # noqa: TID253 - this module is imported lazily
from transformers import TrainerCallback  # noqa: TID253 - as above

from engine.core.i18n import tr
from engine.core.manifest_part import now
from engine.training.encode import Example
from engine.training.process_group import any_of
from engine.training.runs.folder import Metrics
from engine.training.runs.status import Score, StatusFile, score_words

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
        metrics: Metrics | None,
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
                    "time": now(),
                }
            )
            self._status.sampled(scores)
        told = tr("step {step}: {scores} word for word")
        self._samples.tell(told.format(step=state.global_step, scores=score_words(scores)))

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
