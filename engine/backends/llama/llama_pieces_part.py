"""The words of an answer on their way from the model's process to the chat. Light."""

from __future__ import annotations

import time
from collections.abc import Callable

SEND_EVERY = 0.04
"""Seconds; the chat draws words that come no oftener than ten times a second."""


class Pieces:
    """Gives words on, several at once where they come faster than one can read.

    Each message wakes the chat, which on a machine of few cores takes its time from the model:
    of 230 tokens a second it was 5 %.
    """

    def __init__(self, send: Callable[[str], None], every: float = SEND_EVERY) -> None:
        self._send = send
        self._every = every
        self._held: list[str] = []
        self._last = float("-inf")

    def add(self, text: str) -> None:
        """Take some more words, and give on what is held unless that was done just now."""
        self._held.append(text)
        if time.monotonic() - self._last >= self._every:
            self.send()

    def send(self) -> None:
        """Give on what is held. Called once more at the end."""
        if self._held:
            self._send("".join(self._held))
            self._held.clear()
            self._last = time.monotonic()
