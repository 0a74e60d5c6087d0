"""A folder that appears whole or not at all, by one builder at a time."""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from engine.core import manifest_part as manifest
from engine.core.errors import BalcaoError, DataError, UsageError, why
from engine.core.i18n import tr

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
            tr("{out} cannot be written: {why}.").format(out=out, why=why(error)),
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
            tr("{out} is a file.").format(out=out),
            tr("Name a folder that is new or holds an older one."),
        )
    if not any(out.iterdir()):
        return
    try:
        found = manifest.read(out).kind
    except DataError:
        found = ""
    if found != kind:
        raise UsageError(
            tr("{out} holds something else than a {kind}.").format(out=out, kind=kind),
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
            manifest.sync_folder(path)
    manifest.sync_folder(folder)


def _swap(draft: Path, out: Path) -> None:
    old = out.parent / f".{out.name}.{_OLD}-{uuid.uuid4().hex[:8]}"
    if out.exists():
        out.rename(old)
    draft.rename(out)
    manifest.sync_folder(out.parent)
    shutil.rmtree(old, ignore_errors=True)
