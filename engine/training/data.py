"""Checks the rows of a fine-tune before anything heavy is loaded, and reads them."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import msgspec

from engine.core.errors import DataError, UsageError
from engine.core.files import MANIFEST, read_manifest
from engine.core.types import Message
from engine.prompts import PROMPT_VERSION, SYSTEM
from engine.training.openai.check import CheckedFile, TokenCounter, check_file, shared_rows
from engine.training.recipe import Recipe

_PACKAGES = {
    "clearml": "clearml",
    "codecarbon": "codecarbon",
    "comet_ml": "comet_ml",
    "dvclive": "dvclive",
    "mlflow": "mlflow",
    "swanlab": "swanlab",
    "tensorboard": "tensorboard",
    "trackio": "trackio",
    "wandb": "wandb",
}
FOLDER = "tensorboard"
"""TensorBoard's files, in the run's folder."""


def check_reports(names: Sequence[str]) -> None:
    """Raises UsageError for a name that is not known, or whose package is missing."""
    for name in names:
        if name not in _PACKAGES:
            raise UsageError(
                f"Nobody is called “{name}” in `report_to`.", f"Known are {', '.join(_PACKAGES)}."
            )
        if find_spec(_PACKAGES[name]) is None:
            raise UsageError(
                f"`report_to` names {name}, whose package is missing.",
                f"Install it: {sys.executable} -m pip install {_PACKAGES[name].replace('_', '-')}.",
            )


def prepare_reports(names: Sequence[str], out: Path) -> list[str]:
    """What transformers gets as its `report_to`; TensorBoard's files go where they stay."""
    if "tensorboard" in names:
        # Its own choice is a folder among the checkpoints, which are gone at the end.
        os.environ.setdefault("TENSORBOARD_LOGGING_DIR", str(out / FOLDER))
    return list(names)


_REQUIRED = ("torch", "transformers", "peft", "accelerate", "trl", "datasets")


def check_packages(recipe: Recipe) -> None:
    """Raises UsageError, with the command that installs what is missing."""
    check_reports(recipe.report_to)
    quantized = recipe.quantization == "nf4" or "_adamw_" in recipe.optimizer
    wanted = (*_REQUIRED, "bitsandbytes") if quantized or "bnb" in recipe.optimizer else _REQUIRED
    missing = [name for name in wanted if find_spec(name) is None]
    if missing:
        raise UsageError(
            f"Training needs packages that are missing: {', '.join(missing)}.",
            f"Install them: `make train-env`, or {sys.executable} -m pip install 'balcao[train]'.",
        )


def offline() -> None:
    """The libraries read these when they are first imported: no fetching, no chatter."""
    for name, value in (
        ("HF_HUB_OFFLINE", "1"),
        ("HF_DATASETS_OFFLINE", "1"),
        ("TRANSFORMERS_VERBOSITY", "error"),
        ("TOKENIZERS_PARALLELISM", "false"),
    ):
        os.environ.setdefault(name, value)
    import logging

    # It says on stderr that a package of faster kernels is not there.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)


TRAIN, VALID = "train.jsonl", "valid.jsonl"
_LEAST_ROWS = 2
_NO_LIMIT = 2**62
_REMEDY = "`balcao prepare` writes such rows."


class RowMessage(msgspec.Struct, frozen=True):
    """A message of a row; `weight` 0 means that it is not to be learned."""

    role: str
    content: str
    weight: int = 1


class Row(msgspec.Struct, frozen=True):
    """A line of the data."""

    messages: tuple[RowMessage, ...]


@dataclass(frozen=True, slots=True)
class LoraData:
    """The rows of a run. `warnings` are sentences that the person is told before the start."""

    folder: Path
    train: tuple[Row, ...]
    valid: tuple[Row, ...]
    warnings: tuple[str, ...]

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that were read."""
        names = (TRAIN, VALID) if self.valid else (TRAIN,)
        return tuple(self.folder / name for name in names)


def as_messages(messages: tuple[RowMessage, ...]) -> list[Message]:
    """The row's messages as prompts have them."""
    return msgspec.convert([msgspec.to_builtins(one) for one in messages], list[Message])


def read_data(folder: Path) -> LoraData:
    """The rows in `folder`. Raises UsageError or DataError that says what is wrong with them."""
    if not folder.is_dir():
        raise UsageError(f"There is no folder {folder}.", _REMEDY)
    if not (folder / TRAIN).is_file():
        raise DataError(f"There is no {TRAIN} in {folder}.", _REMEDY)
    _check_prompts(folder)
    checked = _checked(folder / TRAIN, _LEAST_ROWS)
    train = _read(folder / TRAIN)
    warnings = [*checked.warnings, *_prompt_warnings(train)]
    if not (folder / VALID).is_file():
        return LoraData(folder, train, (), tuple(warnings))
    held_out = _checked(folder / VALID, 0)
    if shared := shared_rows(checked, held_out):
        warnings.append(f"{shared:,} rows of {VALID} are in {TRAIN} too: they prove nothing")
    return LoraData(folder, train, _read(folder / VALID), tuple(warnings))


def _check_prompts(folder: Path) -> None:
    if not (folder / MANIFEST).exists():
        return
    version = read_manifest(folder).prompt_version
    if version != PROMPT_VERSION:
        raise DataError(
            f"The rows in {folder} are worded by version {version} of the prompts; the chat asks"
            f" with version {PROMPT_VERSION}.",
            "Write them again with `balcao prepare`.",
        )


def _checked(file: Path, least: int) -> CheckedFile:
    # The true tokens are counted later, by the model's own tokenizer.
    counter = TokenCounter(lambda _text: 0, exact=False)
    checked = check_file(file, counter, _NO_LIMIT, least, most_bytes=None)
    if checked.problems:
        more = f"; and {checked.hidden:,} more" if checked.hidden else ""
        raise DataError(
            f"{file} cannot be trained on: {'; '.join(checked.problems)}{more}.",
            f"Mend or leave out those lines. {_REMEDY}",
        )
    return checked


def _read(file: Path) -> tuple[Row, ...]:
    decode = msgspec.json.Decoder(Row).decode
    with file.open("rb") as stream:
        return tuple(decode(line) for line in stream)


def _prompt_warnings(rows: tuple[Row, ...]) -> list[str]:
    other = sum(row.messages[0].content != SYSTEM for row in rows)
    if not other:
        return []
    words = "do not begin with the system prompt that the chat asks with: what they teach will"
    return [f"{other:,} rows {words} hardly be found again"]
