"""The conversation pane: follows its end until the reader scrolls up, and then stays."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING

from textual.widget import Widget

from engine.core.conversation_part import Conversation, Turn
from tui.textual_patches.following_part import FollowingScroll
from tui.widgets.conversation import Window
from tui.widgets.entries_part import Entry

if TYPE_CHECKING:
    from tui.widgets.turns import AnswerView, Titles, TurnView
    from tui.widgets.welcome import Welcome

_AT_ONCE = 2
"""Turns that are drawn before the loop gets to do something else."""
_A_FEW = 4
"""Turns that are worth being taken away together."""
_NEAR, _FAR = 1, 3
"""Screens above and below what is seen in which turns are drawn, and beyond which they are not."""


class ConversationView(FollowingScroll, can_focus=False):
    """Questions and answers, oldest first, as widgets only around what is seen."""

    def __init__(self, id: str) -> None:  # noqa: A002 - Textual's name for it
        super().__init__(id=id)
        self._conversation = Conversation()
        self._drawn = Window(self, [], {})
        self._changing = asyncio.Lock()
        self._tending = False
        self._reading = (0, 0)
        self._width = 0

    @property
    def place(self) -> int:
        """Which turn is at the top of what is seen, counted from 0."""
        return self._window.at(self.scroll_offset.y)[0]

    async def show(self, conversation: Conversation, titles: Titles, welcome: Welcome) -> None:
        """Draw a conversation from its end, or `welcome`; `titles` are the engines' by id."""
        async with self._changing:
            self._conversation = conversation
            entries = [Entry(turn.question, turn) for turn in conversation.turns]
            self._drawn = window = Window(self, entries, titles)
            with self.app.batch_update():
                await self.remove_children()
                await window.open()
                if not entries:
                    await self.mount(welcome)
                await window.draw_above(len(entries) - window.a_screen(entries[::-1]))
                self.anchor()
        self._tend_soon()

    async def begin(self, question: str, engine_title: str) -> AnswerView:
        """Draw a question; returns the view that its answer is to be drawn in."""
        from tui.widgets.turns import TurnView

        async with self._changing:
            window = self._window
            await self.query(".welcome").remove()
            if window.last < len(window.entries):
                await window.jump(len(window.entries) - 1)
            view = TurnView(question)
            window.add(Entry(question, None, view))
            await self.mount(view)
            answer = await view.begin(engine_title)
            self.anchor()
        self._tend_soon()
        return answer

    async def again(self, place: int, engine_title: str) -> AnswerView:
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
            self.stay()
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
        if view and not self.following:
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
                    if moved and not self.following:
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
        if self.following:
            end = max(region.bottom for region in self._window.regions().values())
            return max(0, end - height), end
        return self.scroll_y, self.scroll_y + height

    @property
    def _window(self) -> Window:
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
