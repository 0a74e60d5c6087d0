"""A folder that appears whole or not at all, by one builder at a time."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import stat
import uuid
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from engine.core.errors import BalcaoError, DataError, UsageError, why
from engine.core.i18n import tr

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
    prompt_version: int


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
        raise DataError(tr("There is no {name} in {folder}.", name=NAME, folder=folder)) from error
    except (OSError, msgspec.DecodeError) as error:
        raise DataError(
            tr("{path} cannot be read: {error}.", path=path, error=why(error))
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


_DRAFT = "building"
_OLD = "old"


@contextlib.contextmanager
def whole_folder(out: Path, kind: str) -> Iterator[Path]:
    """A new folder to fill; renamed to `out` at the end, thrown away on an error.

    An artefact of the same kind at `out` is replaced; who else would write it waits. Raises
    UsageError if something else is there, BalcaoError if the disk says no.
    """
    out = out.absolute()
    _check_target(out, kind)
    with one_at_a_time(out), _writing(out):
        _check_target(out, kind)
        draft = out.parent / f".{out.name}.{_DRAFT}-{uuid.uuid4().hex[:8]}"
        _sweep(out)
        draft.mkdir()
        try:
            yield draft
            _sync(draft)
            _swap(draft, out)
        finally:
            shutil.rmtree(draft, ignore_errors=True)


@contextlib.contextmanager
def one_at_a_time(out: Path) -> Iterator[None]:
    """Hold back other processes that would write the same folder, until this one is done."""
    with _writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        handle = (out.parent / f".{out.name}.lock").open("w")
    with handle:
        release = _lock(handle.fileno())
        try:
            yield
        finally:
            release()


@contextlib.contextmanager
def _writing(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BalcaoError(
            tr("{out} cannot be written: {why}.", out=out, why=why(error)),
            tr("Make room, or name another folder."),
        ) from error


def _lock(handle: int) -> Callable[[], None]:
    try:
        import fcntl
    except ImportError:  # Windows: the rename still keeps the folder whole.
        return lambda: None
    fcntl.flock(handle, fcntl.LOCK_EX)
    return lambda: fcntl.flock(handle, fcntl.LOCK_UN)


def _check_target(out: Path, kind: str) -> None:
    if not out.exists():
        return
    if not out.is_dir():
        raise UsageError(
            tr("{out} is a file.", out=out),
            tr("Name a folder that is new or holds an older one."),
        )
    if not any(out.iterdir()):
        return
    try:
        found = read(out).kind
    except DataError:
        found = ""
    if found != kind:
        raise UsageError(
            tr("{out} holds something else than a {kind}.", out=out, kind=kind),
            tr("Name a new folder, or empty that one."),
        )


def _sweep(out: Path) -> None:
    """Throw away what builders that were killed left; callers hold the lock."""
    for left in out.parent.glob(f".{out.name}.*-*"):
        if left.name.startswith((f".{out.name}.{_DRAFT}-", f".{out.name}.{_OLD}-")):
            shutil.rmtree(left, ignore_errors=True)


def _sync(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as stream:
                os.fsync(stream.fileno())
        else:
            sync_folder(path)
    sync_folder(folder)


def _swap(draft: Path, out: Path) -> None:
    old = out.parent / f".{out.name}.{_OLD}-{uuid.uuid4().hex[:8]}"
    if out.exists():
        out.rename(old)
    draft.rename(out)
    sync_folder(out.parent)
    shutil.rmtree(old, ignore_errors=True)


_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+\Z")


def toml_text(values: Mapping[str, Any]) -> str:
    """`values` as TOML: plain values first, then tables. Takes what `tomllib` reads but dates.

    Raises TypeError for a value that has no place here.
    """
    return "".join(_lines(values, ()))


def _lines(values: Mapping[str, Any], path: tuple[str, ...]) -> list[str]:
    plain = {name: value for name, value in values.items() if not isinstance(value, Mapping)}
    lines = [f"{_key(name)} = {_value(value)}\n" for name, value in plain.items()]
    if path and (plain or not values):
        lines.insert(0, f"\n[{'.'.join(map(_key, path))}]\n")
    for name, value in values.items():
        if isinstance(value, Mapping):
            lines += _lines(value, (*path, name))
    return lines


def _key(name: str) -> str:
    return name if _BARE_KEY.match(name) else _string(name)


def _value(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return _string(value)
        case int() | float():
            return repr(value)
        case list():
            return f"[{', '.join(map(_value, value))}]"
        case _:
            raise TypeError(type(value))


def _string(text: str) -> str:
    # JSON's escapes are TOML's too, but for DEL, which TOML wants escaped and JSON does not.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
