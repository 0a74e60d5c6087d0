"""Find and check what a run is made of, before anything heavy loads: packages, base and rows."""

import os
import shlex
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path

import msgspec

from engine.backends.llama.weights import ModelFiles, find_model, pull_command
from engine.catalogue.rows.kinds import RowKind, row_kind
from engine.catalogue.rows.prepare import PRODUCTS, PreparedProduct
from engine.catalogue.rows.refusals import REFUSALS
from engine.config import paths
from engine.core.errors import DataError, EngineUnavailable, UsageError
from engine.core.files import MANIFEST, UNDECODABLE, read_manifest
from engine.core.process import install_command, pip_command
from engine.core.text import did_you_mean
from engine.core.trained_products import TrainedProduct
from engine.core.types import Message, Role
from engine.prompts import PROMPT_VERSION, SYSTEM
from engine.training.openai import plan
from engine.training.openai.plan import TRAIN, VALID, TrainingRow
from engine.training.recipe import Recipe
from engine.training.refusals import RefusalPool, read_pool

_REQUIRED = ("torch", "transformers", "peft", "accelerate", "trl", "datasets")
_TRACKERS = (
    "clearml", "codecarbon", "comet_ml", "dvclive", "mlflow", "swanlab", "tensorboard", "trackio",
    "wandb",
)  # fmt: skip
"""Values of `report_to` that transformers knows; each is also the name of its package."""


def check_packages(recipe: Recipe) -> None:
    """Raise UsageError, with the command to install it, if a package is missing."""
    quantized = recipe.quantization == "nf4" or recipe.optimizer != "adamw_torch"
    required = (*_REQUIRED, "bitsandbytes") if quantized else _REQUIRED
    require_packages(required, "train")
    for name in recipe.report_to:
        if name not in _TRACKERS:
            raise UsageError(
                f"Unknown tracker “{name}” in `report_to`.", f"Use {', '.join(_TRACKERS)}."
            )
        if find_spec(name) is None:
            raise UsageError(
                f"The package for “{name}” in `report_to` is missing.",
                f"Run: {pip_command(name.replace('_', '-'))}",
            )


def require_packages(names: Iterable[str], extra: str) -> None:
    """Raise UsageError, with the command that installs an extra, if one of its packages is not."""
    missing = [name for name in names if find_spec(name) is None]
    if missing:
        raise UsageError(
            f"Packages are missing: {', '.join(missing)}.", f"Run: {install_command(extra)}"
        )


def go_offline() -> None:
    """Keep the libraries quiet and off the network; call this before their first import."""
    for name, value in (
        ("HF_HUB_OFFLINE", "1"),
        ("HF_DATASETS_OFFLINE", "1"),
        ("TRANSFORMERS_VERBOSITY", "error"),
        ("TOKENIZERS_PARALLELISM", "false"),
    ):
        os.environ.setdefault(name, value)
    import logging

    # It recommends a package of faster kernels on stderr.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)


def find_base(model: str) -> ModelFiles:
    """Find a base (a folder, a hub id or "smollm2") on disk. Raise UsageError if incomplete."""
    if (paths.expand(model) / "adapter_config.json").is_file():
        raise UsageError(
            f"{model} is an adapter, not a base.",
            "Give the base that it was trained on; or make a model of both with `balcao merge`.",
        )
    try:
        found = find_model(model, "base")
    except EngineUnavailable as error:
        own = f"Set --base to {paths.SMALL} or to a folder with a complete Llama."
        on_hub = paths.split_id(model) and not paths.expand(model).exists()
        pull = f"If it is on the hub, run: {pull_command(model)}. " if on_hub else ""
        remedy = error.remedy if model == paths.SMALL else f"{pull}{own}"
        known = paths.expand(model).exists() or model == paths.SMALL
        hint = "" if known else did_you_mean(model, [paths.SMALL])
        raise UsageError(error.message + hint, remedy) from error
    if model == paths.SMALL:
        return found
    return replace(found, name=str(found.folder) if paths.expand(model).is_dir() else model)


_MIN_ROWS = 2
_UNLIMITED = 2**62
_REMEDY = "`balcao prepare` writes such rows."


