"""A file that tells how far it has been read, for the progress of an upload."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

from engine.core.errors import BalcaoError


class CountedFile(io.BufferedReader):
    """Calls `on_read` with the bytes that have been read so far."""

    def __init__(self, file: Path, on_read: Callable[[int], None]) -> None:
        super().__init__(io.FileIO(file))
        self._on_read = on_read

    def read(self, size: int | None = -1, /) -> bytes:
        """As every file's."""
        data = super().read(size)
        self._on_read(self.tell())
        return data


def open_counted(file: Path, on_read: Callable[[int], None]) -> CountedFile:
    """Open a file for reading. Raises BalcaoError."""
    try:
        return CountedFile(file, on_read)
    except OSError as error:
        raise BalcaoError(f"{file} cannot be read: {error.strerror}.") from None
