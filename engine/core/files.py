"""Write files and folders atomically, lock them, and describe them in a manifest."""

from __future__ import annotations

import errno
import math
import os
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, BinaryIO

import msgspec

from engine.core.errors import BalcaoError, DataError, UsageError, why
from engine.core.i18n import tr
from engine.core.text import byte_count, json_safe

UNDECODABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""All that msgspec raises for a file or message that is not what it should be."""

_SMALL = 16_000_000
"""More bytes than a manifest or a model's config has."""


@contextmanager
def reading(
    path: Path | str, error: type[BalcaoError] = DataError, remedy: str = ""
) -> Iterator[None]:
    """Raise `error` if the block cannot read `path`, or finds text there that is not UTF-8."""
    try:
        yield
    except (OSError, UnicodeDecodeError) as cause:
        raise error(
            tr("Cannot read {path}: {why}.", path=path, why=why(cause)),
            remedy or tr("Check the path and its permissions."),
        ) from cause


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raise BalcaoError if the block cannot write `path`."""
    try:
        yield
    except OSError as cause:
        raise BalcaoError(
            tr("Cannot write {path}: {why}.", path=path, why=why(cause)),
            tr("Check the free disk space and the permissions."),
        ) from cause


def open_file(path: Path) -> BinaryIO:
    """Open a file. Raise OSError for a pipe or device, which may never begin or never end."""
    if not path.is_file() and path.exists() and not path.is_dir():
        raise OSError(errno.EINVAL, tr("it is not a file"))
    return path.open("rb")


def read_file(path: Path, most: int = _SMALL) -> bytes:
    """Return at most `most` bytes, as `open_file` opens them."""
    with open_file(path) as stream:
        return stream.read(most)


def nearest_parent(path: Path) -> Path:
    """Return `path`, or the nearest folder above it that exists."""
    path = path.absolute()
    return next(place for place in (path, *path.parents) if place.exists())


def free_space(path: Path) -> int:
    """Return the free bytes of the disk that `path` is on, or would be."""
    return shutil.disk_usage(nearest_parent(path)).free


def check_space(
    path: Path, needed: int, purpose: str, error: type[BalcaoError] = BalcaoError, remedy: str = ""
) -> None:
    """Raise `error` if the disk of `path` has less than `needed` bytes free for `purpose`."""
    free = free_space(path)
    if needed > free:
        raise error(
            tr(
                "Not enough disk space in {path} for {purpose}: {needed} needed, {free} free.",
                path=path,
                purpose=purpose,
                needed=byte_count(needed),
                free=byte_count(free),
            ),
            remedy or tr("Free some space, or choose a folder on another disk."),
        )


_POLL = 0.05
"""Seconds between two tries to get a lock."""


def lock(file: IO[Any], *, wait: float = 0.0, shared: bool = False) -> bool:
    """Lock an open file until it is closed; return False if that takes more than `wait` s."""
    try:
        import fcntl
    except ImportError:  # Windows, which does not have such locks
        return True
    mode = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    deadline = time.monotonic() + wait
    while True:
        try:
            fcntl.flock(file, mode | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(_POLL)
        else:
            return True


@contextmanager
def locked(path: Path, *, busy: BalcaoError | None = None, wait: float = 0.0) -> Iterator[IO[str]]:
    """Yield the file `path`, created if missing, locked and open for appending.

    If another process still holds it after `wait` seconds, raise `busy`; without `busy`, wait.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+", encoding="utf-8")
    with file:
        if not lock(file, wait=wait if busy else math.inf) and busy:
            raise busy
        yield file


def folder_lock(out: Path) -> Path:
    """Return the file to lock while the folder `out`, or what it links to, is written."""
    out = out.resolve()
    return out.with_name(f".{out.name}.lock")


PRIVATE = 0o600


def private_folder(folder: Path) -> None:
    """Create a folder and its missing parents for this user alone, or make it so (mode 0700)."""
    for parent in reversed((folder, *folder.parents)):
        if not parent.exists():
            parent.mkdir(mode=0o700, exist_ok=True)
    keep_from_others(folder)


def make_private(path: Path) -> None:
    """Create an empty file for this user alone, or make the existing one so (mode 0600)."""
    with suppress(FileExistsError):
        path.touch(PRIVATE, exist_ok=False)
    keep_from_others(path)


def keep_from_others(path: Path) -> None:
    """Take a file or folder of this user from all others; what a link leads to stays as it is."""
    with suppress(OSError):
        status = path.lstat()
        if os.name == "posix" and status.st_uid == os.getuid() and not stat.S_ISLNK(status.st_mode):
            mode = stat.S_IMODE(status.st_mode)
            if mode & 0o077:
                path.chmod(mode & 0o700)


@contextmanager
def atomic_file(path: Path, *, private: bool = False) -> Iterator[IO[bytes]]:
    """Yield a draft of a file; a crash leaves either the old content or the new.

    Keep the mode of the file, or make it and its folder `private` to this user. Delete the drafts
    of processes that were killed.
    """
    import glob

    if private and not path.parent.exists():
        private_folder(path.parent)
    delete_drafts(path.parent, glob.escape(path.name))
    draft = path.with_name(f".{path.name}.{os.getpid()}.draft")
    mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o666
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    try:
        with os.fdopen(os.open(draft, flags, PRIVATE if private else mode), "wb") as stream:
            if path.exists() or private:
                draft.chmod(PRIVATE if private else mode)
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(path)
    finally:
        with suppress(OSError):
            draft.unlink()
    sync_folder(path.parent)


