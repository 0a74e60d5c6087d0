"""The SQLite file of all conversations: schema, migrations, transactions and error mapping."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.core.errors import StoreError, why
from engine.core.files import keep_from_others, make_private, private_folder
from engine.core.i18n import tr
from engine.core.types import Problem

_TURN = """
    conversation_id INTEGER NOT NULL REFERENCES conversation ON DELETE CASCADE,
    question TEXT NOT NULL, asked REAL NOT NULL"""
# A turn has one answer per engine and retry. `body` is an engine.core.types.Answer as JSON;
# `finished` is 0 while the answer streams.
_ANSWER = """
    turn_id INTEGER NOT NULL REFERENCES turn ON DELETE CASCADE,
    engine TEXT NOT NULL, finished INTEGER NOT NULL, body TEXT NOT NULL, updated REAL NOT NULL"""
_TURN_INDEX = "CREATE INDEX turn_by_conversation ON turn (conversation_id, id)"
_ANSWER_INDEX = "CREATE INDEX answer_by_turn ON answer (turn_id, id)"
_CONVERSATIONS = (
    # Times are seconds since 1970, UTC.
    """
    CREATE TABLE conversation (id INTEGER PRIMARY KEY, title TEXT NOT NULL,
        created REAL NOT NULL, updated REAL NOT NULL) STRICT
    """,
    "CREATE INDEX conversation_by_update ON conversation (updated)",
    f"CREATE TABLE turn (id INTEGER PRIMARY KEY, {_TURN}) STRICT",
    _TURN_INDEX,
    f"CREATE TABLE answer (id INTEGER PRIMARY KEY, {_ANSWER}) STRICT",
    _ANSWER_INDEX,
)


def _renumbered(table: str, columns: str, *names: str) -> tuple[str, ...]:
    """Rebuild a table so that it never uses an id again.

    Else a chat whose conversation another program deleted would write into a later one. SQLite
    adds AUTOINCREMENT only to a new table.
    """
    copied = ", ".join(names)
    return (
        f"CREATE TABLE new_{table} (id INTEGER PRIMARY KEY AUTOINCREMENT, {columns}) STRICT",
        f"INSERT INTO new_{table} (id, {copied}) SELECT id, {copied} FROM {table}",  # noqa: S608 - constant SQL
        f"DROP TABLE {table}",
        f"ALTER TABLE new_{table} RENAME TO {table}",
    )


# `uid` survives export and import; `parent` is the uid of the fork's origin, which may be purged;
# `deleted` is the time of deletion, until the row is purged.
_CONVERSATION = """
    uid TEXT NOT NULL UNIQUE DEFAULT (lower(hex(randomblob(16)))), title TEXT NOT NULL,
    created REAL NOT NULL, updated REAL NOT NULL, parent TEXT, deleted REAL"""
_UNIQUE_IDS = (
    *_renumbered("conversation", _CONVERSATION, "title", "created", "updated"),
    "CREATE INDEX conversation_by_update ON conversation (updated, id) WHERE deleted IS NULL",
    # `chosen` is the answer that the conversation continues from; NULL means the first.
    *_renumbered("turn", f"{_TURN}, chosen INTEGER", "conversation_id", "question", "asked"),
    _TURN_INDEX,
    *_renumbered("answer", _ANSWER, "turn_id", "engine", "finished", "body", "updated"),
    _ANSWER_INDEX,
)


def _answers_of(turn: str) -> str:
    return f"""coalesce((
        SELECT group_concat(json_extract(body, '$.text'), char(10)) FROM answer
        WHERE turn_id = {turn} AND json_valid(body)), '')"""  # noqa: S608 - constant SQL


def _trigger(name: str, event: str, statement: str) -> str:
    return f"CREATE TRIGGER {name} AFTER {event} BEGIN {statement}; END"


_SAY = "INSERT INTO said (rowid, question, answers)"
_SAY_ANSWERS = f"UPDATE said SET answers = {_answers_of('new.turn_id')} WHERE rowid = new.turn_id"  # noqa: S608 - constant SQL
_TITLE = "INSERT INTO titled (rowid, title)"
# `remove_diacritics` lets "balcao" find "balcão"; `prefix` indexes the first letters of words.
_TOKENS = "tokenize = \"unicode61 remove_diacritics 2\", prefix = '1 2 3'"
_SEARCH = (
    # One row per turn, with the turn's id. Triggers maintain it for every writer.
    f"CREATE VIRTUAL TABLE said USING fts5 (question, answers, {_TOKENS})",
    f"CREATE VIRTUAL TABLE titled USING fts5 (title, {_TOKENS})",
    f"{_SAY} SELECT id, question, {_answers_of('turn.id')} FROM turn ORDER BY id",  # noqa: S608 - constant SQL
    f"{_TITLE} SELECT id, title FROM conversation ORDER BY id",  # noqa: S608 - constant SQL
    _trigger("turn_added", "INSERT ON turn", f"{_SAY} VALUES (new.id, new.question, '')"),
    _trigger("turn_removed", "DELETE ON turn", "DELETE FROM said WHERE rowid = old.id"),
    _trigger(
        "answer_added",
        "INSERT ON answer WHEN json_valid(new.body) AND json_extract(new.body, '$.text') <> ''",
        _SAY_ANSWERS,
    ),
    _trigger("answer_changed", "UPDATE OF body ON answer", _SAY_ANSWERS),
    _trigger(
        "conversation_added", "INSERT ON conversation", f"{_TITLE} VALUES (new.id, new.title)"
    ),
    _trigger(
        "conversation_renamed",
        "UPDATE OF title ON conversation",
        "UPDATE titled SET title = new.title WHERE rowid = new.id",
    ),
    _trigger(
        "conversation_removed", "DELETE ON conversation", "DELETE FROM titled WHERE rowid = old.id"
    ),
)

MIGRATIONS: tuple[tuple[str, ...], ...] = (_CONVERSATIONS, _UNIQUE_IDS, _SEARCH)


def migrate(database: sqlite3.Connection) -> None:
    """Apply the missing migrations, each in a transaction.

    `PRAGMA user_version` counts the applied ones and is read under the write lock, because two
    programs may start at once. A database of a newer program stays as it is. Call before foreign
    keys are enforced.
    """
    while version(database) < len(MIGRATIONS):
        with database:
            database.execute("BEGIN IMMEDIATE")
            applied = version(database)
            for statement in MIGRATIONS[applied] if applied < len(MIGRATIONS) else ():
                database.execute(statement)
            database.execute(f"PRAGMA user_version = {min(applied + 1, len(MIGRATIONS))}")


def version(database: sqlite3.Connection) -> int:
    """Return how many migrations the database has."""
    return int(database.execute("PRAGMA user_version").fetchone()[0])


_BUSY_SECONDS = 5.0
_BUSY_PAUSE = 0.01
_MIGRATING_SECONDS = 120.0


class Database:
    """The file of all conversations. Calls are thread-safe and block for a disk write."""

    def __init__(self, file: Path) -> None:
        """Open or create `file`, read-only where it is not writable. Raises StoreError."""
        self._file = file
        self._lock = threading.Lock()
        self.read_only: Problem | None = None
        """Why the file is not writable."""
        try:
            self._database = self._open()
        except StoreError as error:
            self._database = self._open_read_only(error)
            self.read_only = error.problem
        with self._mapped_errors():
            known = version(self._database) == len(MIGRATIONS)
        if not known:
            self._database.close()
            self._require_writable()
            raise StoreError(
                tr("{file} was written by a newer version of this program.", file=self._file),
                tr("Update this program; until then conversations are not saved."),
            )

    def _open(self) -> sqlite3.Connection:
        with self._mapped_errors():
            private_folder(self._file.parent)
            make_private(self._file)  # SQLite gives its mode to new -wal and -shm
            for name in (f"{self._file}-wal", f"{self._file}-shm"):
                keep_from_others(Path(name))
            database = sqlite3.connect(
                self._file, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            database.text_factory = _text
            try:
                _use_wal(database)
                _prepare(database)
            except BaseException:
                database.close()
                raise
        return database

    def _open_read_only(self, error: StoreError) -> sqlite3.Connection:
        uri = self._file.absolute().as_uri()
        for option in ("mode=ro", "immutable=1"):
            try:
                database = sqlite3.connect(
                    f"{uri}?{option}", uri=True, isolation_level=None, check_same_thread=False
                )
            except sqlite3.Error:
                continue
            database.text_factory = _text
            try:
                database.execute("SELECT count(*) FROM conversation").fetchone()
            except (sqlite3.Error, UnicodeError):
                database.close()
                continue
            return database
        raise error

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Run one transaction. Raises StoreError."""
        self._require_writable()
        with self._mapped_errors(), self._lock, self._database:
            self._database.execute("BEGIN IMMEDIATE")
            yield self._database

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Read the current content. Raises StoreError."""
        with self._mapped_errors(), self._lock:
            yield self._database

    def _require_writable(self) -> None:
        if self.read_only:
            raise StoreError(self.read_only.message, self.read_only.remedy)

    @contextmanager
    def _mapped_errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            reason = why(error)
            raise StoreError(
                tr("Cannot save conversations in {file}: {error}.", file=self._file, error=reason),
                tr("Check the free disk space and the permissions of the file."),
            ) from error
        except UnicodeError as error:  # SQLite's message quotes the damaged bytes
            raise StoreError(
                tr("{file} is damaged.", file=self._file),
                tr("Restore a backup of the file, or import an export into a new one."),
            ) from error


def _text(data: bytes) -> str:
    return data.decode(errors="replace")


def _use_wal(database: sqlite3.Connection) -> None:
    """Write ahead of the database. SQLite does not wait here for another program that does this."""
    given_up = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            database.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > given_up:
                raise
            time.sleep(_BUSY_PAUSE)
        else:
            return


def _prepare(database: sqlite3.Connection) -> None:
    """Migrate the database and raise unless it is writable."""
    # Another program may be migrating a large file.
    database.execute(f"PRAGMA busy_timeout = {_MIGRATING_SECONDS * 1000:.0f}")
    migrate(database)
    database.execute(f"PRAGMA busy_timeout = {_BUSY_SECONDS * 1000:.0f}")
    database.execute("PRAGMA foreign_keys = ON")
    # Overwrite deleted content on disk.
    database.execute("PRAGMA secure_delete = ON")
    try:
        # SQLite allows BEGIN on a read-only file: only a write shows that it is one.
        database.execute("BEGIN IMMEDIATE")
        database.execute(f"PRAGMA user_version = {version(database)}")
        database.execute("ROLLBACK")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
            raise
