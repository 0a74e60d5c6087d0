"""The record beside every artefact of what it is and what it was made from: `manifest.json`."""

from __future__ import annotations

import hashlib
import os
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from engine.core.errors import DataError, why
from engine.core.i18n import tr
from engine.prompts import PROMPT_VERSION

NAME = "manifest.json"


def now() -> str:
    """The time, ISO 8601, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


class Input(msgspec.Struct, frozen=True):
    """A file that an artefact was made from."""

    name: str
    sha256: str
    bytes: int = 0


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What an artefact is. `counts` holds read, kept and rejected (by reason) of rows."""

    kind: str
    version: int
    created: str = msgspec.field(default_factory=now)
    inputs: list[Input] = []
    counts: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    prompt_version: int = PROMPT_VERSION


def write(folder: Path, manifest: Manifest) -> Path:
    """Write `manifest` into `folder`, whole or not at all, and return its path."""
    text = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
    path = folder / NAME
    write_whole(path, text + b"\n")
    return path


def read(folder: Path) -> Manifest:
    """The manifest in `folder`. Raises DataError if there is none or it cannot be understood."""
    path = folder / NAME
    try:
        return msgspec.json.decode(path.read_bytes(), type=Manifest)
    except FileNotFoundError as error:
        raise DataError(
            tr("There is no {name} in {folder}.").format(name=NAME, folder=folder)
        ) from error
    except (OSError, msgspec.DecodeError) as error:
        raise DataError(
            tr("{path} cannot be read: {error}.").format(path=path, error=why(error))
        ) from error


def input_of(path: Path) -> Input:
    """The file's name, size and SHA-256, for `Manifest.inputs`."""
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return Input(path.name, digest, path.stat().st_size)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that a crash at any moment leaves the old one or the new one.

    Who may read and write it stays as it was.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.draft")
    with draft.open("wb") as stream:
        if path.exists():
            draft.chmod(stat.S_IMODE(path.stat().st_mode))
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    draft.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames inside `folder` survive a power cut, where the system can."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