def delete_drafts(folder: Path, pattern: str) -> None:
    """Delete what killed processes left of the files that `atomic_file` writes."""
    import psutil

    for draft in folder.glob(f".{pattern}.*.draft"):
        process = draft.name.removesuffix(".draft").rpartition(".")[2]
        if process.isdecimal() and not psutil.pid_exists(int(process)):
            with suppress(OSError):
                draft.unlink()


def write_atomic(path: Path, data: bytes, *, private: bool = False) -> None:
    """Write a file as `atomic_file` does."""
    with atomic_file(path, private=private) as stream:
        stream.write(data)


def encode_json(value: object, *, indent: int = -1) -> bytes:
    """Encode lines of JSON for a file, with all characters escaped that a terminal would obey."""
    data = msgspec.json.encode(value, enc_hook=str)
    text = msgspec.json.format(data, indent=indent) if indent > 0 else data
    return json_safe(text.decode()).encode() + b"\n"


def sync_folder(folder: Path) -> None:
    """Make renames inside `folder` survive a power cut, on systems that can."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def atomic_folder(out: Path, kind: str) -> Iterator[Path]:
    """Yield a new folder to fill; rename it to `out` at the end, or delete it on an error.

    Replace an artefact of the same kind at `out`, where a link is followed, and hold back other
    processes that would write there. Raise UsageError if `out` holds something else, BalcaoError
    if it cannot be written.
    """
    out = out.resolve()
    check_target(out, kind)
    with locked(folder_lock(out)), writing(out):
        _delete_leftovers(out)
        check_target(out, kind)
        draft = _sibling(out, _DRAFT)
        draft.mkdir()
        try:
            yield draft
            _sync(draft)
            _swap(draft, out)
        finally:
            shutil.rmtree(draft, ignore_errors=True)


_DRAFT = "building"
_OLD = "old"


def _sibling(out: Path, purpose: str) -> Path:
    return out.parent / f".{out.name}.{purpose}-{os.urandom(4).hex()}"


def check_target(out: Path, kind: str) -> None:
    """Raise UsageError if `out` is no place for an artefact of that kind."""
    if out.exists() and not out.is_dir():
        raise UsageError(tr("{out} is a file.", out=out), tr("Choose a folder."))
    if not out.exists() or not any(out.iterdir()):
        return
    try:
        found = read_manifest(out).kind
    except DataError:
        found = ""
    if found != kind:
        raise UsageError(
            tr("{out} is not empty and was not written by this command.", out=out),
            tr("Choose a new folder, or empty that one."),
        )


def _delete_leftovers(out: Path) -> None:
    # Of processes that were killed: the caller holds the lock, so none of them is still running.
    olds = [old for old in _leftovers(out, _OLD) if old.is_dir()]
    if olds and not out.exists():  # killed between the two renames
        max(olds, key=lambda old: old.stat().st_mtime).rename(out)
    for left in (*_leftovers(out, _DRAFT), *_leftovers(out, _OLD)):
        if left.is_symlink():
            left.unlink()
        shutil.rmtree(left, ignore_errors=True)


def _leftovers(out: Path, purpose: str) -> list[Path]:
    import glob

    return list(out.parent.glob(f".{glob.escape(out.name)}.{purpose}-*"))


def _sync(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as stream:
                os.fsync(stream.fileno())
        else:
            sync_folder(path)
    sync_folder(folder)


def _swap(draft: Path, out: Path) -> None:
    old = _sibling(out, _OLD)
    if out.exists():
        out.rename(old)
    draft.rename(out)
    sync_folder(out.parent)
    shutil.rmtree(old, ignore_errors=True)


MANIFEST = "manifest.json"


def timestamp() -> str:
    """Return the time in UTC, as ISO 8601 to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


class Input(msgspec.Struct, frozen=True):
    """A file that an artefact was made from."""

    name: str
    sha256: str
    bytes: int = 0


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """Describe an artefact. `counts` has the rows read, kept and rejected (by reason)."""

    kind: str
    version: int
    created: str = msgspec.field(default_factory=timestamp)
    inputs: list[Input] = []
    counts: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    prompt_version: int


def write_manifest(folder: Path, manifest: Manifest) -> Manifest:
    """Write `manifest` into `folder` atomically, and return it."""
    write_atomic(folder / MANIFEST, encode_json(manifest, indent=2))
    return manifest


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest in `folder`. Raise DataError if it is missing or invalid."""
    path = folder / MANIFEST
    with reading(path):
        try:
            return msgspec.json.decode(read_file(path), type=Manifest)
        except FileNotFoundError as error:
            raise DataError(tr("{folder} has no {name}.", folder=folder, name=MANIFEST)) from error
        except UNDECODABLE as error:
            raise DataError(tr("{path} is not a manifest: {why}.", path=path, why=error)) from error


def describe_file(path: Path) -> Input:
    """Return the file's name, size and SHA-256 for `Manifest.inputs`."""
    import hashlib

    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return Input(path.name, digest, path.stat().st_size)
