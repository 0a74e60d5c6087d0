"""What a run will take in memory and time, from a few measured steps; and what to change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.core.errors import BalcaoError
from engine.training.recipe import Recipe, of_fewer_rows

_MINUTE, _HOUR = 60.0, 3600.0
_GIGA, _MEGA = 1e9, 1e6
_SHOWN_AS_GIGA = 1e8


@dataclass(frozen=True, slots=True)
class Measured:
    """One step on the `rows` longest rows, `tokens` in all with padding.

    `seconds` it took, `held` bytes after its forward part, `peak` the most bytes until then.
    """

    rows: int
    tokens: int
    seconds: float
    held: int
    peak: int


@dataclass(frozen=True, slots=True)
class Estimate:
    """Of a whole run: `seconds` of training (one epoch takes `epoch`), and `peak` bytes.

    `room` is the bytes that can be had, None if unknown. `rows` at once were tried and fit; `fits`
    if those are the recipe's, and `remedy` says what to change if not.
    """

    seconds: float
    epoch: float
    speed: float
    peak: int
    room: int | None
    rows: int
    fits: bool
    remedy: str

    @property
    def text(self) -> str:
        """Two lines for the plan."""
        return (
            f"{self.memory}\n"
            f"time      about {span(self.seconds)}: {span(self.epoch)} an epoch,"
            f" {self.speed:,.0f} tokens/s; what is asked and saved comes on top"
        )

    @property
    def memory(self) -> str:
        """The first of them: all that there is to say of a run that goes on."""
        had = "" if self.room is None else f"; {size(self.room)} can be had"
        return f"memory    about {size(self.peak)}{had}"

    def check(self) -> None:
        """Raises BalcaoError if the run does not fit."""
        if self.fits:
            return
        had = "" if self.room is None else f", and {size(self.room)} can be had"
        raise BalcaoError(
            f"The run does not fit: it takes about {size(self.peak)} of memory{had}.", self.remedy
        )


def estimate(
    measured: Sequence[Measured],
    recipe: Recipe,
    batches: Sequence[int],
    room: int | None,
    *,
    nf4: bool = False,
) -> Estimate:
    """From what was measured, from few rows to many, to the run.

    `batches` are the tokens, with padding, of each batch of an epoch.
    """
    last = measured[-1]
    fixed, rate = _line(measured)
    epoch = sum(fixed + rate * tokens for tokens in batches)
    fits = last.rows >= recipe.batch_size
    return Estimate(
        seconds=epoch * recipe.epochs,
        epoch=epoch,
        speed=sum(batches) / epoch,
        peak=last.peak if fits else max(expected(measured, recipe.batch_size), room or 0),
        room=room,
        rows=last.rows,
        fits=fits,
        remedy=_remedy(last.rows, recipe, nf4=nf4),
    )


def no_row_fits(recipe: Recipe, *, nf4: bool) -> BalcaoError:
    """What to say when memory runs out with one row."""
    words = _remedy(recipe.batch_size, recipe, nf4=nf4)
    return BalcaoError("The run does not fit: memory runs out with the longest row alone.", words)


def expected(measured: Sequence[Measured], rows: int) -> int:
    """The most bytes that `rows` at once will take, as far as what was measured tells."""
    first, last = measured[0], measured[-1]
    if first.rows == last.rows:
        return last.peak
    more = rows - last.rows
    before = measured[-2]
    # What a process holds after the forward part may have been held before it, for nothing; and
    # the peak may be from when the base was loaded. The worse of the two is meant.
    a_row = max((last.held - first.held) / (last.rows - first.rows), 0.0)
    at_most = (last.peak - before.peak) / (last.rows - before.rows)
    return max(last.peak, round(last.held + a_row * more), round(last.peak + at_most * more))


def size(number: float) -> str:
    """Bytes, in GB or MB."""
    if number < _SHOWN_AS_GIGA:
        return f"{number / _MEGA:.0f} MB"
    return f"{number / _GIGA:.1f} GB"


def span(seconds: float) -> str:
    """Seconds, in what a person counts in."""
    if seconds < _MINUTE:
        return f"{seconds:.2g} s"
    if seconds < _HOUR:
        return f"{seconds / _MINUTE:.0f} min"
    return f"{seconds / _HOUR:.1f} h"


def _remedy(rows: int, recipe: Recipe, *, nf4: bool) -> str:
    if rows < recipe.batch_size:
        fewer, turns = of_fewer_rows(recipe, rows)
        return f"Set `batch_size = {fewer}` and `accumulate = {turns}`: that was tried, and fits."
    if not recipe.checkpoint_activations:
        return "Set `checkpoint_activations = true`."
    if not nf4:
        return 'Set `quantization = "nf4"`, or take a smaller base.'
    return "Lower `rank` or `max_length`, or take a smaller base."


def _line(measured: Sequence[Measured]) -> tuple[float, float]:
    """Seconds that a batch takes at least, and that a token takes."""
    first, last = measured[0], measured[-1]
    if first.tokens == last.tokens:
        return 0.0, last.seconds / last.tokens
    rate = max((last.seconds - first.seconds) / (last.tokens - first.tokens), 0.0)
    return max(last.seconds - rate * last.tokens, 0.0), rate
