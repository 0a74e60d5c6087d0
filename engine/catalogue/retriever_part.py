"""What a catalogue must do: the embedded index and one over a search cluster both do it."""

from __future__ import annotations

from typing import Protocol

from engine.core.types import Completion, Decision, Product


class Retriever(Protocol):
    """Finds the product that a question means. Safe to call from several threads."""

    def find(self, question: str) -> Decision:
        """What the catalogue makes of `question`. Raises CatalogueError if it cannot be asked."""
        ...

    def get(self, uid: str) -> Product | None:
        """The product with this number, if there is one."""
        ...

    def related(self, uid: str, limit: int = 10) -> tuple[tuple[str, str], ...]:
        """(uid, title) of at most `limit` products that go with this one, where that is known."""
        ...

    def complete(self, typed: str, limit: int = 20) -> tuple[Completion, ...]:
        """Titles that `typed` may become; none where they cannot be had at every key."""
        ...

    def __len__(self) -> int:
        """How many products there are."""
        ...

    def close(self) -> None:
        """Give back files and memory. Safe to call again."""
        ...
