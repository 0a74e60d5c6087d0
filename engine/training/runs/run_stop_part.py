"""Stops a run from outside, as Ctrl-C in its own terminal does."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from engine.core.errors import BalcaoError, UsageError, why
from engine.core.i18n import tr
from engine.training.runs.folder import holder


def stop(out: Path) -> None:
    """Ask the run in `out` to save and end; it does after its step. Raises BalcaoError."""
    process = holder(out)
    if process is None:
        raise UsageError(
            tr("No run is alive in {out}.").format(out=out), tr("`balcao runs` lists them.")
        )
    if not process:
        raise UsageError(
            tr("The run in {out} is one of another machine.").format(out=out), tr("Stop it there.")
        )
    try:
        # Not SIGINT, which a shell's `&` has its children ignore.
        os.kill(process, signal.SIGTERM)
    except OSError as error:
        raise BalcaoError(
            tr("Process {process} cannot be stopped: {why}.").format(
                process=process, why=why(error)
            )
        ) from error
