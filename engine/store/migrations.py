"""The database's shape, as numbered steps. A step that has been released is never changed."""

from __future__ import annotations

import sqlite3

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
    # engine.types.Answer as JSON; `finished` is 0 while words still come.
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

MIGRATIONS: tuple[tuple[str, ...], ...] = (_CONVERSATIONS,)


def migrate(database: sqlite3.Connection) -> None:
    """Bring the database to the newest shape, one transaction a step.

    `PRAGMA user_version` counts the steps taken; it is read under the write lock, so that two
    programs that start at once do not both take a step. A database of a newer program is left as
    it is: the caller compares `version` with `len(MIGRATIONS)`.
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
