"""Check what a model in training has learned, keep its best adapter, and stop when all is learned.

Greedy decoding says an answer word for word if each of its tokens is the most probable one after
the right tokens before it. One forward pass shows that, many times faster than generating. The
steps of the checks follow from the recipe and the rows, never from the clock: a resumed run has the
same. Heavy.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import safetensors
import safetensors.torch
import torch
from transformers import TrainerCallback, TrainerState
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_callback import ExportableState

from engine.core.files import UNDECODABLE, timestamp, write_atomic
from engine.core.i18n import tr
from engine.training.callbacks import evaluating
from engine.training.encode import TokenizedAnswer, TokenizedRows
from engine.training.processes import Processes
from engine.training.recipe import Recipe
from engine.training.runs.folder import MetricsWriter, step_of
from engine.training.runs.status import Check, Score, StatusFile, check_text
from engine.training.trainer import LoraTrainer, Numerics

_LEARNED_PER_CHECKED = 5
"""Rows to learn for each row that is checked: checks then take about a tenth of the time."""
_BEST = "best.safetensors"
_HEADER = "check"
"""The best adapter so far, and where its header has the check."""


@dataclass(frozen=True, slots=True)
class CheckedRows:
    """The rows of a check: some to know, some held out, some about unknown products."""

    training: Sequence[TokenizedAnswer]
    held_out: Sequence[TokenizedAnswer]
    unknown: Sequence[TokenizedAnswer]
    every: int
    """Steps between two checks; 0: no check."""

    @classmethod
    def choose(
        cls,
        recipe: Recipe,
        rows: TokenizedRows,
        held_out: TokenizedRows,
        unknown: Sequence[TokenizedRows],
        processes: Processes,
    ) -> "CheckedRows":
        """Take `score_rows` of each, as the score at the end does."""
        some = recipe.score_rows
        training, held = rows.some(some), held_out.some(some)
        refused = [one for kind in unknown for one in kind.some(some)]
        step = recipe.batch_size * recipe.accumulate * processes.count
        count = len(training) + len(held) + len(refused)
        every = recipe.sample_every or math.ceil(count * _LEARNED_PER_CHECKED / step)
        return cls(training, held, refused, every if training else 0)


@dataclass(frozen=True, slots=True)
class _Row:
    right: bool
    loss: float
    tokens: int


@dataclass(eq=False)
class CheckCallback(TrainerCallback):  # type: ignore[misc] # untyped library
    """Check regularly and at the end; with `stop_when_learned`, stop when nothing is missing.

    The first process checks; if the model is sharded, all do, and the last adapter is kept.
    """

    trainer: LoraTrainer
    numerics: Numerics
    processes: Processes
    metrics: MetricsWriter | None
    status: StatusFile | None
    recipe: Recipe
    rows: CheckedRows
    all_training: Sequence[TokenizedAnswer]
    checkpoints: Path
    say: Callable[[str], None]
    done: bool = False
    """Everything was learned before the last step."""
    _best: Check | None = None
    _missed: int = field(default=0)
    """Where in `all_training` the last look at all rows found a wrong one."""

    def on_train_begin(self, _args: Any, _state: Any, _control: Any, **_: Any) -> None:  # noqa: ANN401
        """Take up the best check of an interrupted run."""
        self._best = read_best(self.checkpoints)

    def on_step_end(self, _args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ANN401
        """Check before the step's checkpoint, so that a resumed run has the check too."""
        last = state.global_step >= state.max_steps
        if not self.rows.every or (state.global_step % self.rows.every and not last):
            return
        due = control.should_log  # a log resets it, and the step's own is still to come
        if self.processes.first or self.processes.sharded:
            self._check(state, last=last)
        control.should_log = due
        self.done = self.processes.any(self.done)
        control.should_training_stop |= self.done
        control.should_save |= self.done

    def _check(self, state: Any, *, last: bool) -> None:  # noqa: ANN401 - untyped library
        with evaluating(self.trainer.model):
            check = self._look(state)
            stops = self.recipe.stop_when_learned and not self.processes.sharded
            self.done = stops and not last and self._ends(check) and self._knows_all()
            logs = {"eval_loss": check.held_out_loss, "eval_learned": check.learned.share}
            logs["eval_refused"] = check.refused.share if check.refused.asked else None
            self.trainer.log({name: value for name, value in logs.items() if value is not None})
        self._record(msgspec.structs.replace(check, all_learned=self.done), state.epoch)

    def _ends(self, check: Check) -> bool:
        """Whether no checked answer is wrong, or only refusals, of which two checks saw none.

        Few rows about unknown products teach no refusing, however long the run is.
        """
        best = self._best
        if best is None or not (best.knows_all and check.knows_all):
            return check.complete
        return check.complete or not (best.refused.right or check.refused.right)

    def _look(self, state: Any) -> Check:  # noqa: ANN401 - untyped library
        training, held_out, unknown = (
            [self._row(one) for one in rows]
            for rows in (self.rows.training, self.rows.held_out, self.rows.unknown)
        )
        return Check(
            step=state.global_step,
            learned=Score(len(training), sum(one.right for one in training)),
            refused=Score(len(unknown), sum(one.right for one in unknown)),
            loss=_mean_loss([*training, *unknown]) or 0.0,
            held_out_loss=_mean_loss(held_out),
        )

    def _row(self, example: TokenizedAnswer) -> _Row:
        model = self.trainer.model  # FSDP replaces it when training begins
        tokens = torch.tensor([example.prompt + example.completion], device=model.device)
        labels = tokens.clone()
        labels[:, : len(example.prompt)] = -100
        with self.numerics.autocast():
            found = model(input_ids=tokens, labels=labels, use_cache=False, fused_lm_head=True)
        counted = found.label_mask
        right = bool(found.is_top1[counted].bool().all())
        return _Row(right, -float(found.log_probs.sum()), int(counted.sum()))

    def _knows_all(self) -> bool:
        """Look at every training row, first at the one that was wrong the last time."""
        rows = self.all_training
        for turn in range(len(rows)):
            place = (self._missed + turn) % len(rows)
            if not self._row(rows[place]).right:
                self._missed = place
                return False
        return True

    def _record(self, check: Check, epoch: float) -> None:
        if (self.recipe.keep_best or self.done) and not self.processes.sharded:
            self._keep_if_best(check)
        if self.metrics:
            values = {"step": check.step, "epoch": epoch, "check": msgspec.to_builtins(check)}
            self.metrics.add({**values, "time": timestamp()})
        if self.status:
            self.status.checked(check)
        self.say(tr("step {step}: {checked}", step=check.step, checked=check_text(check)))
        if self.done:
            self.say(tr("Everything is learned: the run ends here."))

    def _keep_if_best(self, check: Check) -> None:
        if self._best and check.rank < self._best.rank and not self.done:
            return
        self._best = check
        weights = {name: weight.detach().cpu() for name, weight in _trained(self.trainer)}
        header = {_HEADER: msgspec.json.encode(check).decode()}
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        write_atomic(self.checkpoints / _BEST, safetensors.torch.save(weights, header))

    def train(self, checkpoint: Path | None) -> bool:
        """Train, from a checkpoint if there is one; return False if the run was stopped."""
        if checkpoint and self.processes.first and not (checkpoint / TRAINER_STATE_NAME).exists():
            _write_state(self.trainer, checkpoint, self.recipe)
        self.processes.wait()
        if checkpoint is None or not _restore_finished(self.trainer, checkpoint):
            self.trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        state = self.trainer.state
        best = read_best(self.checkpoints)
        early = best is not None and best.all_learned and best.step == state.global_step
        return early or bool(state.global_step >= state.max_steps)

    def kept_step(self) -> int:
        """Put the best adapter back, if it is not the last; return its step. All call this."""
        last: int = self.trainer.state.global_step
        self.processes.wait()
        best = read_best(self.checkpoints) if self.recipe.keep_best else None
        if best is None or best.step == last:
            return last
        kept = safetensors.torch.load_file(self.checkpoints / _BEST)
        with torch.no_grad():
            for name, weight in _trained(self.trainer):
                weight.copy_(kept[name])
        checked = check_text(best)
        step = best.step
        self.say(
            tr("The adapter of step {step} is the best: {checked}.", step=step, checked=checked)
        )
        return best.step


