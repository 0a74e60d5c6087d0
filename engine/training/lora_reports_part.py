"""Who else hears of a run's steps, besides metrics.jsonl: TensorBoard and what transformers knows.

The names are transformers' own (`INTEGRATION_TO_CALLBACK`).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from engine.core.errors import UsageError

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
