"""Which turns of a conversation are widgets: those around what is seen, between two empty spaces.

A reader who scrolls has turns drawn a few at a time. A turn that is drawn above what he reads takes
its lines from the space above it, so that nothing moves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from itertools import accumulate, takewhile
from typing import TYPE_CHECKING

from msgspec import Struct
from textual.containers import VerticalScroll
from textual.geometry import Region
from textual.widget import Widget

from engine.core.types import Conversation, Turn
from tui.textual_patches.widgets import AnchoredScroll

if TYPE_CHECKING:
    from engine.core.types import Turn
    from tui.widgets.turns import AnswerView, Titles, TurnView
    from tui.widgets.welcome import Welcome


_WIDEST = 108
"""Columns of an answer's words at most (turns.tcss)."""


class TurnItem(Struct, eq=False):
    """A turn, drawn or not. `turn` is None for a question whose turn the engine has yet to make."""

    question: str
    turn: Turn | None
    view: TurnView | None = None
    height: int = 1
    """Lines: as they were when it was last drawn, or a guess."""
    selected: bool = False

    def make(self, titles: Titles) -> TurnView:
        """Its view."""
        from tui.widgets.turns import TurnView

        self.view = TurnView(self.question, self.turn, titles)
        self.view.select(self.selected)
        return self.view

    def select(self, selected: bool) -> None:
        """Have it marked, drawn or not."""
        self.selected = selected
        if self.view:
            self.view.select(selected)

    def guess(self, width: int) -> None:
        """Say how many lines it will take, roughly."""
        if self.view is not None:
            return
        inside = max(1, min(_WIDEST, width - 3))
        self.height = 1 + _lines(self.question, inside)
        answer = self.turn.answer if self.turn else None
        if answer:
            extra = bool(answer.sources) + bool(answer.notice) + 2 * bool(answer.problem)
            self.height += 1 + extra + (_lines(answer.text, inside) if answer.text else 0)


