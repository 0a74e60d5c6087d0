"""Where each block of a text begins when it is drawn at a certain width."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Protocol

from rich.text import Text

from tui.markdown.flow import Line


class Block(Protocol):
    """What can be drawn."""

    def height(self, width: int) -> int:
        """How many lines it takes in so many cells."""
        ...

    def line(self, width: int, place: int) -> Line:
        """One of them."""
        ...

    def rows(self, width: int) -> list[str]:
        """The text as one would copy it."""
        ...

    def row_count(self, width: int) -> int:
        """How many those are."""
        ...

    def kept(self, width: int) -> tuple[int, object]:
        """How many of its lines no later words change, as long as the second stays as it is."""
        ...

    def texts(self) -> list[Text]:
        """Everything in it that someone wrote, in order."""
        ...

    def forget(self) -> None:
        """Wrap again: the texts have been styled otherwise."""
        ...


class Layout:
    """Blocks one below the other; only what is new or may have changed is measured again."""

    def __init__(self) -> None:
        self._blocks: list[Block] = []
        self._stable = 0
        self._width = 0
        self._tops = [0]
        self._rows = [0]

    @property
    def blocks(self) -> Sequence[Block]:
        """What is laid out."""
        return self._blocks

    @property
    def settled(self) -> int:
        """The first line that the next `set` may change."""
        return self._tops[min(self._stable, len(self._tops) - 1)]

    def kept(self, width: int) -> tuple[int, object]:
        """How many lines no later words change, as long as the second stays as it is."""
        if self._stable >= len(self._blocks) or not self.height(width):
            return self.settled, None
        lines, as_long_as = self._blocks[self._stable].kept(width)
        return self.settled + lines, as_long_as

    def set(self, blocks: list[Block], stable: int) -> None:
        """Lay out these; from the first one on, `stable` of them will be the same next time."""
        self._blocks = blocks
        self._forget_from(self._stable)
        self._stable = stable

    def restart(self) -> None:
        """The texts have been styled otherwise: wrap all of them again."""
        for block in self._blocks:
            block.forget()
        self._forget_from(0)

    def height(self, width: int) -> int:
        """How many lines all of it takes in so many cells."""
        if width != self._width:
            self._forget_from(0)
            self._width = width
        for block in self._blocks[len(self._tops) - 1 :]:
            self._tops.append(self._tops[-1] + block.height(width))
            self._rows.append(self._rows[-1] + block.row_count(width))
        return self._tops[-1]

    def line(self, width: int, place: int) -> Line | None:
        """One line, its `row` counted from the first block on; None below the last one."""
        if place >= self.height(width):
            return None
        which = bisect_right(self._tops, place) - 1
        line = self._blocks[which].line(width, place - self._tops[which])
        return line._replace(row=line.row + self._rows[which])

    def copied(self, width: int) -> str:
        """The text as one would copy it."""
        return "\n".join(row for block in self._blocks for row in block.rows(width))

    def _forget_from(self, which: int) -> None:
        del self._tops[which + 1 :], self._rows[which + 1 :]
