"""How much memory this process holds, and may hold; as Linux tells, 0 or None elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

_Names = tuple[str, str, tuple[str, str]]
_STATUS = Path("/proc/self/status")
_MACHINE = Path("/proc/meminfo")
_OWN = Path("/proc/self/cgroup")
_GROUPS = Path("/sys/fs/cgroup")
_NEW = ("memory.max", "memory.current", ("active_file", "inactive_file"))
_OLD = (
    "memory.limit_in_bytes", "memory.usage_in_bytes", ("total_active_file", "total_inactive_file"),
)  # fmt: skip
"""A group's files: its limit, what it uses, and which of that in `memory.stat` are files."""
_KILO = 1024


def held() -> int:
    """Bytes of memory that the process holds now."""
    return _kilobytes(_STATUS).get("VmRSS", 0)


def peak() -> int:
    """The most bytes that the process has held."""
    return _kilobytes(_STATUS).get("VmHWM", 0)


def room(shares: int) -> int | None:
    """Bytes that the process may hold in all, where `shares` processes divide what is free."""
    machine = _kilobytes(_MACHINE)
    if "MemAvailable" not in machine:
        return None
    free = machine["MemAvailable"] + machine.get("SwapFree", 0)
    return held() + min([free // shares, *(left // shares for left in _left()), *_addresses()])


def _addresses() -> Iterator[int]:
    """What `ulimit -v` leaves of the process's addresses."""
    try:
        import resource
    except ImportError:  # Windows
        return
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY:
        yield max(limit - _kilobytes(_STATUS).get("VmSize", 0), 0)


def _left() -> Iterator[int]:
    """What the groups that the process is in (containers, batch systems) have left, in bytes."""
    try:
        lines = _OWN.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        number, kinds, own = line.split(":", 2)
        if number == "0":
            yield from _left_above(_GROUPS, own, _NEW)
        elif "memory" in kinds.split(","):  # the first version of groups has a tree for each kind
            yield from _left_above(_GROUPS / "memory", own, _OLD)


def _left_above(root: Path, own: str, names: _Names) -> Iterator[int]:
    group = root / own.lstrip("/")
    for folder in (group, *group.parents):
        if folder.is_relative_to(root) and (left := _left_of(folder, names)) is not None:
            yield left


def _left_of(group: Path, names: _Names) -> int | None:
    limit, current, files = names
    try:
        left = _number(group / limit) - _number(group / current)
        stat = (group / "memory.stat").read_text(encoding="ascii").split()
    except (OSError, ValueError):  # no such group, or the word “max”
        return None
    # Files that were read count as used, but make room when it is needed.
    room = sum(int(stat[stat.index(name) + 1]) for name in files if name in stat)
    return max(left + room, 0)


def _number(file: Path) -> int:
    return int(file.read_text(encoding="ascii"))


def _kilobytes(file: Path) -> dict[str, int]:
    """The sizes in a file of lines such as `VmRSS:  1234 kB`, in bytes."""
    try:
        lines = file.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return {}
    words = (line.split() for line in lines if line.endswith(" kB"))
    return {one[0].rstrip(":"): int(one[1]) * _KILO for one in words}
