"""Every error of ours, as one tree.

    BalcaoError
    ├── UsageError             wrong arguments, settings or question     (exit 2)
    │   └── SettingsError      the settings file or an environment variable is wrong
    ├── DataError              the input is no data set, or cannot be read
    ├── CatalogueError         the index is missing, foreign, or broken
    ├── StoreError             conversations cannot be read or written
    └── EngineError            an engine cannot answer
        ├── EngineUnavailable  it could, once the remedy is carried out
        └── EngineFailed       it began and broke off

Each carries a message for a person and, where there is one, what to do next. A library's error is
turned into one of these where its cause is known, never further up.
"""

from __future__ import annotations

import errno

from engine.core.i18n import tr
from engine.core.types import Problem


class BalcaoError(Exception):
    """The root: `message` says what happened, `remedy` what to do (may be empty)."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    @property
    def problem(self) -> Problem:
        """The same, as a value that can be stored and drawn."""
        return Problem(self.message, self.remedy)

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".strip()


class UsageError(BalcaoError):
    """The command or question cannot be understood."""


class SettingsError(UsageError):
    """The settings cannot be understood."""


class DataError(BalcaoError):
    """The input cannot be read as a data set."""


class CatalogueError(BalcaoError):
    """The catalogue cannot be opened or built."""


class StoreError(BalcaoError):
    """Conversations cannot be kept or read."""


class EngineError(BalcaoError):
    """An engine gave no answer."""


class EngineUnavailable(EngineError):
    """The engine is not ready; the remedy makes it so."""


class EngineFailed(EngineError):
    """The engine broke off; what came before stays."""


def why(error: Exception) -> str:
    """What the system says of it; in the person's language where that is not rare."""
    if isinstance(error, UnicodeDecodeError):
        return tr("it is not UTF-8")
    told = {
        errno.ENOENT: tr("No such file or directory"),
        errno.EACCES: tr("Permission denied"),
        errno.EPERM: tr("Operation not permitted"),
        errno.ENOSPC: tr("No space left on device"),
        errno.EDQUOT: tr("Disk quota exceeded"),
        errno.EROFS: tr("Read-only file system"),
        errno.EISDIR: tr("Is a directory"),
        errno.ENOTDIR: tr("Not a directory"),
        errno.ENAMETOOLONG: tr("File name too long"),
        errno.EIO: tr("Input/output error"),
        errno.EADDRINUSE: tr("Address already in use"),
    }
    number: int | None = getattr(error, "errno", None)
    return told.get(number or 0) or getattr(error, "strerror", None) or str(error)
