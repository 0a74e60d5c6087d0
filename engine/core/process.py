"""This process: its memory, its memory limit, its packages, its signals and its terminals."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

_Names = tuple[str, str, tuple[str, str]]
_ROOT = Path(__file__).resolve().parents[2]
"""The checkout, or the folder of all installed packages."""

_CALL = re.compile(r"(?<![\w./`-])balcao(?= [a-z-])")
"""The program in a command to run; not a command that is only named, in backticks."""

_TARGETS = ("gpu", "train")
"""Extras that the Makefile installs."""

_M_MMAP_THRESHOLD, _MIB = -3, 2**20
"""A parameter of glibc's mallopt, from malloc.h, and its value."""

_STATUS = Path("/proc/self/status")
_OWN = Path("/proc/self/cgroup")
_GROUPS = Path("/sys/fs/cgroup")
_NEW = ("memory.max", "memory.current", ("active_file", "inactive_file"))
_OLD = (
    "memory.limit_in_bytes", "memory.usage_in_bytes", ("total_active_file", "total_inactive_file"),
)  # fmt: skip
"""A control group's files: its limit, its use, and the fields of `memory.stat` that are caches."""


def total_memory() -> int:
    """Return the machine's memory in bytes."""
    import psutil

    return int(psutil.virtual_memory().total)


def available_memory() -> int:
    """Return the bytes that programs can still take without swapping."""
    import psutil

    return int(psutil.virtual_memory().available)


def used_memory(process: int | None = None) -> int | None:
    """Return the resident bytes of a process, by default this one; None if it has ended."""
    import psutil

    try:
        return int(psutil.Process(process).memory_info().rss)
    except psutil.Error:
        return None


def give_back_blocks() -> None:
    """Give blocks of memory of 1 MB or more back to the system as soon as they are freed.

    glibc keeps them for later, and most do not fit what is asked for later. Costs time.
    """
    import ctypes

    with suppress(AttributeError, OSError):  # other systems have other ways
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _MIB)


def peak_memory() -> int:
    """Return the most bytes that this process has had resident; 0 on systems other than Linux."""
    # Not getrusage: its figure includes the parent's memory from before the exec.
    try:
        lines = _STATUS.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)