def _lines(text: str, width: int) -> int:
    return sum(1 + max(0, len(line) - 1) // width for line in text.split("\n"))


class Spacer(Widget):
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


class VirtualList:
    """The turns from `first` up to `last`, drawn in `pane`, of all `entries`."""

    def __init__(self, pane: VerticalScroll, entries: list[TurnItem], titles: Titles) -> None:
        """`titles` are the engines' by id. To begin with nothing is drawn, and the end is next."""
        self._pane = pane
        self._titles = titles
        self._above, self._below = Spacer(), Spacer()
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

    def add(self, entry: TurnItem) -> None:
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
            if view in regions and entry.turn and view.is_finished:
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

    def a_screen(self, entries: Sequence[TurnItem]) -> int:
        """How many of these turns fill it."""
        height = self._pane.size.height or self._pane.app.size.height
        tops = accumulate((entry.height for entry in entries), initial=0)
        return min(len(entries), sum(1 for _ in takewhile(height.__gt__, tops)))

    async def _put(self, entry: TurnItem, above: Spacer | None = None) -> TurnView:
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


def _sum(entries: Sequence[TurnItem]) -> int:
    return sum(entry.height for entry in entries)


_AT_ONCE = 2
"""Turns that are drawn before the loop gets to do something else."""
_A_FEW = 4
"""Turns that are worth being taken away together."""
_NEAR, _FAR = 1, 3
"""Screens above and below what is seen in which turns are drawn, and beyond which they are not."""


class ConversationView(AnchoredScroll, can_focus=False):
    """Questions and answers, oldest first, as widgets only around what is seen."""

    def __init__(self, id: str) -> None:  # noqa: A002 - Textual's name for it
        super().__init__(id=id)
        self._conversation = Conversation()
        self._drawn = VirtualList(self, [], {})
        self._changing = asyncio.Lock()
        self._tending = False
        self._reading = (0, 0)
        self._width = 0

    @property
    def top_turn(self) -> int:
        """Which turn is at the top of what is seen, counted from 0."""
        return self._window.at(self.scroll_offset.y)[0]

    async def show(self, conversation: Conversation, titles: Titles, welcome: Welcome) -> None:
        """Draw a conversation from its end, or `welcome`; `titles` are the engines' by id."""
        async with self._changing:
            self._conversation = conversation
            entries = [TurnItem(turn.question, turn) for turn in conversation.turns]
            self._drawn = window = VirtualList(self, entries, titles)
            with self.app.batch_update():
                await self.remove_children()
                await window.open()
                if not entries:
                    await self.mount(welcome)
                await window.draw_above(len(entries) - window.a_screen(entries[::-1]))
                self.anchor()
        self._tend_soon()

    async def begin_turn(self, question: str, engine_title: str) -> AnswerView:
        """Draw a question; returns the view that its answer is to be drawn in."""
        from tui.widgets.turns import TurnView

        async with self._changing:
            window = self._window
            await self.query(".welcome").remove()
            if window.last < len(window.entries):
                await window.jump(len(window.entries) - 1)
            view = TurnView(question)
            window.add(TurnItem(question, None, view))
            await self.mount(view)
            answer = await view.begin(engine_title)
            self.anchor()
        self._tend_soon()
        return answer

    async def begin_answer(self, place: int, engine_title: str) -> AnswerView:
        """Another answer instead of the one to that turn; returns the view to draw it in."""
        view = self._window.entries[place].view or await self.go_to(place)
        if place == len(self._window.entries) - 1:
            self.anchor()
        return await view.begin(engine_title)

    async def redraw(self, place: int, turn: Turn, titles: Titles) -> None:
        """Draw the answer from which that turn goes on."""
        view = self._window.entries[place].view
        if view:
            await view.show(turn, titles)

    def select(self, place: int | None) -> None:
        """Mark the turn at that place, and only it; bring it into view."""
        for number, entry in enumerate(self._window.entries):
            if entry.selected != (number == place):
                entry.select(number == place)
        if place is None:
            self.anchor()
        else:
            self.run_worker(self.go_to(place), group="select", exclusive=True)

    async def go_to(self, place: int) -> TurnView:
        """Bring the turn at that place, counted from 0, to the top of what is seen."""
        async with self._changing:
            window = self._window
            self.stop_following()
            with self.app.batch_update():
                if not window.first <= place < window.last:
                    await window.jump(place)
                regions, view = window.regions(), window.view(place)
                end = max(region.bottom for region in regions.values()) - self.size.height
                line = min(regions[view].y, end)
                self._shift(line - self.scroll_offset.y)
            if line == end:
                self.anchor()
        self._tend_soon()
        return view

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Draw what comes near."""
        super().watch_scroll_y(old_value, new_value)
        self._tend_soon()

    def on_resize(self) -> None:
        """At another width all is of another height: go back to what was being read."""
        window, (place, inside) = self._window, self._reading
        moved = window.guess()
        view = window.entries[place].view if place < len(window.entries) else None
        if view and not self.is_following:
            region = window.regions()[view]
            line = region.y + moved + min(inside, region.height - 1)
            self._shift(line - self.scroll_offset.y)
        self._width = self.size.width
        self._tend_soon()

    def _tend_soon(self) -> None:
        if self._window.views and not self._tending:
            self._tending = True
            self.call_after_refresh(self._tend)

    async def _tend(self) -> None:
        """Draw what has come near, or take away what is far, and come back until all is well."""
        async with self._changing:
            step = self._step()
            if step:
                with self.app.batch_update():
                    moved = await step
                    if moved and not self.is_following:
                        self._shift(moved)
                self.call_after_refresh(self._tend)
            else:
                self._tending = False
                if self.size.width == self._width and self._window.is_whole:
                    self._reading = self._window.at(self.scroll_offset.y)

    def _step(self) -> Coroutine[None, None, int] | None:
        """The next thing to be done so that turns are drawn where the reader is."""
        height, window = self.size.height, self._window
        # While the chat ends, its turns go before the pane does.
        if not height or not window.views or not window.is_whole:
            return None
        top, bottom = self._seen()
        upper, lower = window.bounds()
        more = window.more_below
        if (window.first and bottom < upper) or (more and top > lower):
            return window.jump(window.guess_at(top))
        if window.first and upper > top - _NEAR * height:
            return window.draw_above(max(0, window.first - _AT_ONCE))
        if more and lower < bottom + _NEAR * height:
            return window.draw_below(min(len(window.entries), window.last + _AT_ONCE))
        return self._drop_far(top - _FAR * height, bottom + _FAR * height)

    def _drop_far(self, top: float, bottom: float) -> Coroutine[None, None, int] | None:
        window, regions = self._window, self._window.regions()
        above = sum(regions[view].bottom < top for view in window.views)
        below = sum(regions[view].y > bottom for view in window.views)
        if above >= _A_FEW:
            return window.drop(window.first, window.first + above, above=True)
        if below >= _A_FEW:
            return window.drop(window.last - below, window.last, above=False)
        return None

    def _seen(self) -> tuple[float, float]:
        """The first line that is seen, and the one after the last."""
        height = self.size.height
        if self.is_following:
            end = max(region.bottom for region in self._window.regions().values())
            return max(0, end - height), end
        return self.scroll_y, self.scroll_y + height

    @property
    def _window(self) -> VirtualList:
        """The window, in which the turns are known that the engine has made since."""
        turns = self._conversation.turns
        for place in range(len(self._drawn.entries) - 1, -1, -1):
            entry = self._drawn.entries[place]
            if entry.turn is not None:
                break
            if place < len(turns):
                entry.turn = turns[place]
        return self._drawn

    def _shift(self, lines: int) -> None:
        """Scroll by so many lines together with what is seen, before that is laid out again."""
        line = max(0, self.scroll_offset.y + lines)
        self.set_reactive(Widget.scroll_y, line)
        self.set_reactive(Widget.scroll_target_y, line)
        self.vertical_scrollbar.position = line
        self.refresh(layout=True)
