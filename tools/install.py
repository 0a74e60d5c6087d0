"""Create `.venv` and install Balcão in it; the Makefile runs this with the system's Python.

python3 tools/install.py chat|gpu|test|train

Uses the standard library only. The output of pip goes to `.venv/install.log`.
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
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
LOG = VENV / "install.log"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
TORCH = "torch==2.13.0"
# The package index for PyTorch; by default the one for all packages.
INDEX_VARIABLE = "TORCH_INDEX_URL"
PINNED = ("--constraint", "constraints.txt")
EXTRAS = {"chat": "", "gpu": "[gpu]", "test": "[dev]", "train": "[train,evaluate]"}
NEEDED_GIB = 1
NEEDED_WITH_TORCH_GIB = 4
NEEDED_WITH_CUDA_GIB = 10
MODEL = "smollm2"
UNCOMPILED = "PYTHONDONTWRITEBYTECODE"
USED = "import tui.screens.chat, openai.types.chat, numpy, engine.backends.llama.llama_cpp"
_WIDTH = 72
_DOWNLOAD = re.compile(r"Downloading \S+ \(([\d.]+) (kB|MB|GB)\)")
_UNIT = {"kB": 0.001, "MB": 1.0, "GB": 1000.0}


class StepFailed(Exception):
    """A step failed; the message says how to fix it."""


def main(argv: Sequence[str]) -> int:
    """Install for a purpose and return the exit code."""
    if len(argv) != 1 or argv[0] not in EXTRAS:
        print(__doc__, file=sys.stderr)
        return 2
    extras = EXTRAS[argv[0]] or (EXTRAS["gpu"] if _has_nvidia() else "")
    steps = _steps(extras, with_model=argv[0] == "chat")
    try:
        if extras:
            _check_index(os.environ.get(INDEX_VARIABLE, ""))
        for number, (what, step) in enumerate(steps, 1):
            _run_step(f"[{number}/{len(steps)}] {what}", step)
    except StepFailed as failure:
        print(f"\n{failure}\nThe full log is {LOG}.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped. Run the same command again to continue.", file=sys.stderr)
        return 130
    (VENV / f".{argv[0]}-ready").touch()
    return 0


def _steps(extras: str, *, with_model: bool) -> list[tuple[str, Callable[[], None]]]:
    """Return the steps with their titles; all extras need PyTorch."""
    torch = [("PyTorch", _install_torch)] if extras else []
    last = ("sample catalogue", _build_sample)
    if with_model:
        last = (f"sample catalogue and model {MODEL}", _build_sample_and_pull)
    return [
        ("virtual environment in .venv", lambda: _make_venv(with_torch=bool(extras))),
        *torch,
        (f"Balcão and its packages {extras}".rstrip(), lambda: _install(extras)),
        last,
    ]


def _check_index(index: str) -> None:
    """Name the package index for PyTorch. Raise StepFailed for one that others can change."""
    if not index:
        return
    try:
        address = urlsplit(index)
        host = address.hostname or ""
    except ValueError as error:
        raise StepFailed(f"{INDEX_VARIABLE} is not an address: {error}.") from error
    if address.scheme not in ("https", "file") and host not in ("localhost", "127.0.0.1", "::1"):
        raise StepFailed(
            f"{INDEX_VARIABLE} must begin with https:// unless it is on this machine: without it,"
            " anyone on the way can replace the packages."
        )
    # Without the user name and password that it may contain.
    print(f"PyTorch comes from {address.scheme}://{host or 'this machine'} ({INDEX_VARIABLE}).")


def _run_step(title: str, step: Callable[[], None]) -> None:
    started = time.monotonic()
    print(f"{title} …", end="" if _tidy() else "\n", flush=True)
    step()
    took = f"{time.monotonic() - started:.0f} s"
    print(f"\r\033[K{title}: {took}" if _tidy() else f"    {took}", flush=True)


def _tidy() -> bool:
    return sys.stdout.isatty()


def _make_venv(*, with_torch: bool) -> None:
    if sys.version_info < (3, 11):  # noqa: UP036 - may run on an older Python
        raise StepFailed(f"Python 3.11 or newer is required; this is {sys.version.split()[0]}.")
    free = shutil.disk_usage(ROOT).free / 2**30
    # An interrupted creation leaves a Python without pip.
    if not (PYTHON.exists() and _pip("--version", quiet=True)):
        needed = _needed(with_torch=with_torch)
        if free < needed:
            raise StepFailed(
                f"Not enough disk space: {needed} GiB needed, {free:.1f} free. Free some space."
            )
        made = subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)], check=False)
        if made.returncode:
            raise StepFailed(
                "Python could not create a virtual environment. On Debian and Ubuntu, run:"
                " apt install python3-venv."
            )


def _needed(*, with_torch: bool) -> int:
    if not with_torch:
        return NEEDED_GIB
    return NEEDED_WITH_CUDA_GIB if _has_nvidia() else NEEDED_WITH_TORCH_GIB


def _install_torch() -> None:
    index = os.environ.get(INDEX_VARIABLE)
    where = ["--index-url", index] if index else []
    builds = [TORCH] if _has_nvidia() or sys.platform == "darwin" else [f"{TORCH}+cpu", TORCH]
    if _pip("show", "torch", quiet=True):
        return
    if not any(_pip("install", *where, *PINNED, build) for build in builds):
        raise StepFailed(
            f"pip could not install PyTorch. Check the network, or set {INDEX_VARIABLE} to another"
            " package index."
        )


def _has_nvidia() -> bool:
    # As engine/backends/llama/host.py decides.
    driver = Path("/proc/driver/nvidia/version")
    return driver.exists() or shutil.which("nvidia-smi") is not None


def _install(extras: str) -> None:
    # What the chat imports is a fifth of its packages: compiling the rest takes seconds and 40 MB.
    compiling = () if extras else ("--no-compile",)
    if not _pip("install", *compiling, *PINNED, "--editable", f".{extras}"):
        raise StepFailed(
            "pip could not install the packages. Check the network and the end of the log, then"
            " run the same command again; it keeps what was downloaded."
        )
    _compile()


def _compile() -> None:
    """Compile Balcão and what the chat imports.

    Without this, each start would, if it cannot write there or PYTHONDONTWRITEBYTECODE is set.
    """
    environ = {name: value for name, value in os.environ.items() if name != UNCOMPILED}
    for arguments in (["-m", "compileall", "-q", "engine", "scripts", "tui"], ["-c", USED]):
        command = [str(PYTHON), *arguments]
        subprocess.run(command, cwd=ROOT, env=environ, stdout=subprocess.DEVNULL, check=False)


def _build_sample() -> None:
    _finish_sample(_start_sample())


def _build_sample_and_pull() -> None:
    building = _start_sample()
    _pull_model()
    _finish_sample(building)


def _start_sample() -> subprocess.Popen[str]:
    command = [str(PYTHON), "-m", "scripts.index", "--sample"]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def _finish_sample(building: subprocess.Popen[str]) -> None:
    _, said = building.communicate()
    if building.returncode:
        raise StepFailed(f"Cannot build the sample catalogue: {said.strip()}")


def _pull_model() -> None:
    """Download the small model, with its own progress; the chat opens without it too."""
    if _tidy():
        print()
    program = [str(PYTHON), "-m", "scripts.cli", "models", "pull", MODEL]
    if subprocess.run(program, cwd=ROOT, stdout=subprocess.DEVNULL, check=False).returncode:
        command = f"{PYTHON.parent.relative_to(ROOT)}{os.sep}balcao models pull {MODEL}"
        print(f"The chat works without the model. To download it later, run: {command}", flush=True)


def _pip(*arguments: str, quiet: bool = False) -> bool:
    """Run pip, log its output, show its latest line; return whether it succeeded."""
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