@dataclass(frozen=True, slots=True)
class TrainingData:
    """The rows of a run; `warnings` do not prevent training."""

    folder: Path
    train: tuple[TrainingRow, ...]
    valid: tuple[TrainingRow, ...]
    warnings: tuple[str, ...]
    refusals: RefusalPool = field(default_factory=RefusalPool)

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that the rows come from."""
        used = {TRAIN: True, VALID: self.valid, REFUSALS: self.refusals.rows}
        return tuple(self.folder / name for name, rows in used.items() if rows)


def as_messages(messages: tuple[plan.RowMessage, ...]) -> list[Message]:
    """Convert a row's messages to those of a prompt."""
    return [Message(Role(one.role), one.content) for one in messages]


def kind_of(row: TrainingRow) -> RowKind:
    """Return what a row teaches with its last answer."""
    *asked, answer = row.messages
    return row_kind(asked[-1].content if asked else "", answer.content)


def read_data(folder: Path) -> TrainingData:
    """Read and check the rows in `folder`. Raise UsageError or DataError if they are unusable."""
    if folder.is_file():
        remedy = f"Make rows of it: balcao prepare {shlex.quote(str(folder))} --out rows"
        if (folder.parent / TRAIN).is_file():
            remedy = f"Set --data to its folder: {folder.parent}"
        raise UsageError(f"{folder} is a file.", remedy)
    if not folder.is_dir():
        raise UsageError(f"The folder {folder} does not exist.", _REMEDY)
    if not (folder / TRAIN).is_file():
        raise DataError(f"{folder} does not contain {TRAIN}.", _REMEDY)
    _check_prompt_version(folder)
    checked = _check(folder / TRAIN, _MIN_ROWS)
    train = _read(folder / TRAIN)
    warnings = checked.warnings
    if other := sum(row.messages[0].content != SYSTEM for row in train):
        warnings.append(
            f"{other:,} rows do not begin with the chat's system prompt: it may not recall them"
        )
    pool = read_pool(folder)
    if not (folder / VALID).is_file():
        return TrainingData(folder, train, (), tuple(warnings), pool)
    held_out = _check(folder / VALID, 0)
    if shared := plan.shared_rows(checked, held_out):
        warnings.append(
            f"{shared:,} rows of {VALID} are also in {TRAIN}, so their score proves nothing"
        )
    return TrainingData(folder, train, _read(folder / VALID), tuple(warnings), pool)


def _check_prompt_version(folder: Path) -> None:
    if not (folder / MANIFEST).exists():
        return
    try:
        version = read_manifest(folder).prompt_version
    except DataError as error:
        raise DataError(error.message, "Write the rows again with `balcao prepare`.") from error
    if version != PROMPT_VERSION:
        raise DataError(
            f"The rows in {folder} have version {version} of the prompts; the chat uses version"
            f" {PROMPT_VERSION}.",
            "Write them again with `balcao prepare`.",
        )


def _check(file: Path, min_rows: int) -> plan.CheckedFile:
    # The model's own tokenizer counts the tokens later.
    counter = plan.TokenCounter(lambda _text: 0, exact=False)
    checked = plan.check_file(file, counter, _UNLIMITED, min_rows, most_bytes=None)
    if checked.problems:
        more = f"; and {checked.hidden:,} more" if checked.hidden else ""
        raise DataError(
            f"Cannot train on {file}: {'; '.join(checked.problems)}{more}.",
            f"Fix or remove those lines. {_REMEDY}",
        )
    return checked


def _read(file: Path) -> tuple[TrainingRow, ...]:
    decode = msgspec.json.Decoder(TrainingRow).decode
    with file.open("rb") as stream:
        return tuple(decode(line) for line in stream)


def taught_products(folder: Path, left_out: AbstractSet[int] = frozenset()) -> list[TrainedProduct]:
    """Return the products that the rows in `folder` teach from memory; empty if unknown.

    Those with a row in train.jsonl without their record; the lines `left_out` do not count.
    """
    decode = msgspec.json.Decoder(PreparedProduct).decode
    found, end = [], 1
    try:
        with (folder / PRODUCTS).open("rb") as stream:
            for product in map(decode, stream):
                if f"{product.split}.jsonl" == TRAIN:
                    lines = range(end, end := end + product.rows)
                    if not product.grounded and not all(line in left_out for line in lines):
                        found.append(TrainedProduct(product.uid, product.title))
        with (folder / TRAIN).open("rb") as stream:
            fits = end == 1 + sum(1 for _ in stream)
    except (OSError, *UNDECODABLE):
        return []
    return found if fits else []  # else somebody has edited the rows