def _write_state(trainer: LoraTrainer, checkpoint: Path, recipe: Recipe) -> None:
    """Give the checkpoint of a finished run the state of a trainer that has come this far."""
    parts = [*trainer.callback_handler.callbacks, trainer.control]
    TrainerState(
        global_step=step_of(checkpoint),
        logging_steps=recipe.log_every,
        save_steps=trainer.args.save_steps,
        train_batch_size=recipe.batch_size,
        stateful_callbacks=[one for one in parts if isinstance(one, ExportableState)],
    ).save_to_json(str(checkpoint / TRAINER_STATE_NAME))


def _restore_finished(trainer: LoraTrainer, checkpoint: Path) -> bool:
    """Load a checkpoint in which everything was learned, if it is one; nothing is left to train."""
    best = read_best(checkpoint.parent)
    if best is None or not best.all_learned or best.step != step_of(checkpoint):
        return False
    trainer.state = TrainerState.load_from_json(str(checkpoint / TRAINER_STATE_NAME))
    trainer._load_from_checkpoint(str(checkpoint))  # noqa: SLF001 - as its own train() does
    return True


def read_best(checkpoints: Path) -> Check | None:
    """Return the best check of a run with `keep_best` or `stop_when_learned`, or None."""
    try:
        with safetensors.safe_open(checkpoints / _BEST, "pt") as file:
            return msgspec.json.decode((file.metadata() or {}).get(_HEADER, ""), type=Check)
    except (OSError, safetensors.SafetensorError, *UNDECODABLE):
        return None


def _trained(trainer: LoraTrainer) -> Iterator[tuple[str, Any]]:
    return ((name, one) for name, one in trainer.model.named_parameters() if one.requires_grad)


def _mean_loss(rows: Sequence[_Row]) -> float | None:
    tokens = sum(one.tokens for one in rows)
    return round(sum(one.loss for one in rows) / tokens, 6) if tokens else None
