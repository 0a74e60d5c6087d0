"""Lists conversations, and finds them by the words in them."""

from __future__ import annotations

import json
import re
import sqlite3
import unicodedata
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

Highlighted = tuple[tuple[str, bool], ...]
"""Text in pieces; True marks what was searched for."""


@dataclass(frozen=True, slots=True)
class ConversationSummary:
    """`updated` is in seconds since 1970, UTC; `turns` is how many questions were asked.

    Where something was searched for, `title_match` is the title with it marked, if it is there, and
    `snippet` the surroundings of the place where the latest turn that has it has it, if one does.
    """

    id: int
    title: str
    updated: float
    turns: int
    forked: bool = False
    title_match: Highlighted = ()
    snippet: Highlighted = ()


_WORD = re.compile(r"[^\W_]+")
_MOST_WORDS = 16
_MOST_HITS = 10_000
"""Turns that are looked at, the latest first: 20 to 30 ms, however common the word."""
_AROUND = 14
"""Words of a hit's surroundings."""
_OPEN, _CLOSE = "\x02", "\x03"
_PIECE = re.compile(f"{_OPEN}([^{_CLOSE}]*){_CLOSE}")
_COLUMNS = """id, title, updated,
    (SELECT count(*) FROM turn WHERE turn.conversation_id = conversation.id), parent IS NOT NULL"""
_LATEST = f"""
SELECT {_COLUMNS} FROM conversation WHERE deleted IS NULL AND (updated, id) < (?, ?)
ORDER BY updated DESC, id DESC LIMIT ?
"""  # noqa: S608 - our own words
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
"""  # noqa: S608 - our own words
# One walk over the hits for all that are wanted: a question for each would look the words up anew.
_MARK_TITLES = f"""
SELECT rowid, highlight(titled, 0, '{_OPEN}', '{_CLOSE}') FROM titled
WHERE titled MATCH ? AND rowid BETWEEN ? AND ? AND +rowid IN (SELECT value FROM json_each(?))
"""  # noqa: S608 - our own words
_MARK_TURNS = f"""
SELECT rowid, snippet(said, -1, '{_OPEN}', '{_CLOSE}', '…', {_AROUND}) FROM said
WHERE said MATCH ? AND rowid BETWEEN ? AND ? AND +rowid IN (SELECT value FROM json_each(?))
"""  # noqa: S608 - our own words
_FIRST = (float("inf"), 0)


def as_query(text: str) -> str:
    """What a person typed, as FTS5 asks for it: every word or its beginning; empty without words.

    Nothing in `text` is syntax: each word is quoted.
    """
    words = _WORD.findall(unicodedata.normalize("NFC", text))[:_MOST_WORDS]
    return " ".join(f'"{word}"*' for word in words)


def latest(
    database: sqlite3.Connection, limit: int, after: ConversationSummary | None
) -> list[ConversationSummary]:
    """Conversations, the latest first, from the one `after` on."""
    place = (after.updated, after.id) if after else _FIRST
    rows = database.execute(_LATEST, (*place, limit)).fetchall()
    return [
        ConversationSummary(number, title, updated, turns, bool(forked))
        for number, title, updated, turns, forked in rows
    ]


def search(database: sqlite3.Connection, query: str, limit: int) -> list[ConversationSummary]:
    """The latest conversations that have all of `query` in one turn, or in the title."""
    found = database.execute(_SEARCH, (query, _MOST_HITS, limit)).fetchall()
    titles = _marked(database, _MARK_TITLES, query, [row[0] for row in found if row[6]])
    turns = _marked(database, _MARK_TURNS, query, [row[5] for row in found if row[5]])
    return [
        ConversationSummary(
            number, title, updated, asked, bool(forked), titles.get(number, ()), turns.get(turn, ())
        )
        for number, title, updated, asked, forked, turn, _ in found
    ]


def _marked(
    database: sqlite3.Connection, sql: str, query: str, numbers: list[int]
) -> dict[int, Highlighted]:
    if not numbers:
        return {}
    wanted = (query, min(numbers), max(numbers), json.dumps(numbers))
    return {number: _pieces(marked) for number, marked in database.execute(sql, wanted)}


def _pieces(marked: str) -> Highlighted:
    pieces, end = [], 0
    for found in _PIECE.finditer(marked):
        pieces += [(marked[end : found.start()], False), (found[1], True)]
        end = found.end()
    pieces.append((marked[end:], False))
    return tuple(piece for piece in pieces if piece[0])


_LONGEST = 4_000
"""Characters: what is longer was pasted, and is not looked for again."""
_LAST = """
SELECT question FROM turn JOIN conversation ON conversation.id = conversation_id
WHERE deleted IS NULL AND length(question) <= ? ORDER BY turn.id DESC LIMIT ?
"""


def last_questions(file: Path, limit: int = 500) -> list[str]:
    """The last questions kept in `file`, the latest last; none where it cannot be read.

    Read apart from the store, which has other things to do while the chat opens.
    """
    try:
        with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)) as database:
            rows = database.execute(_LAST, (_LONGEST, limit)).fetchall()
    except sqlite3.Error:
        # Why conversations cannot be read is told where they are opened.
        return []
    return [str(question) for (question,) in reversed(rows)]
