"""What deciding needs of a store, whichever it is: the embedded index or a database server."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from engine.core.types import Product


class ProductStore(Protocol):
    """Products by row, by number, by the key of the whole title."""

    def by_row(self, rows: Sequence[int]) -> dict[int, Product]:
        """The products of these rows; a row that is gone is left out."""
        ...

    def by_uid(self, uids: Sequence[str]) -> list[Product]:
        """The products with these numbers."""
        ...

    def rows_by_key(self, keys: Sequence[int], limit: int) -> list[tuple[int, int, str]]:
        """(key, row, title) of the products whose title has one of these keys."""
        ...

    def titles(self, rows: Sequence[int]) -> dict[int, str]:
        """The titles of these rows."""
        ...


class WordIndex(Protocol):
    """Rows by the words that they hold."""

    def weights(self, asked: Iterable[str]) -> dict[str, float]:
        """How much each word tells; a rare one tells more."""
        ...

    def frequency(self, word: str) -> int:
        """In how many products the word is."""
        ...

    def rows(self, weights: Mapping[str, float], limit: int) -> list[int]:
        """The rows that fit these words best."""
        ...


class Neighbours(Protocol):
    """Known words near a mistyped one."""

    def near(self, word: str) -> list[str]:
        """Known words that differ from `word` by a slip or two, the nearest first."""
        ...
