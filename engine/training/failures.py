"""What goes wrong while a Llama is fine-tuned, in words with a remedy."""

from __future__ import annotations

import contextlib
import errno
import warnings
from collections.abc import Iterator
from pathlib import Path

from safetensors import SafetensorError

from engine.core.errors import BalcaoError, UsageError
from engine.core.i18n import tr, tr_n
from engine.core.text import one_line
from engine.training.recipe import Recipe, of_fewer_rows
from engine.training.runs.folder import RUN_FILE, last_checkpoint, step_of

_OUT_OF_MEMORY = (
    "out of memory", "allocate memory", "not enough memory", "bad_alloc", "alloc_failed",
)  # fmt: skip
# What safetensors says, and torch, which finds that less stands in its file than it wrote.
_DISK_FULL = ("no space left", "inline_container", "file write failed")
_LOST = ("gloo", "nccl", "connection closed by peer", "connection reset by peer")


class RunAway(Exception):
    """The loss is no number any more."""

    def __init__(self, loss: float, step: int) -> None:
        super().__init__(loss, step)
        self.loss = loss
        self.step = step


class StepTooLarge(Exception):
    """Memory ran out in a step, on so many rows of so many tokens at once, with padding."""

    def __init__(self, step: int, rows: int, tokens: int) -> None:
        super().__init__(step, rows, tokens)
        self.step = step
        self.rows = rows
        self.tokens = tokens


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """The libraries warn of their own coming changes, in the middle of the progress line."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def explained(recipe: Recipe, out: Path) -> Iterator[None]:
    """Turns what goes wrong with the run in `out` into an error with a remedy."""
    try:
        yield
    except RunAway as error:
        raise BalcaoError(
            tr(
                "The loss is {loss} at step {step}: nothing can be learned any more.",
                loss=error.loss,
                step=error.step,
            ),
            tr(
                "Lower `learning_rate`, now {learning_rate:g}, or `max_grad_norm`.",
                learning_rate=recipe.learning_rate,
            ),
        ) from error
    except StepTooLarge as error:
        raise BalcaoError(
            tr(
                "Memory ran out at step {step}, {at_once}.",
                step=error.step,
                at_once=_at_once(error, recipe),
            ),
            _with_less(recipe, out),
        ) from error
    except ImportError as error:
        raise UsageError(
            tr("A package is missing: {error}.", error=one_line(str(error), 200).rstrip(".")),
            tr("Install it: `make train-env`, or pip install 'balcao[train]'."),
        ) from error
    except (RuntimeError, MemoryError, OSError, SafetensorError) as error:
        if _disk_is_full(error):
            raise BalcaoError(
                tr("The disk is full: the run has stopped."),
                tr("Make room.{resuming}", resuming=_resuming(out)),
            ) from error
        # Before what is lost: NCCL too tells of a memory that is full.
        if memory_is_out(error):
            raise BalcaoError(
                tr("Memory ran out, and not in a step."),
                tr(
                    "Close other programs, or take a smaller base or "
                    '`quantization = "nf4"`.{resuming}',
                    resuming=_resuming(out),
                ),
            ) from error
        if any(one in str(error).lower() for one in _LOST):
            raise BalcaoError(
                tr("Another process of this run has ended, or cannot be reached."),
                tr("What it said says why.{resuming}", resuming=_resuming(out)),
            ) from error
        raise


@contextlib.contextmanager
def explained_merge() -> Iterator[None]:
    """Turns what goes wrong while a model is merged into an error with a remedy."""
    try:
        yield
    except (RuntimeError, MemoryError, OSError, SafetensorError) as error:
        if _disk_is_full(error):
            raise BalcaoError(
                tr("The disk is full: no model was written."),
                tr("Make room, or name a folder on another disk."),
            ) from error
        if not memory_is_out(error):
            raise
        raise BalcaoError(
            tr("Memory ran out while merging: no model was written."),
            tr("Close other programs, or merge where there is more memory."),
        ) from error


def _at_once(error: StepTooLarge, recipe: Recipe) -> str:
    if recipe.packing:
        return tr("with {tokens:,} tokens at once", tokens=error.tokens)
    return tr_n(
        "with {rows:,} row of {tokens:,} tokens at once",
        "with {rows:,} rows of {tokens:,} tokens at once",
        error.rows,
        rows=error.rows,
        tokens=error.tokens,
    )


def _with_less(recipe: Recipe, out: Path) -> str:
    """How to go on with less memory; where that is possible, on the very same rows a step."""
    if recipe.batch_size > 1:
        size, turns = of_fewer_rows(recipe, recipe.batch_size // 2)
        change = f"batch_size={size} --set accumulate={turns}"
    elif not recipe.checkpoint_activations:
        change = "checkpoint_activations=true"
    else:
        return tr(
            "Close other programs, or begin a new run with a lower `max_length`, `quantization = "
            '"nf4"` or a smaller base.{resuming}',
            resuming=_resuming(out),
        )
    return tr(
        "`--resume --set {change}` takes less and learns the same: it {where}.",
        change=change,
        where=_where(out),
    )


def _resuming(out: Path) -> str:
    return tr(" --resume {where}.", where=_where(out)) if (out / RUN_FILE).exists() else ""


def _where(out: Path) -> str:
    """Where a run goes on."""
    if step := step_of(last_checkpoint(out)):
        return tr("goes on from step {step}", step=step)
    return tr("begins again, since nothing was saved yet")


def memory_is_out(error: Exception) -> bool:
    """Whether that is what the error says."""
    words = str(error).lower()
    return isinstance(error, MemoryError) or any(one in words for one in _OUT_OF_MEMORY)


def _disk_is_full(error: Exception) -> bool:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    return any(words in str(error).lower() for words in _DISK_FULL)