def memory_limit(processes: int = 1) -> int:
    """Return the bytes that this process may use, if `processes` share what is free equally."""
    import psutil

    free = available_memory() + int(psutil.swap_memory().free)
    left = [free // processes, *(room // processes for room in _left_in_groups())]
    return (used_memory() or 0) + min([*left, *_left_of_addresses()])


def _left_of_addresses() -> Iterator[int]:
    """Yield what `ulimit -v` leaves."""
    try:
        import resource
    except ImportError:  # Windows
        return
    import psutil

    most = resource.getrlimit(resource.RLIMIT_AS)[0]
    if most != resource.RLIM_INFINITY:
        yield max(most - int(psutil.Process().memory_info().vms), 0)


def _left_in_groups() -> Iterator[int]:
    """Yield what each control group of this process (container, batch job) has left."""
    try:
        lines = _OWN.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        number, kinds, own = line.split(":", 2)
        if number == "0":
            yield from _left_above(_GROUPS, own, _NEW)
        elif "memory" in kinds.split(","):  # version 1 has a tree for each kind of resource
            yield from _left_above(_GROUPS / "memory", own, _OLD)


def _left_above(root: Path, own: str, names: _Names) -> Iterator[int]:
    group = root / own.lstrip("/")
    for folder in (group, *group.parents):
        if folder.is_relative_to(root) and (left := _left_of(folder, names)) is not None:
            yield left


def _left_of(group: Path, names: _Names) -> int | None:
    most, current, caches = names
    try:
        left = _number(group / most) - _number(group / current)
        stat = (group / "memory.stat").read_text(encoding="ascii").split()
    except (OSError, ValueError):  # no such group, or the word “max”
        return None
    # Cached files count as used, but the kernel drops them when the room is needed.
    room = sum(int(stat[stat.index(name) + 1]) for name in caches if name in stat)
    return max(left + room, 0)


def _number(file: Path) -> int:
    return int(file.read_text(encoding="ascii"))


def install_command(extra: str = "") -> str:
    """Return the command that installs an extra here; without one, the packages of the chat."""
    suffix = f"[{extra}]" if extra else ""
    if not (_ROOT / "pyproject.toml").is_file():
        return pip_command(f"balcao{suffix}")
    # Only the Makefile picks the build of PyTorch for this machine.
    if extra in _TARGETS and os.name == "posix" and Path(sys.prefix) == _ROOT / ".venv":
        where = () if Path.cwd() == _ROOT else ("-C", str(_ROOT))
        return _shell_line("make", *where, f"{extra}-env")
    return pip_command("--editable", f"{_ROOT}{suffix}")


def pip_command(*arguments: str) -> str:
    """Return the command that runs `pip install` for this Python."""
    return _shell_line(sys.executable, "-m", "pip", "install", *arguments)


def reinstall_command(*packages: str) -> str:
    """Return the command that installs packages again, in versions that the program works with."""
    from importlib import metadata

    with suppress(metadata.PackageNotFoundError):
        ranges = [line.partition(";")[0].strip() for line in metadata.requires("balcao") or ()]
        packages = tuple(
            next((line for line in ranges if re.match(rf"{name}(?![\w-])", line)), name)
            for name in packages
        )
    return pip_command("--force-reinstall", "--no-deps", *packages)


@cache
def own_command() -> str:
    """Return how the user's shell finds this program: a name, a path, or Python with a module."""
    import shutil

    if shutil.which("balcao"):
        return "balcao"
    script = Path(sys.executable).with_name("balcao")
    if not script.is_file():
        return _shell_line(sys.executable, "-m", "scripts.cli")
    here = Path.cwd()
    return _shell_line(str(script.relative_to(here) if script.is_relative_to(here) else script))


def runnable(sentence: str) -> str:
    """Let the commands in a sentence run as printed where `balcao` is not on the PATH."""
    return _CALL.sub(lambda _: own_command(), sentence)


def _shell_line(*words: str) -> str:
    import shlex
    import subprocess

    return shlex.join(words) if os.name == "posix" else subprocess.list2cmdline(words)


def not_ignored(names: Iterable[str]) -> list[int]:
    """Return the numbers of those signals that exist here and that `nohup` or `&` do not ignore."""
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    return [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]


def ignore_signals(numbers: Iterable[int]) -> None:
    """Ignore what follows a first signal: Python's own shutdown would let it kill the process."""
    for number in numbers:
        signal.signal(number, signal.SIG_IGN)


class Terminals:
    """The standard streams that are terminals, noted early: a closed one no longer says it is."""

    def __init__(self) -> None:
        streams = (sys.__stdin__, sys.__stdout__, sys.__stderr__)
        self._handles = [one.fileno() for one in streams if one and one.isatty()]

    def detach(self) -> None:
        """Point them to the null device: writing to a terminal that is gone fails."""
        nowhere = os.open(os.devnull, os.O_RDWR)
        for handle in self._handles:
            os.dup2(nowhere, handle)
        os.close(nowhere)


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Discard what is written to descriptor 2, such as a panic of Rust; keep Python's stderr."""
    before, used = sys.__stderr__, sys.stderr
    if before is None:
        yield
        return
    number = before.fileno()
    with os.fdopen(os.dup(number), "w", 1, before.encoding, before.errors) as stream:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, number)
        os.close(nowhere)
        sys.__stderr__ = stream  # type: ignore[misc]
        if used is before:
            sys.stderr = stream
        try:
            yield
        finally:
            sys.__stderr__, sys.stderr = before, used  # type: ignore[misc]
            stream.flush()
            os.dup2(stream.fileno(), number)
