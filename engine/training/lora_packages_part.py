"""The packages that training needs: whether they are there, and that they stay off the network."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec

from engine.core.errors import UsageError
from engine.training.lora_reports_part import check_reports
from engine.training.recipe import Recipe

_PACKAGES = ("torch", "transformers", "peft", "accelerate", "trl", "datasets")


def check_packages(recipe: Recipe) -> None:
    """Raises UsageError, with the command that installs what is missing."""
    check_reports(recipe.report_to)
    quantized = recipe.quantization == "nf4" or "_adamw_" in recipe.optimizer
    wanted = (*_PACKAGES, "bitsandbytes") if quantized or "bnb" in recipe.optimizer else _PACKAGES
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
