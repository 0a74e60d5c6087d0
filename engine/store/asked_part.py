"""What was asked last, in any conversation: for the composer, which walks through it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

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
