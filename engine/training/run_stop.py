"""Stops a run from outside, as Ctrl-C in its own terminal does."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from engine.errors import BalcaoError, UsageError
from engine.training.lora_folder import holder


def stop(out: Path) -> None:
    """Ask the run in `out` to save and end; it does after its step. Raises BalcaoError."""
    process = holder(out)
    if process is None:
        raise UsageError(f"No run is alive in {out}.", "`balcao runs` lists them.")
    if not process:
        raise UsageError(f"The run in {out} is one of another machine.", "Stop it there.")
    try:
        # Not SIGINT, which a shell's `&` has its children ignore.
        os.kill(process, signal.SIGTERM)
    except OSError as error:
        raise BalcaoError(f"Process {process} cannot be stopped: {error.strerror}.") from error
