"""`balcao train --detach`: the same command again, in a session that no terminal ends."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from engine.core.errors import BalcaoError, UsageError
from engine.core.text import one_line
from engine.training.runs import folder as lora_folder
from scripts.common import DONE, say

_ROOT = Path(__file__).resolve().parent.parent
_EVERY = 0.2
"""Seconds between two looks whether it has begun."""
_TAIL = 5
"""Lines of the log that tell why it did not."""


def detach(given: list[str], out: Path) -> int:
    """Start `balcao train` with the arguments `given` and wait until it has taken its folder.

    Raises BalcaoError if it does not begin.
    """
    if os.name != "posix":
        raise UsageError("--detach needs sessions, which this system does not have.")
    log = out / lora_folder.LOG
    process = _start(given, out, log)
    print(f"process   {process.pid}, in a session of its own")
    print(f"log       {log}")
    print(f"follow    balcao runs follow {out}")
    print(f"stop      balcao runs stop {out}", flush=True)
    say("starting; Ctrl-C leaves it to itself")
    try:
        _wait(process, out, log)
    except KeyboardInterrupt:
        say("balcao: the run goes on without this terminal.")
        raise
    return DONE


def _start(given: list[str], out: Path, log: Path) -> subprocess.Popen[bytes]:
    # -P: a folder named scripts where the person stands is none of ours.
    command = [sys.executable, "-P", "-m", "scripts.train", *given]
    known = os.environ.get("PYTHONPATH")
    path = os.pathsep.join([str(_ROOT), *([known] if known else [])])
    try:
        out.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as stream:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                env=os.environ | {"PYTHONPATH": path},
                start_new_session=True,
            )
    except OSError as error:
        raise BalcaoError(f"{log} cannot be written: {error.strerror}.") from error


def _wait(process: subprocess.Popen[bytes], out: Path, log: Path) -> None:
    """Until the run has its folder, or has ended already: well, or with the reason in its log."""
    while lora_folder.holder(out) != process.pid:
        if status := process.poll():
            lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL:]
            said = one_line(" ".join(lines))
            raise BalcaoError(f"The run ended with status {status}: {said}", f"All of it: {log}")
        if status == 0:
            return
        time.sleep(_EVERY)
