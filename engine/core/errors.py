"""The program's errors, each with a message and a remedy for the user.

A library's error is converted into one of these where its cause is known, never further up.
"""

from __future__ import annotations

import errno

from engine.core.i18n import tr
from engine.core.types import Problem


class BalcaoError(Exception):
    """The base of all errors; `remedy`, what to do, may be empty."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    @property
    def problem(self) -> Problem:
        """Message and remedy as a value to store and draw."""
        return Problem(self.message, self.remedy)

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".strip()


class UsageError(BalcaoError):
    """Wrong arguments, settings or question (exit status 2)."""


class SettingsError(UsageError):
    """The settings are invalid."""


class DataError(BalcaoError):
    """The input cannot be read as a data set."""


class CatalogueError(BalcaoError):
    """The catalogue cannot be opened or built."""


class StoreError(BalcaoError):
    """Conversations cannot be read or written."""


class EngineError(BalcaoError):
    """An engine cannot answer."""


class EngineUnavailable(EngineError):
    """The engine is not ready."""


class EngineFailed(EngineError):
    """The engine stopped in the middle of an answer, whose text so far stays valid."""


class PromptTooLong(EngineFailed):
    """The question with its record is longer than what the model can read."""


def why(error: Exception) -> str:
    """Return the reason of an error; the common ones are translated."""
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
