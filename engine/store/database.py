"""One SQLite file behind a lock: transactions, errors of ours, and reading where none can write."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from engine.core.errors import StoreError, why
from engine.core.i18n import tr
from engine.core.types import Problem
from engine.store.migrations_part import MIGRATIONS, migrate, version

_BUSY_SECONDS = 5.0
_MIGRATING_SECONDS = 120.0


class Database:
    """The file of all conversations. Calls block for a disk write; any thread may make them."""

    def __init__(self, file: Path) -> None:
        """Open `file`, made if it is not there; only to read where it cannot be written.

        Raises StoreError.
        """
        self._file = file
        self._lock = threading.Lock()
        self.read_only: Problem | None = None
        """Why nothing can be written, where that is so."""
        try:
            self._database = self._open()
        except StoreError as error:
            self._database = self._open_to_read(error)
            self.read_only = error.problem
        found = version(self._database)
        if found != len(MIGRATIONS):
            self._database.close()
            raise self.read_only_error if self.read_only else self._too_new()

    def _open(self) -> sqlite3.Connection:
        with self.explained():
            self._file.parent.mkdir(parents=True, exist_ok=True)
            database = sqlite3.connect(
                self._file, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            try:
                database.execute("PRAGMA journal_mode = WAL")
                _prepare(database)
            except BaseException:
                database.close()
                raise
        return database

    def _open_to_read(self, error: StoreError) -> sqlite3.Connection:
        """The file as it lies there. Raises `error` where even that cannot be."""
        for how in ("mode=ro", "immutable=1"):
            try:
                database = sqlite3.connect(
                    f"{self._file.absolute().as_uri()}?{how}",
                    uri=True,
                    isolation_level=None,
                    check_same_thread=False,
                )
            except sqlite3.Error:
                continue
            try:
                database.execute("SELECT count(*) FROM conversation").fetchone()
            except sqlite3.Error:
                database.close()
                continue
            return database
        raise error

    @property
    def read_only_error(self) -> StoreError:
        """Why nothing can be written, as an error."""
        problem = self.read_only or Problem(
            tr("{file} cannot be written.").format(file=self._file), _remedy()
        )
        return StoreError(problem.message, problem.remedy)

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction, kept whole or not at all. Raises StoreError."""
        if self.read_only:
            raise self.read_only_error
        with self.explained(), self._lock, self._database:
            self._database.execute("BEGIN IMMEDIATE")
            yield self._database

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The file as it stands. Raises StoreError."""
        with self.explained(), self._lock:
            yield self._database

    @contextmanager
    def explained(self) -> Iterator[None]:
        """What SQLite and the disk say, as errors of ours."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise StoreError(
                tr("Conversations cannot be kept in {file}: {error}.").format(
                    file=self._file, error=why(error)
                ),
                _remedy(),
            ) from error
        except msgspec.MsgspecError as error:
            raise StoreError(
                tr("An answer in {file} cannot be read: {error}.").format(
                    file=self._file, error=why(error)
                ),
                tr("Bring back a copy of the file, or import what was exported before."),
            ) from error

    def _too_new(self) -> StoreError:
        return StoreError(
            tr("{file} was written by a newer version of this program.").format(file=self._file),
            tr("Update this program; until then the conversation is not kept."),
        )


def _remedy() -> str:
    return tr("Check that the disk is not full and that the file can be written.")


def _prepare(database: sqlite3.Connection) -> None:
    """Bring it to the newest shape, and see whether it can be written."""
    # Another program that takes the steps right now may have a large file before it.
    database.execute(f"PRAGMA busy_timeout = {_MIGRATING_SECONDS * 1000:.0f}")
    # Before foreign keys are heeded: a step that makes a table anew would lose what hangs on it.
    migrate(database)
    database.execute(f"PRAGMA busy_timeout = {_BUSY_SECONDS * 1000:.0f}")
    database.execute("PRAGMA foreign_keys = ON")
    # What was deleted is not to lie about in the file.
    database.execute("PRAGMA secure_delete = ON")
    try:
        # To begin is allowed even where nothing can be written; this writes, and is taken back.
        database.execute("BEGIN IMMEDIATE")
        database.execute(f"PRAGMA user_version = {version(database)}")
        database.execute("ROLLBACK")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
            raise
