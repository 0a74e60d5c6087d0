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
