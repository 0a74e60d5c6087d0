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

from engine.types import Problem


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
