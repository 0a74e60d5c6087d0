"""Read and validate a recipe: every value of a fine-tune, from TOML."""

import re
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal, get_args, get_origin, get_type_hints

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
    " | null`": "`",
    "`float`": "a number",
    "`int`": "a whole number",
    "`str`": "text",
    "`bool`": "true or false",
    "`array`": "a list",
    "`object`": "a table",
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


_MAY_CHANGE = {
    "batch_size", "accumulate", "checkpoint_activations", "sample_rows", "report_to",
    "stop_when_learned",
}  # fmt: skip
"""Values that a resumed run may change: they split a step into batches, report, or end the run."""


def changed_values(recipe: Recipe, other: Recipe) -> list[str]:
    """Say which values keep a run of a recipe from resuming with the other.

    The other may have more epochs, and other batches of as many rows in a step.
    """
    old, new = msgspec.structs.asdict(recipe), msgspec.structs.asdict(other)
    names = [name for name in old if old[name] != new[name] and name not in _MAY_CHANGE]
    if other.epochs > recipe.epochs:
        names.remove("epochs")
    changes = [f"{name} {old[name]} (now {new[name]})" for name in names]
    if (rows := recipe.batch_size * recipe.accumulate) != other.batch_size * other.accumulate:
        changes.append(f"{rows} rows per step (now {other.batch_size * other.accumulate})")
    return changes


_LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
_PARTS = ("self_attn", "mlp")
_HIGHEST_RATE, _LOWEST_RATE = 2e-2, 1e-6
_FEW_STEPS = 20


def doubts(recipe: Recipe, rows: int, steps: float, width: int) -> Iterator[str]:
    """Yield what cannot work in a recipe for `rows` rows an epoch and a base of that width."""
    if recipe.learning_rate > _HIGHEST_RATE:
        yield (
            f"learning_rate {recipe.learning_rate:g} is far too high, the model will break:"
            " adapters learn with 1e-4 to 5e-3"
        )
    if recipe.learning_rate < _LOWEST_RATE:
        yield f"learning_rate {recipe.learning_rate:g} is far too low, the model will learn nothing"
    if recipe.rank > width:
        yield f"rank {recipe.rank} is more than the base's width, {width}: no layer has use for it"
    step = recipe.batch_size * recipe.accumulate
    if step > rows:
        yield f"a step takes {step} rows, and an epoch has {rows}: lower `batch_size`"
    elif steps < _FEW_STEPS:
        yield f"{steps:.0f} steps are too few to learn by heart: raise `epochs`"


def smaller_batch(recipe: Recipe, most: int) -> tuple[int, int]:
    """Return the largest `batch_size` up to `most`, with the `accumulate` that fits it."""
    rows = recipe.batch_size * recipe.accumulate
    size = next(size for size in range(most, 0, -1) if not rows % size)
    return size, rows // size


def read_recipe(file: Path, changes: Sequence[str] = ()) -> Recipe:
    """Read a recipe and apply `changes`, each NAME=VALUE. Raise UsageError for a wrong value."""
    remedy = "Name a TOML file, or a recipe of `balcao train --help`."
    try:
        with reading(file, UsageError, remedy), file.open("rb") as stream:
            values = parse_toml(stream.read(MAX_BYTES + 1))
    except ValueError as error:
        raise UsageError(
            f"The recipe {file} is not valid TOML: {error}.", "Fix that line: NAME = VALUE."
        ) from error
    return _convert(values, changes, file.name)


def change_recipe(recipe: Recipe, changes: Sequence[str]) -> Recipe:
    """Apply `changes`, each NAME=VALUE, to a saved recipe. Raise UsageError for a wrong value."""
    return _convert(msgspec.to_builtins(recipe), changes, "of the run")


def _convert(values: dict[str, object], changes: Sequence[str], source: str) -> Recipe:
    for change in changes:
        name, mark, value = change.partition("=")
        if not mark:
            raise UsageError(f"--set takes NAME=VALUE, not “{change}”.")
        values[name.strip()] = _parse(value.strip())
    try:
        recipe = msgspec.convert(values, Recipe)
    except msgspec.ValidationError as error:
        reason = str(error).replace(" - at `$.", ": `").replace("Object contains u", "u")
        reason = name_types(reason).replace("Invalid enum value", "there is no")
        unknown = next((name for name in values if name not in Recipe.__struct_fields__), "")
        hint = did_you_mean(unknown, Recipe.__struct_fields__)
        raise UsageError(
            f"Invalid value in the recipe {source} or in --set: {reason}.{hint}",
            _choices(reason) or "See docs/guide/training.md.",
        ) from error
    _check_targets(recipe.targets)
    return recipe


def _choices(reason: str) -> str:
    """Return the words that a value can be, if the reason names such a value."""
    kind = get_type_hints(Recipe).get(reason.split("`")[-2]) if "`" in reason else None
    return f"Use one of {', '.join(get_args(kind))}." if get_origin(kind) is Literal else ""


def _check_targets(targets: str | list[str]) -> None:
    """Raise UsageError for layers that no Llama has; peft takes text as a pattern of names."""
    if isinstance(targets, list):
        wrong = [one for one in targets if one not in _LAYERS]
    else:
        wrong = [] if targets == "all-linear" or _names_layers(targets) else [targets]
    if wrong:
        raise UsageError(
            f"No layer of a Llama is `targets` {', '.join(wrong)}.",
            f'Use "all-linear", or a list of {", ".join(_LAYERS)}.',
        )


def _names_layers(pattern: str) -> bool:
    names = (f"model.layers.0.{part}.{layer}" for part in _PARTS for layer in _LAYERS)
    try:
        return any(map(re.compile(pattern).fullmatch, names))
    except re.error:
        return False


def name_types(reason: str) -> str:
    """Put what msgspec says about a wrong value into plain words."""
    for word, meaning in _TYPES.items():
        reason = reason.replace(word, meaning)
    return reason


def _parse(text: str) -> object:
    """Parse a TOML value; a bare word is a string."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        return text
