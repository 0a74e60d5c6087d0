"""Makes `.venv` and fills it, telling what it does; the Makefile runs it with the system's Python.

python3 tools/install.py chat|test|train

Standard library only, since nothing is installed yet. What pip says goes to `.venv/install.log`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
LOG = VENV / "install.log"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
TORCH = "torch==2.13.0"
# Where pip looks for PyTorch; empty: where it looks for everything.
INDEX_VARIABLE = "TORCH_INDEX_URL"
PINNED = ("--constraint", "constraints.txt")
EXTRAS = {"chat": "", "test": "[dev]", "train": "[train]"}
NEEDED_GIB = 4
_WIDTH = 72
_DOWNLOAD = re.compile(r"Downloading \S+ \(([\d.]+) (kB|MB|GB)\)")
_UNIT = {"kB": 0.001, "MB": 1.0, "GB": 1000.0}


class StepFailed(Exception):
    """A step did not work; carries what to do about it."""


def main(argv: Sequence[str]) -> int:
    """Install for `chat`, `test` or `train`; returns the exit code."""
    if len(argv) != 1 or argv[0] not in EXTRAS:
        print(__doc__, file=sys.stderr)
        return 2
    steps: list[tuple[str, Callable[[], None]]] = [
        ("a virtual environment in .venv", _make_venv),
        ("PyTorch", _install_torch),
        (f"Balcão and what it needs {EXTRAS[argv[0]]}".rstrip(), lambda: _install(argv[0])),
        ("the sample catalogue", _build_sample),
    ]
    try:
        for number, (what, step) in enumerate(steps, 1):
            _run_step(f"[{number}/{len(steps)}] {what}", step)
    except StepFailed as failure:
        print(f"\n{failure}\nAll that was said is in {LOG}.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped. The same command goes on where it left off.", file=sys.stderr)
        return 130
    (VENV / f".{argv[0]}-ready").touch()
    return 0


def _run_step(title: str, step: Callable[[], None]) -> None:
    started = time.monotonic()
    print(f"{title} …", end="" if _tidy() else "\n", flush=True)
    step()
    took = f"{time.monotonic() - started:.0f} s"
    print(f"\r\033[K{title}: {took}" if _tidy() else f"    {took}", flush=True)


def _tidy() -> bool:
    return sys.stdout.isatty()


def _make_venv() -> None:
    if sys.version_info < (3, 11):  # noqa: UP036 - run by whatever Python is there
        raise StepFailed(f"Python 3.11 or newer is needed; this is {sys.version.split()[0]}.")
    free = shutil.disk_usage(ROOT).free / 2**30
    # One that was cut short has a Python but no pip.
    if not (PYTHON.exists() and _pip("--version", quiet=True)):
        if free < NEEDED_GIB:
            raise StepFailed(
                f"The disk has {free:.1f} GiB free; {NEEDED_GIB} are needed. Make room, run again."
            )
        made = subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)], check=False)
        if made.returncode:
            raise StepFailed(
                "Python could not make a virtual environment. On Debian and Ubuntu:"
                " apt install python3-venv."
            )


def _install_torch() -> None:
    index = os.environ.get(INDEX_VARIABLE)
    where = ["--index-url", index] if index else []
    builds = [TORCH] if _has_nvidia() or sys.platform == "darwin" else [f"{TORCH}+cpu", TORCH]
    if _pip("show", "torch", quiet=True):
        return
    if not any(_pip("install", *where, *PINNED, build) for build in builds):
        raise StepFailed(
            f"PyTorch could not be installed. Check the network; {INDEX_VARIABLE} names another"
            " place for pip to take it from."
        )


def _has_nvidia() -> bool:
    return shutil.which("nvidia-smi") is not None


def _install(purpose: str) -> None:
    if not _pip("install", *PINNED, "--editable", f".{EXTRAS[purpose]}"):
        raise StepFailed(
            "pip could not install the packages. Check the network and the end of the log, then"
            " run the same command again: what was downloaded is kept."
        )
    # pip compiles what it copies, and of an editable package nothing is copied. Where nobody may
    # write beside the sources, or PYTHONDONTWRITEBYTECODE is set, each start would do it anew.
    compiling = [str(PYTHON), "-m", "compileall", "-q", "engine", "scripts", "tui"]
    subprocess.run(compiling, cwd=ROOT, stdout=subprocess.DEVNULL, check=False)


def _build_sample() -> None:
    built = subprocess.run(
        [PYTHON, "-m", "scripts.index", "--sample"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if built.returncode:
        raise StepFailed(f"The sample catalogue could not be built: {built.stderr.strip()}")


def _pip(*arguments: str, quiet: bool = False) -> bool:
    """Run pip, its words into the log, its last on the screen; returns whether it worked."""
    command = [str(PYTHON), "-m", "pip", "--disable-pip-version-check", *arguments]
    megabytes = 0.0
    with (
        LOG.open("a", encoding="utf-8") as log,
        subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process,
    ):
        for line in process.stdout or ():
            log.write(line)
            found = _DOWNLOAD.search(line)
            megabytes += float(found[1]) * _UNIT[found[2]] if found else 0.0
            if not quiet and _tidy():
                now = " ".join(line.split())[: _WIDTH - 12]
                print(f"\r\033[K    {megabytes:5.0f} MB  {now}", end="", flush=True)
        log.write(f"-- {megabytes:.0f} MB downloaded\n")
    return process.returncode == 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
