"""Reads a server's words about files, jobs and events into plain values; takes nothing for granted.

OpenAI's own example replies break its description, and other providers leave fields out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

ENDED = ("succeeded", "failed", "cancelled")
"""The states that a job does not leave."""

_STEP = re.compile(
    r"step (?P<step>\d+)(?:\s*/\s*(?P<total>\d+))?.*?(?:training )?loss\s*=\s*"
    r"(?P<loss>-?\d+(?:\.\d+)?(?:e-?\d+)?)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class JobState:
    """How a job stands. `model` is the fine-tuned one, empty until it is there."""

    id: str
    status: str
    model: str = ""
    trained_tokens: int | None = None
    error: str = ""

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self.status in ENDED


@dataclass(frozen=True, slots=True)
class JobEvent:
    """One event of a job; step, total and losses where it tells them."""

    id: str
    message: str
    level: str = "info"
    step: int | None = None
    total: int | None = None
    loss: float | None = None
    valid_loss: float | None = None

    @property
    def is_metric(self) -> bool:
        """Whether it is a point of the loss curve."""
        return self.step is not None and self.loss is not None


def job_state(raw: Mapping[str, Any]) -> JobState | None:
    """A job, or None if that is none."""
    job_id, status = _text(raw.get("id")), _text(raw.get("status"))
    if not job_id or not status:
        return None
    model = _text(raw.get("fine_tuned_model"))
    return JobState(job_id, status, model, _whole(raw.get("trained_tokens")), _error(raw))


def job_event(raw: Mapping[str, Any]) -> JobEvent:
    """An event; the loss is read from its data, or else from its words."""
    message = _text(raw.get("message"))
    data = raw.get("data")
    data = data if isinstance(data, Mapping) else {}
    said = _STEP.search(message)
    return JobEvent(
        id=_text(raw.get("id")),
        message=message,
        level=_text(raw.get("level")) or "info",
        step=_whole(data.get("step")) or (int(said["step"]) if said else None),
        total=_whole(data.get("total_steps"))
        or (int(said["total"]) if said and said["total"] else None),
        loss=_number(data.get("train_loss"), said["loss"] if said else None),
        valid_loss=_number(data.get("valid_loss"), None),
    )


def _error(raw: Mapping[str, Any]) -> str:
    """Why a job failed. An object of nothing but nulls, as OpenAI sends it, is no error."""
    error = raw.get("error")
    if not isinstance(error, Mapping):
        return _text(error)
    words = [_text(error.get(name)) for name in ("code", "param", "message")]
    return ": ".join(word for word in words if word)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _number(value: object, said: str | None) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    return float(said) if said else None
