"""Turn errors of the libraries that train and merge into sentences with a remedy."""

import contextlib
import errno
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from engine.core.errors import BalcaoError, UsageError
from engine.core.i18n import tr, tr_n
from engine.core.process import install_command
from engine.core.text import one_line
from engine.training.recipe import Recipe, smaller_batch
from engine.training.runs.folder import RUN_FILE, last_checkpoint, step_of

# The last two are safetensors' and torch's, which finds its file shorter than what it wrote.
_DISK_FULL = ("no space left", "file write failed", "inline_container")
_SYSTEM_ERRORS = (RuntimeError, MemoryError, OSError)
_DISCONNECTED = ("gloo", "nccl", "connection closed by peer", "connection reset by peer")


@dataclass(eq=False)
class StepOutOfMemory(Exception):
    """Memory ran out in a step, on a batch of `rows` rows padded to `tokens` tokens."""

    step: int
    rows: int
    tokens: int


@contextlib.contextmanager
def explain_errors(recipe: Recipe, out: Path) -> Iterator[None]:
    """Raise a BalcaoError with a remedy in place of a library's error in the run in `out`."""
    try:
        with explain_system_errors(out):
            yield
    except StepOutOfMemory as error:
        raise _step_out_of_memory(error, recipe, out) from error
    except ImportError as error:
        raise UsageError(
            tr("A package is missing: {error}.", error=one_line(str(error), 200).rstrip(".")),
            tr("Run: {command}", command=install_command("train")),
        ) from error


@contextlib.contextmanager
def explain_system_errors(out: Path | None = None) -> Iterator[None]:
    """Raise a BalcaoError with a remedy when memory, disk or connection fails, in a run's `out`."""
    try:
        yield
    except Exception as error:
        # By its name: safetensors may not be installed.
        known = isinstance(error, _SYSTEM_ERRORS) or type(error).__name__ == "SafetensorError"
        if known and (explained := _system_error(error, _resuming(out) if out else "")):
            raise explained from error
        raise


def diverged(step: int, loss: float, rate: float) -> BalcaoError:
    """Return the error for a loss that is infinite or not a number."""
    return BalcaoError(
        tr("Training failed at step {step}: the loss is {loss}.", step=step, loss=loss),
        tr("Lower `learning_rate` (now {learning_rate:g}) or `max_grad_norm`.", learning_rate=rate),
    )


def _step_out_of_memory(error: StepOutOfMemory, recipe: Recipe, out: Path) -> BalcaoError:
    if recipe.packing:
        batch = tr("with {tokens:,} tokens at once", tokens=error.tokens)
    else:
        batch = tr_n(
            "with {rows:,} row of {tokens:,} tokens at once",
            "with {rows:,} rows of {tokens:,} tokens at once",
            error.rows,
            **vars(error),
        )
    return BalcaoError(
        tr("Memory ran out at step {step}, {at_once}.", step=error.step, at_once=batch),
        _use_less_memory(recipe, out),
    )


def _use_less_memory(recipe: Recipe, out: Path) -> str:
    """Say how to resume with less memory: if possible, with the same rows in each step."""
    if recipe.batch_size > 1:
        size, accumulate = smaller_batch(recipe, recipe.batch_size // 2)
        change = f"batch_size={size} --set accumulate={accumulate}"
    elif not recipe.checkpoint_activations:
        change = "checkpoint_activations=true"
    else:
        return tr(
            "Close other programs, or start a new run with a lower `max_length`, `quantization = "
            '"nf4"` or a smaller base.{resuming}',
            resuming=_resuming(out),
        )
    values = {"change": change, "where": _resume_point(out)}
    return tr(
        "`--resume --set {change}` takes less memory and learns the same: it {where}.", **values
    )


def _system_error(error: Exception, resuming: str) -> BalcaoError | None:
    from engine.backends.llama.loading import is_out_of_memory

    if _is_disk_full(error):
        return BalcaoError(
            tr("The disk is full."), tr("Free some space.{resuming}", resuming=resuming)
        )
    # Before the lost connection: NCCL's errors include running out of memory.
    if is_out_of_memory(error):
        remedy = tr("Close other programs, or use a smaller base.{resuming}", resuming=resuming)
        return BalcaoError(tr("Memory ran out."), remedy)
    if any(phrase in str(error).lower() for phrase in _DISCONNECTED):
        return BalcaoError(
            tr("The connection to another process of this run was lost."),
            tr("The output of that process gives the reason.{resuming}", resuming=resuming),
        )
    return None


def _resuming(out: Path) -> str:
    if not (out / RUN_FILE).exists():
        return ""
    return tr(" With --resume the run {where}.", where=_resume_point(out))


def _resume_point(out: Path) -> str:
    if step := step_of(last_checkpoint(out)):
        return tr("continues from step {step}", step=step)
    return tr("starts again, since nothing was saved yet")


def _is_disk_full(error: Exception) -> bool:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    return any(phrase in str(error).lower() for phrase in _DISK_FULL)
