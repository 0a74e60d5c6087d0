"""Which turns of a conversation are widgets: those around what is seen, between two empty spaces.

A reader who scrolls has turns drawn a few at a time. A turn that is drawn above what he reads takes
its lines from the space above it, so that nothing moves.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, takewhile
from typing import TYPE_CHECKING

from textual.containers import VerticalScroll
from textual.geometry import Region
from textual.widget import Widget

from tui.widgets.entries_part import Entry

if TYPE_CHECKING:
    from tui.widgets.turns import Titles, TurnView


class Space(Widget):
    """Stands for turns that are not drawn."""

    lines = 0

    def take(self, lines: int) -> None:
        """Be that high."""
        if lines != self.lines:
            self.lines = max(0, lines)
            self.styles.height = self.lines

    def render(self) -> str:
        """Nothing."""
        return ""


class Window:
    """The turns from `first` up to `last`, drawn in `pane`, of all `entries`."""

    def __init__(self, pane: VerticalScroll, entries: list[Entry], titles: Titles) -> None:
        """`titles` are the engines' by id. To begin with nothing is drawn, and the end is next."""
        self._pane = pane
        self._titles = titles
        self._above, self._below = Space(), Space()
        self.entries = entries
        self.first = self.last = len(entries)

    async def open(self) -> None:
        """Put the two spaces into the empty pane."""
        await self._pane.mount(self._above, self._below)
        self.guess()

    @property
    def views(self) -> list[TurnView]:
        """What is drawn, but for a coming answer that is beyond a space."""
        return [entry.view for entry in self.entries[self.first : self.last] if entry.view]

    def view(self, place: int) -> TurnView:
        """A turn that is drawn. Raises LookupError if it is not."""
        view = self.entries[place].view
        if view is None:
            raise LookupError(place)
        return view

    @property
    def more_below(self) -> bool:
        """Whether there are turns below that are not drawn."""
        return any(entry.view is None for entry in self.entries[self.last :])

    @property
    def is_whole(self) -> bool:
        """Whether all that is drawn is still in the pane."""
        return self.regions().keys() >= set(self.views)

    def regions(self) -> dict[Widget, Region]:
        """Where the pane's children are, or will be when they are next laid out."""
        placements = self._pane.arrange(self._pane.scrollable_content_region.size).placements
        return {placement.widget: placement.region for placement in placements}

    def bounds(self) -> tuple[int, int]:
        """The first line of what is drawn, and the one after the last."""
        regions, views = self.regions(), self.views
        return (regions[views[0]].y, regions[views[-1]].bottom) if views else (0, 0)

    def at(self, line: float) -> tuple[int, int]:
        """The drawn turn at that line, and how many of its own lines are above that."""
        regions = self.regions()
        for place in range(self.first, self.last):
            view = self.entries[place].view
            if view in regions and regions[view].bottom > line:
                return place, int(line) - regions[view].y
        return 0, 0

    def guess_at(self, line: float) -> int:
        """Which turn would be at that line, where none is drawn."""
        upper, lower = self.bounds()
        place = self.first
        while line < upper and place > 0:
            place -= 1
            upper -= self.entries[place].height
        if line < lower:
            return place
        place = self.last
        while place < len(self.entries) - 1 and lower + self.entries[place].height <= line:
            lower += self.entries[place].height
            place += 1
        return place

    def guess(self) -> int:
        """Guess anew how high the spaces are; returns by how much what is drawn goes down."""
        width = self._pane.size.width or self._pane.app.size.width
        for entry in self.entries:
            entry.guess(width)
        before = self._above.lines
        self._above.take(_sum(self.entries[: self.first]))
        self._below.take(self._lines_below())
        return self._above.lines - before

    def add(self, entry: Entry) -> None:
        """Count a turn that was drawn at the end."""
        self.entries.append(entry)
        self.last = len(self.entries)

    async def draw_above(self, start: int) -> int:
        """Draw the turns from `start` to the first that is drawn.

        Returns by how many lines what was drawn goes down.
        """
        views = [await self._put(entry) for entry in reversed(self.entries[start : self.first])]
        regions = self.regions()
        # A pane that is being taken away arranges nothing any more.
        lines = sum(regions[view].height for view in views if view in regions)
        space = max(0, self._above.lines - lines) if start else 0
        moved = space + lines - self._above.lines
        self._above.take(space)
        self.first = start
        return moved

    async def draw_below(self, stop: int) -> int:
        """Draw the turns below the last that is drawn; nothing moves."""
        for entry in self.entries[self.last : stop]:
            await self._put(entry, above=self._below)
        self.last = stop
        self._below.take(self._lines_below())
        return 0

    async def jump(self, place: int) -> int:
        """Draw the turns from `place` on instead of those that are drawn.

        Returns by how many lines it stands lower than was guessed.
        """
        upper, lower = self.bounds()
        if place < self.first:
            top = upper - _sum(self.entries[place : self.first])
        else:
            top = lower + _sum(self.entries[self.last : place])
        await self.drop(self.first, self.last, above=place >= self.first)
        self.first = self.last = place
        space = max(0, top) if place else 0
        self._above.take(space)
        await self.draw_below(place + self.a_screen(self.entries[place:]))
        return space - top

    async def drop(self, start: int, stop: int, *, above: bool) -> int:
        """Have space instead of these turns, `above` what is drawn or below it; nothing moves.

        A turn whose answer is coming stays, beyond that space.
        """
        regions = self.regions()
        dropped: list[Widget] = []
        for entry in self.entries[start:stop]:
            view = entry.view
            if view in regions and entry.turn and view.settled:
                entry.height = regions[view].height
                dropped.append(view)
                entry.view = None
            elif view and above:
                self._pane.move_child(view, before=self._above)
            elif view:
                self._pane.move_child(view, after=self._pane.children[-1])
        if above:
            self.first = stop
            self._above.take(self._above.lines + sum(regions[view].height for view in dropped))
        else:
            self.last = start
            self._below.take(self._lines_below())
        await self._pane.remove_children(dropped)
        return 0

    def a_screen(self, entries: Sequence[Entry]) -> int:
        """How many of these turns fill it."""
        height = self._pane.size.height or self._pane.app.size.height
        tops = accumulate((entry.height for entry in entries), initial=0)
        return min(len(entries), sum(1 for _ in takewhile(height.__gt__, tops)))

    async def _put(self, entry: Entry, above: Space | None = None) -> TurnView:
        """Draw a turn `above` one space, or else below the other; or move it there."""
        if entry.view is None:
            view = entry.make(self._titles)
            await self._pane.mount(view, before=above, after=None if above else self._above)
            return view
        if above:
            self._pane.move_child(entry.view, before=above)
        else:
            self._pane.move_child(entry.view, after=self._above)
        return entry.view

    def _lines_below(self) -> int:
        return _sum([entry for entry in self.entries[self.last :] if entry.view is None])


def _sum(entries: Sequence[Entry]) -> int:
    return sum(entry.height for entry in entries)
