"""What goes wrong while a Llama is fine-tuned, in words with a remedy."""

from __future__ import annotations

import contextlib
import errno
import warnings
from collections.abc import Iterator
from pathlib import Path

from safetensors import SafetensorError

from engine.errors import BalcaoError, UsageError
from engine.text import one_line
from engine.training.lora_folder import RUN, last_checkpoint, step_of
from engine.training.lora_recipe import Recipe, of_fewer_rows

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
            f"The loss is {error.loss} at step {error.step}: nothing can be learned any more.",
            f"Lower `learning_rate`, now {recipe.learning_rate:g}, or `max_grad_norm`.",
        ) from error
    except StepTooLarge as error:
        raise BalcaoError(
            f"Memory ran out at step {error.step}, {_at_once(error, recipe)}.",
            _with_less(recipe, out),
        ) from error
    except ImportError as error:
        raise UsageError(
            f"A package is missing: {one_line(str(error), 200).rstrip('.')}.",
            "Install it: `make train-env`, or pip install 'balcao[train]'.",
        ) from error
    except (RuntimeError, MemoryError, OSError, SafetensorError) as error:
        if _disk_is_full(error):
            raise BalcaoError(
                "The disk is full: the run has stopped.", f"Make room.{_resuming(out)}"
            ) from error
        # Before what is lost: NCCL too tells of a memory that is full.
        if memory_is_out(error):
            raise BalcaoError(
                "Memory ran out, and not in a step.",
                'Close other programs, or take a smaller base or `quantization = "nf4"`.'
                f"{_resuming(out)}",
            ) from error
        if any(one in str(error).lower() for one in _LOST):
            raise BalcaoError(
                "Another process of this run has ended, or cannot be reached.",
                f"What it said says why.{_resuming(out)}",
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
                "The disk is full: no model was written.",
                "Make room, or name a folder on another disk.",
            ) from error
        if not memory_is_out(error):
            raise
        raise BalcaoError(
            "Memory ran out while merging: no model was written.",
            "Close other programs, or merge where there is more memory.",
        ) from error


def _at_once(error: StepTooLarge, recipe: Recipe) -> str:
    if recipe.packing:
        return f"with {error.tokens:,} tokens at once"
    rows = "1 row" if error.rows == 1 else f"{error.rows:,} rows"
    return f"with {rows} of {error.tokens:,} tokens at once"


def _with_less(recipe: Recipe, out: Path) -> str:
    """How to go on with less memory; where that is possible, on the very same rows a step."""
    if recipe.batch_size > 1:
        size, turns = of_fewer_rows(recipe, recipe.batch_size // 2)
        change = f"batch_size={size} --set accumulate={turns}"
    elif not recipe.checkpoint_activations:
        change = "checkpoint_activations=true"
    else:
        return (
            "Close other programs, or begin a new run with a lower `max_length`, `quantization ="
            f' "nf4"` or a smaller base.{_resuming(out)}'
        )
    return f"`--resume --set {change}` takes less and learns the same: it {_where(out)}."


def _resuming(out: Path) -> str:
    return f" --resume {_where(out)}." if (out / RUN).exists() else ""


def _where(out: Path) -> str:
    """Where a run goes on."""
    if step := step_of(last_checkpoint(out)):
        return f"goes on from step {step}"
    return "begins again, since nothing was saved yet"


def memory_is_out(error: Exception) -> bool:
    """Whether that is what the error says."""
    words = str(error).lower()
    return isinstance(error, MemoryError) or any(one in words for one in _OUT_OF_MEMORY)


def _disk_is_full(error: Exception) -> bool:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    return any(words in str(error).lower() for words in _DISK_FULL)
