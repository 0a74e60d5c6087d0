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

_CONVERSATIONS = (
    # Times are seconds since 1970, UTC.
    """
    CREATE TABLE conversation (
        id INTEGER PRIMARY KEY,
        title TEXT NOT NULL,
        created REAL NOT NULL,
        updated REAL NOT NULL
    ) STRICT
    """,
    "CREATE INDEX conversation_by_update ON conversation (updated)",
    """
    CREATE TABLE turn (
        id INTEGER PRIMARY KEY,
        conversation_id INTEGER NOT NULL REFERENCES conversation ON DELETE CASCADE,
        question TEXT NOT NULL,
        asked REAL NOT NULL
    ) STRICT
    """,
    "CREATE INDEX turn_by_conversation ON turn (conversation_id, id)",
    # More than one answer to a turn is possible: other engines, other tries. `body` is an
    # engine.core.types.Answer as JSON; `finished` is 0 while words still come.
    """
    CREATE TABLE answer (
        id INTEGER PRIMARY KEY,
        turn_id INTEGER NOT NULL REFERENCES turn ON DELETE CASCADE,
        engine TEXT NOT NULL,
        finished INTEGER NOT NULL,
        body TEXT NOT NULL,
        updated REAL NOT NULL
    ) STRICT
    """,
    "CREATE INDEX answer_by_turn ON answer (turn_id, id)",
)

# AUTOINCREMENT: a number is never given twice, so that a chat whose conversation another program
# deleted cannot write into a later one. SQLite adds it only by making a table anew.
_NUMBERS_FOR_GOOD = (
    # `uid` is the same wherever a conversation is exported to; `parent` is the uid of
    # what it was forked from (which may be gone); `deleted` is when, until it is purged.
    """
    CREATE TABLE new_conversation (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        uid TEXT NOT NULL UNIQUE DEFAULT (lower(hex(randomblob(16)))),
        title TEXT NOT NULL,
        created REAL NOT NULL,
        updated REAL NOT NULL,
        parent TEXT,
        deleted REAL
    ) STRICT
    """,
    """
    INSERT INTO new_conversation (id, title, created, updated)
        SELECT id, title, created, updated FROM conversation
    """,
    "DROP TABLE conversation",
    "ALTER TABLE new_conversation RENAME TO conversation",
    "CREATE INDEX conversation_by_update ON conversation (updated, id) WHERE deleted IS NULL",
    # `chosen` is the answer that the conversation went on from; NULL: the first.
    """
    CREATE TABLE new_turn (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        conversation_id INTEGER NOT NULL REFERENCES conversation ON DELETE CASCADE,
        question TEXT NOT NULL,
        asked REAL NOT NULL,
        chosen INTEGER
    ) STRICT
    """,
    """
    INSERT INTO new_turn (id, conversation_id, question, asked)
        SELECT id, conversation_id, question, asked FROM turn
    """,
    "DROP TABLE turn",
    "ALTER TABLE new_turn RENAME TO turn",
    "CREATE INDEX turn_by_conversation ON turn (conversation_id, id)",
    """
    CREATE TABLE new_answer (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        turn_id INTEGER NOT NULL REFERENCES turn ON DELETE CASCADE,
        engine TEXT NOT NULL,
        finished INTEGER NOT NULL,
        body TEXT NOT NULL,
        updated REAL NOT NULL
    ) STRICT
    """,
    """
    INSERT INTO new_answer (id, turn_id, engine, finished, body, updated)
        SELECT id, turn_id, engine, finished, body, updated FROM answer
    """,
    "DROP TABLE answer",
    "ALTER TABLE new_answer RENAME TO answer",
    "CREATE INDEX answer_by_turn ON answer (turn_id, id)",
)


def _words_of(turn: str) -> str:
    """SQL for all that was answered in a turn."""
    return f"""coalesce((
        SELECT group_concat(json_extract(body, '$.text'), char(10)) FROM answer
        WHERE turn_id = {turn} AND json_valid(body)), '')"""  # noqa: S608 - our own words


