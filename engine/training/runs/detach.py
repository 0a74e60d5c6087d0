"""Start a training run in the background, in a session without a terminal."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from engine.core.errors import BalcaoError, UsageError
from engine.core.files import writing
from engine.core.text import one_line
from engine.training.runs.folder import LOG_FILE, lock_holder

_ROOT = Path(__file__).resolve().parents[3]
_POLL = 0.2
"""Seconds between two looks at the run's folder."""
_TAIL = 5
"""Lines of the log that an error quotes."""


def start_detached(arguments: Sequence[str], out: Path) -> subprocess.Popen[bytes]:
    """Start `balcao train` with `arguments`, with its output in the log of `out`."""
    if os.name != "posix":
        raise UsageError("--detach needs Linux or macOS.")
    # -P: the user's folder may contain a package named scripts.
    command = [sys.executable, "-P", "-m", "scripts.train", *arguments]
    known = os.environ.get("PYTHONPATH")
    path = os.pathsep.join([str(_ROOT), *([known] if known else [])])
    log = out / LOG_FILE
    with writing(log):
        out.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as stream:
            return subprocess.Popen(  # noqa: S603 - our own command
                command,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                env=os.environ | {"PYTHONPATH": path},
                start_new_session=True,
            )


def wait_until_started(process: subprocess.Popen[bytes], out: Path) -> None:
    """Wait until the run has locked its folder. Raise BalcaoError if it fails before that."""
    log = out / LOG_FILE
    while lock_holder(out) != process.pid:
        if status := process.poll():
            lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL:]
            raise BalcaoError(
                f"The run ended with exit code {status}: {one_line(' '.join(lines))}",
                f"See {log}.",
            )
        if status == 0:
            return
        time.sleep(_POLL)
