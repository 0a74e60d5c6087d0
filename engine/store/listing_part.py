"""A conversation as it stands in a list; apart from the database, so that a screen can name it."""

from __future__ import annotations

from dataclasses import dataclass

Marked = tuple[tuple[str, bool], ...]
"""Text in pieces; True marks what was searched for."""


@dataclass(frozen=True, slots=True)
class Listed:
    """`updated` is in seconds since 1970, UTC; `turns` is how many questions were asked.

    Where something was searched for, `title_hit` is the title with it marked, if it is there, and
    `hit` the surroundings of the place where the latest turn that has it has it, if one does.
    """

    id: int
    title: str
    updated: float
    turns: int
    forked: bool = False
    title_hit: Marked = ()
    hit: Marked = ()
