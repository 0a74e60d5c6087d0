"""Download a file by parts: a partial file that a later run continues, progress, checksum.

Light: the hub's client is imported when a download begins. It tries again after a lost connection.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from engine.core.errors import BalcaoError
from engine.core.files import Input, describe_file
from engine.core.i18n import tr
from engine.core.text import byte_count
from engine.core.types import Progress

Show = Callable[[Progress], None]


class NotDelivered(BalcaoError):
    """A source did not deliver; the message is a part of a sentence."""


def set_up_client() -> None:
    """Keep its progress and warnings from mixing with ours; let an interrupted one lose less."""
    from huggingface_hub import constants
    from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]

    constants.DOWNLOAD_CHUNK_SIZE = 1 << 20
    disable_progress_bars()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)


def append(
    url: str, part: Path, file: Input, headers: dict[str, str], report: Callable[[int], None]
) -> None:
    """Download what `part` lacks of a file, telling its size to `report`, and check it.

    Raises NotDelivered for a wrong checksum, otherwise what the client raises.
    """
    from huggingface_hub.file_download import http_get

    with part.open("ab") as stream:
        if stream.tell() > file.bytes:
            # It cannot be the start of this file.
            stream.truncate(0)
            stream.seek(0)
        http_get(
            url,
            cast("BinaryIO", _ReportingFile(stream, report)),
            resume_size=stream.tell(),
            headers=headers,
            expected_size=file.bytes,
        )
    check(part, file)


def is_whole(part: Path, file: Input) -> bool:
    """Whether all of a file is there, with the right checksum if there is one to compare."""
    if not part.is_file() or part.stat().st_size != file.bytes:
        return False
    return not file.sha256 or describe_file(part).sha256 == file.sha256


def check(part: Path, file: Input) -> None:
    """Delete a download and raise NotDelivered if it is not that file."""
    if not is_whole(part, file):
        part.unlink()
        raise NotDelivered(tr("the checksum of {name} is wrong, so it was deleted", name=file.name))


def progress(done: int, total: int, before: int) -> Progress:
    """Return the progress of a download of which `before` bytes were there."""
    # The share of what this run has to download, so that the time left is right.
    share = (done - before) / (total - before) if total > before else 1.0
    return Progress(f"{byte_count(done)} of {byte_count(total)}", min(max(share, 0.0), 1.0))


class _ReportingFile:
    """A file for the client to write to, that reports its size after each write."""

    def __init__(self, stream: IO[bytes], report: Callable[[int], None]) -> None:
        self._stream = stream
        self._report = report

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever else a file has
        return getattr(self._stream, name)

    def write(self, data: bytes) -> int:
        count = self._stream.write(data)
        # On disk at once, so that a killed process loses nothing.
        self._stream.flush()
        self._report(self._stream.tell())
        return count
