"""Fine-tuning jobs, their events and checkpoints in OpenAI's form."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from engine.core.errors import BalcaoError
from engine.core.files import read_manifest
from engine.training.runs.view import MetricsReader, RunView, is_run, view_run
from scripts.api.bodies import Body
from scripts.api.job_store import JobRecord


def job_body(record: JobRecord, adapter: Path) -> Body:
    """Return a job."""
    succeeded, view = record.status == "succeeded", _view(adapter)
    left = view.left if view and record.status == "running" else None
    chosen = msgspec.to_builtins(record.hyperparameters)
    return {
        "id": record.id,
        "object": "fine_tuning.job",
        "created_at": record.created_at,
        "error": _error(record) if record.status == "failed" else None,
        "fine_tuned_model": record.model_made if succeeded else None,
        "finished_at": record.finished_at or None,
        "estimated_finish": None if left is None else int(time.time() + left),
        "hyperparameters": chosen,
        "method": {"type": "supervised", "supervised": {"hyperparameters": chosen}},
        "model": record.model,
        "organization_id": "balcao",
        "result_files": [],
        "seed": record.seed,
        "status": record.status,
        "trained_tokens": _trained_tokens(adapter) if succeeded else None,
        "training_file": record.training_file,
        "validation_file": record.validation_file,
        "integrations": [],
        "metadata": record.metadata,
    }


def _error(record: JobRecord) -> Body:
    code = "invalid_training_file" if record.param else "training_failed"
    return {"code": code, "message": record.failure, "param": record.param}


def _view(adapter: Path) -> RunView | None:
    return view_run(adapter) if is_run(adapter) else None


def _trained_tokens(adapter: Path) -> int | None:
    with suppress(BalcaoError):
        made = read_manifest(adapter)
        epochs = made.settings.get("recipe", {}).get("epochs", 0)
        return int(made.counts.get("tokens", 0) * epochs)
    return None


def checkpoint_bodies(record: JobRecord, adapter: Path) -> list[Body]:
    """Return the checkpoints of a job: its model, if it has one."""
    if record.status != "succeeded":
        return []
    view = view_run(adapter)
    metrics = {"step": view.steps} | ({} if view.loss is None else {"train_loss": view.loss})
    return [
        {
            "id": record.id.replace("ftjob", "ftckpt"),
            "object": "fine_tuning.job.checkpoint",
            "created_at": record.finished_at,
            "fine_tuned_model_checkpoint": record.model_made,
            "fine_tuning_job_id": record.id,
            "step_number": view.steps,
            "metrics": metrics,
        }
    ]


def event_bodies(record: JobRecord, adapter: Path) -> list[Body]:
    """Return what happened to a job, newest first."""
    events = [_event(record, place, *one) for place, one in enumerate(_story(record, adapter))]
    return events[::-1]


def _story(record: JobRecord, adapter: Path) -> Iterator[tuple[int, str, str, Body]]:
    """Yield the time, level, message and metrics of each event, oldest first."""
    yield record.created_at, "info", f"Created fine-tuning job: {record.id}", {}
    if record.started_at:
        yield record.started_at, "info", "Fine-tuning job started", {}
        reader = MetricsReader(adapter)
        reader.refresh()
        view = _view(adapter)
        steps = view.steps if view else 0
        for step, loss in reader.points:
            message = f"Step {step}/{steps}: training loss={loss:.4f}"
            metrics = {"step": step, "total_steps": steps, "train_loss": loss}
            yield record.started_at, "info", message, metrics
    match record.status:
        case "succeeded":
            made = f"New fine-tuned model created: {record.model_made}"
            yield record.finished_at, "info", made, {}
            yield record.finished_at, "info", "The job has successfully completed", {}
        case "failed":
            yield record.finished_at, "error", record.failure, {}
        case "cancelled":
            yield record.finished_at, "info", "The job has been cancelled", {}


def _event(
    record: JobRecord, number: int, when: int, level: str, message: str, metrics: Body
) -> Body:
    return {
        "id": f"ftevent-{record.id.removeprefix('ftjob-')}-{number}",
        "object": "fine_tuning.job.event",
        "created_at": when,
        "level": level,
        "message": message,
        "type": "metrics" if metrics else "message",
        "data": metrics,
    }
