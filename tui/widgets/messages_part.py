"""What the widgets tell the screen."""

from __future__ import annotations

import asyncio

from textual.message import Message

from engine.core.types import Hit


class Asked(Message):
    """The person has sent a question; `heard` once it is taken, or left where it stands."""

    def __init__(self, question: str) -> None:
        super().__init__()
        self.question = question
        self.heard = asyncio.Event()


class RecordWanted(Message):
    """The person wants to read these records, beginning with the first."""

    def __init__(self, hits: tuple[Hit, ...]) -> None:
        super().__init__()
        self.hits = hits
