"""Which runs there are: a small file for each in the state folder, that names the run's folder.

A file of its own for each run, so that two runs that begin at once do not meet.
"""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

import msgspec

from engine.config import paths
from engine.core.manifest_part import write_whole


class _Entry(msgspec.Struct, frozen=True):
    folder: str


def register(out: Path) -> None:
    """Note the run in the folder `out`; forget those whose folders are gone.

    A state folder that cannot be written hides the run from the list and harms it no further.
    """
    folder = str(out.resolve())
    name = hashlib.sha256(folder.encode(errors="surrogateescape")).hexdigest()[:16]
    with contextlib.suppress(OSError):
        paths.runs_dir().mkdir(parents=True, exist_ok=True)
        _forget()
        entry = msgspec.json.encode(_Entry(folder))
        write_whole(paths.runs_dir() / f"{name}.json", entry)


def folders() -> list[Path]:
    """The folders of the runs that were noted and are still there."""
    return [folder for folder in map(_read, _files()) if folder is not None and folder.is_dir()]


def _files() -> list[Path]:
    return sorted(paths.runs_dir().glob("[!.]*.json"))


def _forget() -> None:
    for file in _files():
        folder = _read(file)
        if folder is None or not folder.exists():
            file.unlink(missing_ok=True)


def _read(file: Path) -> Path | None:
    try:
        return Path(msgspec.json.decode(file.read_bytes(), type=_Entry).folder)
    except (OSError, msgspec.DecodeError):
        return None
