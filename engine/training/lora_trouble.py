"""What goes wrong while a Llama is fine-tuned, in words with a remedy."""

from __future__ import annotations

import contextlib
import errno
import warnings
from collections.abc import Iterator

from safetensors import SafetensorError

from engine.errors import BalcaoError, UsageError
from engine.text import one_line
from engine.training.lora_recipe import Recipe

_OUT_OF_MEMORY = ("out of memory", "allocate memory", "not enough memory", "bad_alloc")
# What safetensors says, and torch, which finds that less stands in its file than it wrote.
_DISK_FULL = ("no space left", "inline_container", "file write failed")
_LOST = ("gloo", "nccl", "connection closed by peer", "connection reset by peer")


class RunAway(Exception):
    """The loss is no number any more."""

    def __init__(self, loss: float, step: int) -> None:
        super().__init__(loss, step)
        self.loss = loss
        self.step = step


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """The libraries warn of their own coming changes, in the middle of the progress line."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def explained(recipe: Recipe) -> Iterator[None]:
    """Turns what goes wrong while training into an error with a remedy."""
    kept = "The last checkpoint is kept: --resume goes on from it."
    try:
        yield
    except RunAway as error:
        raise BalcaoError(
            f"The loss is {error.loss} at step {error.step}: nothing can be learned any more.",
            f"Lower `learning_rate`, now {recipe.learning_rate:g}, or `max_grad_norm`.",
        ) from error
    except ImportError as error:
        raise UsageError(
            f"A package is missing: {one_line(str(error), 200).rstrip('.')}.",
            "Install it: `make train-env`, or pip install 'balcao[train]'.",
        ) from error
    except (RuntimeError, MemoryError, OSError, SafetensorError) as error:
        if _disk_is_full(error):
            raise BalcaoError(
                "The disk is full: the run has stopped.", f"Make room. {kept}"
            ) from error
        if any(one in str(error).lower() for one in _LOST):
            raise BalcaoError(
                "Another process of this run has ended, or cannot be reached.",
                f"What it said says why. {kept}",
            ) from error
        if not memory_is_out(error):
            raise
        raise BalcaoError(
            f"Memory ran out with batch_size {recipe.batch_size} and {recipe.quantization}"
            " quantization.",
            f"Close other programs. {kept} Or begin a new run with half of `batch_size` and twice"
            ' of `accumulate`, with `checkpoint_activations = true`, or `quantization = "nf4"`.',
        ) from error


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


def memory_is_out(error: Exception) -> bool:
    """Whether that is what the error says."""
    words = str(error).lower()
    return isinstance(error, MemoryError) or any(one in words for one in _OUT_OF_MEMORY)


def _disk_is_full(error: Exception) -> bool:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    return any(words in str(error).lower() for words in _DISK_FULL)