# Accents are folded ("balcao" finds "balcão"); beginnings of words are looked up, not searched for.
_TOKENS = "tokenize = \"unicode61 remove_diacritics 2\", prefix = '1 2 3'"
_SEARCH = (
    # One row a turn, with its number; kept by triggers, so that whatever writes keeps it.
    f"CREATE VIRTUAL TABLE said USING fts5 (question, answers, {_TOKENS})",
    f"CREATE VIRTUAL TABLE titled USING fts5 (title, {_TOKENS})",
    f"""
    INSERT INTO said (rowid, question, answers)
        SELECT id, question, {_words_of("turn.id")} FROM turn ORDER BY id
    """,  # noqa: S608 - our own words
    "INSERT INTO titled (rowid, title) SELECT id, title FROM conversation ORDER BY id",
    """
    CREATE TRIGGER turn_added AFTER INSERT ON turn BEGIN
        INSERT INTO said (rowid, question, answers) VALUES (new.id, new.question, '');
    END
    """,
    """
    CREATE TRIGGER turn_removed AFTER DELETE ON turn BEGIN
        DELETE FROM said WHERE rowid = old.id;
    END
    """,
    f"""
    CREATE TRIGGER answer_added AFTER INSERT ON answer
    WHEN json_valid(new.body) AND json_extract(new.body, '$.text') <> '' BEGIN
        UPDATE said SET answers = {_words_of("new.turn_id")} WHERE rowid = new.turn_id;
    END
    """,  # noqa: S608 - our own words
    f"""
    CREATE TRIGGER answer_changed AFTER UPDATE OF body ON answer BEGIN
        UPDATE said SET answers = {_words_of("new.turn_id")} WHERE rowid = new.turn_id;
    END
    """,  # noqa: S608 - our own words
    """
    CREATE TRIGGER conversation_added AFTER INSERT ON conversation BEGIN
        INSERT INTO titled (rowid, title) VALUES (new.id, new.title);
    END
    """,
    """
    CREATE TRIGGER conversation_renamed AFTER UPDATE OF title ON conversation BEGIN
        UPDATE titled SET title = new.title WHERE rowid = new.id;
    END
    """,
    """
    CREATE TRIGGER conversation_removed AFTER DELETE ON conversation BEGIN
        DELETE FROM titled WHERE rowid = old.id;
    END
    """,
)

MIGRATIONS: tuple[tuple[str, ...], ...] = (_CONVERSATIONS, _NUMBERS_FOR_GOOD, _SEARCH)


def migrate(database: sqlite3.Connection) -> None:
    """Bring the database to the newest shape, one transaction a step.

    `PRAGMA user_version` counts the steps taken; it is read under the write lock, so that two
    programs that start at once do not both take a step. A database of a newer program is left as
    it is: the caller compares `version` with `len(MIGRATIONS)`.
    Foreign keys must not be heeded yet.
    """
    while version(database) < len(MIGRATIONS):
        with database:
            database.execute("BEGIN IMMEDIATE")
            taken = version(database)
            for statement in MIGRATIONS[taken] if taken < len(MIGRATIONS) else ():
                database.execute(statement)
            database.execute(f"PRAGMA user_version = {min(taken + 1, len(MIGRATIONS))}")


def version(database: sqlite3.Connection) -> int:
    """How many steps the database has taken."""
    return int(database.execute("PRAGMA user_version").fetchone()[0])


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
            tr("{file} cannot be written.", file=self._file), _remedy()
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
                tr(
                    "Conversations cannot be kept in {file}: {error}.",
                    file=self._file,
                    error=why(error),
                ),
                _remedy(),
            ) from error
        except msgspec.MsgspecError as error:
            raise StoreError(
                tr(
                    "An answer in {file} cannot be read: {error}.",
                    file=self._file,
                    error=why(error),
                ),
                tr("Bring back a copy of the file, or import what was exported before."),
            ) from error

    def _too_new(self) -> StoreError:
        return StoreError(
            tr("{file} was written by a newer version of this program.", file=self._file),
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
