"""A conversation as it stands in a list; apart from the database, so that a screen can name it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Listed:
    """`updated` is in seconds since 1970, UTC; `turns` is how many questions were asked."""

    id: int
    title: str
    updated: float
    turns: int
