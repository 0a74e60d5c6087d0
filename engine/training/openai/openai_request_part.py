"""What a request for a fine-tuning job carries besides the model and the files."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from engine.training.openai.job import JobSettings

if TYPE_CHECKING:
    from openai.types.fine_tuning.job_create_params import Method
    from openai.types.fine_tuning.supervised_hyperparameters_param import (
        SupervisedHyperparametersParam,
    )

CAN_GO = frozenset({"method", "suffix", "seed", "metadata"})
"""Fields that a job can do without where a provider does not know them."""


class Optional(TypedDict, total=False):
    """The fields by the names of OpenAI's description."""

    method: Method
    hyperparameters: SupervisedHyperparametersParam
    suffix: str
    seed: int
    metadata: dict[str, str]


def optional_fields(settings: JobSettings, run: str, left_out: set[str]) -> Optional:
    """The fields for a job of that run, but for those that the server has refused."""
    fields: Optional = {}
    values = _hyperparameters(settings)
    if "method" not in left_out:
        fields["method"] = {"type": "supervised"}
        if values:
            fields["method"]["supervised"] = {"hyperparameters": values}
    elif values:
        # The older place, which others than OpenAI may know alone.
        fields["hyperparameters"] = values
    if settings.suffix and "suffix" not in left_out:
        fields["suffix"] = settings.suffix
    if settings.seed is not None and "seed" not in left_out:
        fields["seed"] = settings.seed
    if "metadata" not in left_out:
        fields["metadata"] = {"balcao_run": run}
    return fields


def _hyperparameters(settings: JobSettings) -> SupervisedHyperparametersParam:
    values: SupervisedHyperparametersParam = {}
    if settings.epochs is not None:
        values["n_epochs"] = settings.epochs
    if settings.batch_size is not None:
        values["batch_size"] = settings.batch_size
    if settings.learning_rate is not None:
        values["learning_rate_multiplier"] = settings.learning_rate
    return values
