"""When OpenAI shuts a model, or fine-tuning itself, as far as it is known: told where it matters.

Source: several secondary sources that agree, read in November 2026 (docs/openai.md says how sure
each date is). The server's own word is `shutdown_date` in its answer to a question for the model.
"""

from __future__ import annotations

import re
from datetime import date, timedelta

from engine.core.i18n import tr

_WARN_AHEAD = timedelta(days=183)
"""Half a year: time enough to train or deploy something else."""

_SNAPSHOT = re.compile(r"-\d{4}-\d{2}-\d{2}$")

_SHUT_DOWN: dict[str, date | None] = {
    "gpt-4o": date(2027, 1, 14),
    "gpt-4o-mini": date(2027, 1, 14),
    "gpt-4.1": date(2027, 1, 14),
    "gpt-4.1-mini": date(2027, 1, 14),
    "gpt-4.1-nano": None,
}
"""By base model; None: shut already."""

LAST_JOBS = date(2027, 1, 6)
"""The last day on which anybody can start a fine-tuning job at OpenAI."""


def base_model(model: str) -> str:
    """The base that a model id stands on: without `ft:`, the owner's parts and the snapshot date.

    `ft:gpt-4o-mini-2024-07-18:org::id` gives `gpt-4o-mini`.
    """
    if model.startswith("ft:"):
        model = model.removeprefix("ft:").partition(":")[0]
    return _SNAPSHOT.sub("", model)


def notice(model: str, today: date) -> str:
    """A sentence about the end of one of OpenAI's models, or nothing while it is far off."""
    base = base_model(model)
    if base not in _SHUT_DOWN:
        return ""
    day = _SHUT_DOWN[base]
    tuned = tr(", and with it this fine-tuned model") if model.startswith("ft:") else ""
    if day is None:
        return tr("OpenAI is said to have shut down {base} already{tuned}.").format(
            base=base, tuned=tuned
        )
    if today >= day:
        return tr("OpenAI was to shut down {base} on {day}{tuned}.").format(
            base=base, day=day, tuned=tuned
        )
    if today >= day - _WARN_AHEAD:
        return tr("OpenAI is said to shut down {base} on {day}{tuned}.").format(
            base=base, day=day, tuned=tuned
        )
    return ""


def tuning_notice(today: date) -> str:
    """A sentence about the end of fine-tuning at OpenAI."""
    if today > LAST_JOBS:
        return tr("OpenAI is said to take no fine-tuning jobs since {last_jobs}.").format(
            last_jobs=LAST_JOBS
        )
    return tr(
        "OpenAI is closing self-serve fine-tuning: organisations new to it are said to be "
        "shut out since 2026-05-07, those without a tuned model in use since 2026-07-02, and "
        "everybody after {last_jobs}."
    ).format(last_jobs=LAST_JOBS)
