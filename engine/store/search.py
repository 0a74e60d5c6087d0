"""List conversations and search the words in them."""

from __future__ import annotations

import json
import re
import sqlite3
import unicodedata
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from engine.store.write import as_text, as_time

Highlighted = tuple[tuple[str, bool], ...]
"""Text in pieces; True marks a piece that matches the search."""


@dataclass(frozen=True, slots=True)
class ConversationSummary:
    """A conversation in a list: `updated` is Unix time, `turns` the number of questions.

    A search sets `title_match` if the title matches, and `snippet`, the words around the match in
    the latest turn that matches.
    """

    id: int
    title: str
    updated: float
    turns: int
    forked: bool = False
    title_match: Highlighted = ()
    snippet: Highlighted = ()

    @property
    def when(self) -> datetime:
        """The time of the last change, in the user's time zone."""
        return as_time(self.updated).astimezone()


_WORD = re.compile(r"[^\W_]+")
_MAX_WORDS = 16
_MAX_HITS = 10_000
"""Turns searched, latest first, so that a common word takes 20 to 30 ms."""
_SNIPPET_WORDS = 14
_OPEN, _CLOSE = "\x02", "\x03"
_HIGHLIGHT = re.compile(f"{_OPEN}([^{_CLOSE}]*){_CLOSE}")
_COLUMNS = """id, title, updated,
    (SELECT count(*) FROM turn WHERE turn.conversation_id = conversation.id), parent IS NOT NULL"""
_LATEST = f"""
SELECT {_COLUMNS} FROM conversation WHERE deleted IS NULL AND (updated, id) < (?, ?)
ORDER BY updated DESC, id DESC LIMIT ?
"""  # noqa: S608 - constant SQL
_SEARCH = f"""
WITH hit (id, turn) AS (
    SELECT conversation_id, turn.id FROM
        (SELECT rowid FROM said WHERE said MATCH ?1 ORDER BY rowid DESC LIMIT ?2) AS newest
        JOIN turn ON turn.id = newest.rowid
    UNION ALL SELECT rowid, NULL FROM
        (SELECT rowid FROM titled WHERE titled MATCH ?1 ORDER BY rowid DESC LIMIT ?2)),
found (id, turn, in_title) AS (
    SELECT id, max(hit.turn), max(hit.turn IS NULL) FROM hit JOIN conversation USING (id)
    WHERE deleted IS NULL GROUP BY id ORDER BY updated DESC, id DESC LIMIT ?3)
SELECT {_COLUMNS}, turn, in_title FROM found JOIN conversation USING (id)
ORDER BY updated DESC, id DESC
"""  # noqa: S608 - constant SQL
# One pass over the matches of all rows: FTS5 would repeat the search for each single row.
_HIGHLIGHT_TITLES = f"""
SELECT rowid, highlight(titled, 0, '{_OPEN}', '{_CLOSE}') FROM titled
WHERE titled MATCH ? AND rowid BETWEEN ? AND ? AND +rowid IN (SELECT value FROM json_each(?))
"""  # noqa: S608 - constant SQL
_HIGHLIGHT_TURNS = f"""
SELECT rowid, snippet(said, -1, '{_OPEN}', '{_CLOSE}', '…', {_SNIPPET_WORDS}) FROM said
WHERE said MATCH ? AND rowid BETWEEN ? AND ? AND +rowid IN (SELECT value FROM json_each(?))
"""  # noqa: S608 - constant SQL


def _as_query(text: str) -> str:
    # Quoting each word keeps FTS5 from reading syntax in it.
    words = _WORD.findall(unicodedata.normalize("NFC", text))[:_MAX_WORDS]
    return " ".join(f'"{word}"*' for word in words)


def latest(
    database: sqlite3.Connection, limit: int, after: ConversationSummary | None
) -> list[ConversationSummary]:
    """List conversations, latest first, starting after `after`."""
    start = (after.updated, after.id) if after else (float("inf"), 0)
    return [_summary(row) for row in database.execute(_LATEST, (*start, limit))]


def search(database: sqlite3.Connection, text: str, limit: int) -> list[ConversationSummary]:
    """Find the latest conversations with all words of `text` in one turn, or in the title."""
    query = _as_query(text)
    if not query:
        return latest(database, limit, None)
    found = database.execute(_SEARCH, (query, _MAX_HITS, limit)).fetchall()
    titles = _highlighted(database, _HIGHLIGHT_TITLES, query, [row[0] for row in found if row[6]])
    turns = _highlighted(database, _HIGHLIGHT_TURNS, query, [row[5] for row in found if row[5]])
    return [_summary(row, titles.get(row[0], ()), turns.get(row[5], ())) for row in found]


def _summary(
    row: Sequence[Any], title_match: Highlighted = (), snippet: Highlighted = ()
) -> ConversationSummary:
    number, title, updated, turns, forked = row[:5]
    title = as_text(title)
    return ConversationSummary(number, title, updated, turns, bool(forked), title_match, snippet)


def _highlighted(
    database: sqlite3.Connection, sql: str, query: str, ids: list[int]
) -> dict[int, Highlighted]:
    if not ids:
        return {}
    rows = database.execute(sql, (query, min(ids), max(ids), json.dumps(ids)))
    return {row_id: _pieces(as_text(text)) for row_id, text in rows}


def _pieces(text: str) -> Highlighted:
    pieces, end = [], 0
    for found in _HIGHLIGHT.finditer(text):
        pieces += [(text[end : found.start()], False), (found[1], True)]
        end = found.end()
    pieces.append((text[end:], False))
    return tuple(piece for piece in pieces if piece[0])


_MAX_LENGTH = 4_000
"""Characters; longer questions are pastes, which nobody recalls."""
_LAST = """
SELECT question FROM turn JOIN conversation ON conversation.id = conversation_id
WHERE deleted IS NULL AND length(question) <= ? ORDER BY turn.id DESC LIMIT ?
"""


def last_questions(file: Path, limit: int = 500) -> list[str]:
    """Return the latest questions, latest last; the store may still be migrating `file`."""
    try:
        with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)) as database:
            rows = database.execute(_LAST, (_MAX_LENGTH, limit)).fetchall()
    except (sqlite3.Error, UnicodeError):
        # Opening the store reports the error.
        return []
    return [as_text(question) for (question,) in reversed(rows)]
