"""Start a training run in the background, stop one, or use its adapter in the chat."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from engine.config import edit
from engine.core.errors import BalcaoError, UsageError, why
from engine.core.files import read_manifest, writing
from engine.core.i18n import tr
from engine.core.text import one_line
from engine.training.runs.folder import LOG_FILE, is_done, lock_holder

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


def stop_run(out: Path) -> None:
    """Ask the run in `out` to save and stop after its current step. Raise BalcaoError."""
    process = lock_holder(out)
    if process is None:
        raise UsageError(
            tr("No run is active in {out}.", out=out), tr("List the runs: balcao runs.")
        )
    if not process:
        raise UsageError(
            tr("The run in {out} belongs to another machine.", out=out), tr("Stop it there.")
        )
    try:
        # Not SIGINT: children of a shell's `&` ignore it.
        os.kill(process, signal.SIGTERM)
    except OSError as error:
        raise BalcaoError(
            tr("Cannot stop process {process}: {why}.", process=process, why=why(error))
        ) from error


def add_engine(
    out: Path, wanted: str = "", catalogue: Path | None = None, *, instead: bool = False
) -> str:
    """Add an engine for the finished run in `out`, called `wanted` if given; return its id.

    It opens `catalogue` when the chat starts with it, or one nearby that has the products.
    `instead` of another engine that is called `wanted`.
    """
    if not is_done(out):
        raise UsageError(
            tr("The run in {out} is not done.", out=out),
            tr("Wait until it has written an adapter."),
        )
    base = read_manifest(out).settings.get("base")
    if not isinstance(base, str):
        raise UsageError(tr("The manifest in {out} does not name a base model.", out=out))
    from engine.training.runs.catalogue import check_catalogue, find_catalogue

    found = check_catalogue(catalogue, out) if catalogue else find_catalogue(out)
    return edit.add_adapter(base, out, wanted, found, instead=instead)
