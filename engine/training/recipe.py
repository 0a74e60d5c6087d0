"""A LoRA recipe: every value of a fine-tune, read from TOML and checked before the start."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from engine.core.errors import UsageError

_Share = Annotated[float, msgspec.Meta(ge=0.0, lt=1.0)]
_Positive = Annotated[float, msgspec.Meta(gt=0.0)]
_Count = Annotated[int, msgspec.Meta(ge=1)]
_Size = Annotated[int, msgspec.Meta(ge=0)]


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The values of a run. scripts/recipes/ explains each, one a line."""

    quantization: Literal["auto", "nf4", "none"] = "auto"
    double_quantization: bool = True
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    rank: _Count = 64
    alpha: _Positive = 128.0
    dropout: _Share = 0.0
    targets: str | list[str] = "all-linear"
    loss_on: Literal["answer", "everything"] = "answer"
    epochs: _Positive = 60.0
    batch_size: _Count = 4
    accumulate: _Count = 1
    learning_rate: _Positive = 2e-3
    schedule: Literal["constant", "constant_with_warmup", "linear", "cosine"] = "cosine"
    warmup: _Share = 0.03
    weight_decay: Annotated[float, msgspec.Meta(ge=0.0)] = 0.0
    max_grad_norm: _Positive = 1.0
    optimizer: Literal["adamw_torch", "paged_adamw_32bit", "paged_adamw_8bit", "adamw_bnb_8bit"] = (
        "adamw_torch"
    )
    max_length: _Size = 0
    length_grouped: bool = False
    packing: bool = False
    checkpoint_activations: bool = False
    saved_in: Literal["fp32", "bf16"] = "fp32"
    save_every: _Size = 0
    log_every: _Count = 1
    score_rows: _Size = 24
    sample_every: _Size = 0
    sample_rows: _Size = 3
    report_to: list[str] = []
    seed: Annotated[int, msgspec.Meta(ge=0, lt=2**31)] = 0


def learns_the_same(recipe: Recipe, other: Recipe) -> bool:
    """Whether a run can go on with the other recipe.

    What decides only how many rows of a step are held at once may differ: what a step learns is
    the same, but for rounding and for what dropout draws.
    """
    return _of_a_step(recipe) == _of_a_step(other)


def of_fewer_rows(recipe: Recipe, most: int) -> tuple[int, int]:
    """The largest `batch_size` up to `most`, and the `accumulate` that keeps a step's rows."""
    together = recipe.batch_size * recipe.accumulate
    size = next(size for size in range(most, 0, -1) if not together % size)
    return size, together // size


def _of_a_step(recipe: Recipe) -> Recipe:
    together = recipe.batch_size * recipe.accumulate
    return msgspec.structs.replace(
        recipe, batch_size=together, accumulate=1, checkpoint_activations=False
    )


def read_recipe(file: Path, changes: Sequence[str] = ()) -> Recipe:
    """The recipe in `file` with `changes` over it, each `NAME=VALUE`.

    Raises UsageError that names the value that is wrong.
    """
    try:
        values: dict[str, Any] = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"The recipe {file} cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"The recipe {file} is not valid TOML: {error}.") from error
    for change in changes:
        name, mark, text = change.partition("=")
        if not mark:
            raise UsageError(f"--set takes NAME=VALUE, not “{change}”.")
        values[name.strip()] = _value(text.strip())
    try:
        return msgspec.convert(values, Recipe)
    except msgspec.ValidationError as error:
        words = str(error).replace(" - at `$.", ": `").replace("Object contains u", "u")
        raise UsageError(
            f"A value of the recipe {file.name} is wrong: {words}.", "See docs/guide/training.md."
        ) from error


def _value(text: str) -> object:
    """A value as TOML has it; bare words are texts."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
