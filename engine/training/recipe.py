"""Read and validate a recipe: every value of a fine-tune, from TOML."""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from engine.config.settings import MAX_BYTES, parse_toml
from engine.core.errors import UsageError
from engine.core.files import reading
from engine.core.text import did_you_mean

_Share = Annotated[float, msgspec.Meta(ge=0.0, lt=1.0)]
_Positive = Annotated[float, msgspec.Meta(gt=0.0)]
_Count = Annotated[int, msgspec.Meta(ge=1)]
_Size = Annotated[int, msgspec.Meta(ge=0)]


_TYPES = {
    "`float`": "a number",
    "`int`": "a whole number",
    "`str`": "text",
    "`bool`": "true or false",
}
"""What msgspec calls the types of values."""


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The values of a run. scripts/recipes/exact.toml explains each in a comment."""

    quantization: Literal["auto", "nf4", "none"] = "auto"
    double_quantization: bool = True
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    rank: _Count = 64
    alpha: _Positive = 128.0
    dropout: _Share = 0.0
    targets: str | list[str] = "all-linear"
    loss_on: Literal["answer", "everything"] = "answer"
    known_above: _Share = 0.0
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
    stop_when_learned: bool = False
    keep_best: bool = False
    report_to: list[str] = []
    seed: Annotated[int, msgspec.Meta(ge=0, lt=2**31)] = 0


def learns_the_same(recipe: Recipe, other: Recipe) -> bool:
    """Return whether a run can resume with the other recipe.

    Values that only split a step into batches may differ: they change rounding and dropout.
    """
    return _without_batches(recipe) == _without_batches(other)


def smaller_batch(recipe: Recipe, most: int) -> tuple[int, int]:
    """Return the largest `batch_size` up to `most`, with the `accumulate` that fits it."""
    rows = recipe.batch_size * recipe.accumulate
    size = next(size for size in range(most, 0, -1) if not rows % size)
    return size, rows // size


def _without_batches(recipe: Recipe) -> Recipe:
    return msgspec.structs.replace(
        recipe,
        batch_size=recipe.batch_size * recipe.accumulate,
        accumulate=1,
        checkpoint_activations=False,
    )


def read_recipe(file: Path, changes: Sequence[str] = ()) -> Recipe:
    """Read a recipe and apply `changes`, each NAME=VALUE. Raise UsageError for a wrong value."""
    remedy = "Name a TOML file, or a recipe of `balcao train --help`."
    try:
        with reading(file, UsageError, remedy), file.open("rb") as stream:
            values = parse_toml(stream.read(MAX_BYTES + 1))
    except ValueError as error:
        raise UsageError(f"The recipe {file} is not valid TOML: {error}.") from error
    for change in changes:
        name, mark, value = change.partition("=")
        if not mark:
            raise UsageError(f"--set takes NAME=VALUE, not “{change}”.")
        values[name.strip()] = _parse(value.strip())
    try:
        return msgspec.convert(values, Recipe)
    except msgspec.ValidationError as error:
        reason = str(error).replace(" - at `$.", ": `").replace("Object contains u", "u")
        for word, meaning in _TYPES.items():
            reason = reason.replace(word, meaning)
        unknown = next((name for name in values if name not in Recipe.__struct_fields__), "")
        hint = did_you_mean(unknown, Recipe.__struct_fields__)
        raise UsageError(
            f"Invalid value in the recipe {file.name} or in --set: {reason}.{hint}",
            "See docs/guide/training.md.",
        ) from error


def _parse(text: str) -> object:
    """Parse a TOML value; a bare word is a string."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        return text
