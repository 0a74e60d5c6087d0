"""The conversation: a virtual list whose turns are widgets only around the visible part.

Turns are mounted a few at a time while the user scrolls. Two spacers replace the others: a turn
mounted above the visible part takes its lines from the spacer, so that nothing moves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from functools import partial
from itertools import accumulate, takewhile
from typing import TYPE_CHECKING

from msgspec import Struct
from textual.geometry import Region
from textual.widget import Widget

from engine.core.types import Conversation, Taught, Turn
from tui.textual_patches.widgets import AnchoredScroll

if TYPE_CHECKING:
    from tui.widgets.choices import ChoicesView
    from tui.widgets.findable import Finding
    from tui.widgets.turns import AnswerView, Titles, TurnView

_MAX_COLUMNS = 78
"""Columns of an answer's text (turns.tcss)."""
_MOUNT_BATCH = 2
"""Turns mounted before the event loop runs again."""
_UNMOUNT_BATCH = 4
"""Turns that are worth unmounting together."""
_MOUNT_SCREENS, _UNMOUNT_SCREENS = 1, 3
"""Screens around the visible one within which turns are mounted, and beyond which unmounted."""


class TurnItem(Struct, eq=False):
    """A turn, mounted or not. `turn` is None until the engine has created it."""

    question: str
    turn: Turn | None
    view: TurnView | None = None
    height: int = 1
    """Lines: as last drawn, or estimated."""
    selected: bool = False

    def select(self, selected: bool) -> None:
        self.selected = selected
        if self.view:
            self.view.select(selected)

    def estimate_height(self, width: int) -> None:
        if self.view is not None:
            return
        inside = max(1, min(_MAX_COLUMNS, width - 4))
        self.height = 1 + _line_count(self.question, inside)
        answer = self.turn.answer if self.turn else None
        if answer:
            is_folded = answer.taught is Taught.NOT_TAUGHT
            text = "" if is_folded else answer.text
            above = _line_count(text, inside) if text else int(is_folded)
            has_card = bool(answer.sources) and not answer.is_list
            above += bool(answer.thinking) + has_card + bool(answer.notice)
            self.height += above + 2 * bool(answer.problem) + 1


def _line_count(text: str, width: int) -> int:
    return sum(1 + max(0, len(line) - 1) // width for line in text.split("\n"))


def _total_height(items: Sequence[TurnItem]) -> int:
    return sum(item.height for item in items)


class Spacer(Widget):
    """Empty lines in place of turns that are not mounted."""

    lines = 0

    def set_lines(self, lines: int) -> None:
        if lines != self.lines:
            self.lines = max(0, lines)
            self.styles.height = self.lines

    def render(self) -> str:
        return ""


class VirtualList:
    """All turns, of which those from `first` up to `last` are mounted in the pane.

    Methods that mount or unmount return by how many lines the mounted turns move down.
    """

    def __init__(self, pane: ConversationView, items: list[TurnItem], titles: Titles) -> None:
        """`titles` are the engines' by id. Nothing is mounted yet, and the end comes first."""
        self._pane = pane
        self._titles = titles
        self._above, self._below = Spacer(), Spacer()
        self.items = items
        self.first = self.last = len(items)

    async def open(self) -> None:
        await self._pane.mount(self._above, self._below)
        self.estimate_heights()

    @property
    def views(self) -> list[TurnView]:
        """The mounted turns, except for a streaming one beyond a spacer."""
        return [item.view for item in self.items[self.first : self.last] if item.view]

    @property
    def is_attached(self) -> bool:
        """Whether the pane still has all mounted turns: it loses them when the chat ends."""
        return self.regions().keys() >= set(self.views)

    def regions(self) -> dict[Widget, Region]:
        """Return the regions of the pane's children as of the next layout."""
        placements = self._pane.arrange(self._pane.scrollable_content_region.size).placements
        return {placement.widget: placement.region for placement in placements}

    def bounds(self) -> tuple[int, int]:
        """Return the first line of the mounted turns, and the line after the last."""
        regions, views = self.regions(), self.views
        return (regions[views[0]].y, regions[views[-1]].bottom) if views else (0, 0)

    def turn_at(self, line: float) -> tuple[int, int]:
        """Return the index of the mounted turn at a line, and its own lines above that."""
        regions = self.regions()
        for index in range(self.first, self.last):
            view = self.items[index].view
            if view in regions and regions[view].bottom > line:
                return index, int(line) - regions[view].y
        return 0, 0

    def estimate_turn_at(self, line: float) -> int:
        upper, lower = self.bounds()
        index = self.first
        while line < upper and index > 0:
            index -= 1
            upper -= self.items[index].height
        if line < lower:
            return index
        index = self.last
        while index < len(self.items) - 1 and lower + self.items[index].height <= line:
            lower += self.items[index].height
            index += 1
        return index

    def estimate_heights(self) -> int:
        width = self._pane.size.width or self._pane.app.size.width
        for item in self.items:
            item.estimate_height(width)
        before = self._above.lines
        self._above.set_lines(_total_height(self.items[: self.first]))
        self._below.set_lines(self._lines_below())
        return self._above.lines - before

    async def mount_above(self, start: int) -> int:
        """Mount the turns from `start` up to the first mounted one."""
        views = [await self._mount(item) for item in reversed(self.items[start : self.first])]
        regions = self.regions()
        # A pane that is being removed lays nothing out.
        lines = sum(regions[view].height for view in views if view in regions)
        space = max(0, self._above.lines - lines) if start else 0
        moved = space + lines - self._above.lines
        self._above.set_lines(space)
        self.first = start
        return moved

    async def mount_below(self, stop: int) -> int:
        """Mount the turns after the last mounted one, up to `stop`."""
        for item in self.items[self.last : stop]:
            await self._mount(item, before=self._below)
        self.last = stop
        self._below.set_lines(self._lines_below())
        return 0

    async def jump_to(self, index: int) -> int:
        """Replace the mounted turns by those from `index` on."""
        upper, lower = self.bounds()
        if index < self.first:
            top = upper - _total_height(self.items[index : self.first])
        else:
            top = lower + _total_height(self.items[self.last : index])
        await self.unmount(self.first, self.last, above=index >= self.first)
        self.first = self.last = index
        space = max(0, top) if index else 0
        self._above.set_lines(space)
        await self.mount_below(index + self.count_on_screen(self.items[index:]))
        return space - top

    async def unmount(self, start: int, stop: int, *, above: bool) -> int:
        """Replace turns at one end of the mounted part by space.

        A turn whose answer is streaming stays, beyond the spacer.
        """
        regions = self.regions()
        unmounted: list[Widget] = []
        for item in self.items[start:stop]:
            view = item.view
            if view in regions and item.turn and view.is_finished:
                item.height = regions[view].height
                unmounted.append(view)
                item.view = None
            elif view and above:
                self._pane.move_child(view, before=self._above)
            elif view:
                self._pane.move_child(view, after=self._pane.children[-1])
        if above:
            self.first = stop
            lines = sum(regions[view].height for view in unmounted)
            self._above.set_lines(self._above.lines + lines)
        else:
            self.last = start
            self._below.set_lines(self._lines_below())
        await self._pane.remove_children(unmounted)
        return 0

    def unmount_outside(self, top: float, bottom: float) -> Coroutine[None, None, int] | None:
        """Unmount turns far from these lines; None if there are too few."""
        regions = self.regions()
        above = sum(regions[view].bottom < top for view in self.views)
        below = sum(regions[view].y > bottom for view in self.views)
        if above >= _UNMOUNT_BATCH:
            return self.unmount(self.first, self.first + above, above=True)
        if below >= _UNMOUNT_BATCH:
            return self.unmount(self.last - below, self.last, above=False)
        return None

    def count_on_screen(self, items: Sequence[TurnItem]) -> int:
        """Return how many of these turns fill the screen."""
        height = self._pane.size.height or self._pane.app.size.height
        tops = accumulate((item.height for item in items), initial=0)
        return min(len(items), sum(1 for _ in takewhile(height.__gt__, tops)))

    async def _mount(self, item: TurnItem, before: Spacer | None = None) -> TurnView:
        """Mount or move a turn `before` a spacer, or after the upper one."""
        from tui.widgets.turns import TurnView

        after = None if before else self._above
        if item.view and before:
            self._pane.move_child(item.view, before=before)
            return item.view
        if item.view:
            self._pane.move_child(item.view, after=self._above)
            return item.view
        view = item.view = TurnView(item.question, item.turn, self._titles)
        view.select(item.selected)
        await self._pane.mount(view, before=before, after=after)
        if self._pane.finding:
            from tui.widgets.findable import light

            light(view, self._pane.finding)
        return view

    def _lines_below(self) -> int:
        return _total_height([item for item in self.items[self.last :] if item.view is None])


class ConversationView(AnchoredScroll, can_focus=False):
    """Questions and answers, oldest first."""

    def __init__(self, id: str) -> None:  # noqa: A002 - Textual's name for it
        super().__init__(id=id)
        self._conversation = Conversation()
        self._list = VirtualList(self, [], {})
        self._changing = asyncio.Lock()
        self._is_updating = False
        self._reading = (0, 0)
        self._width = 0
        self.finding: Finding | None = None
        """What is lit in the turns, those too that are mounted later."""

    async def show(self, conversation: Conversation, titles: Titles, welcome: Widget) -> None:
        """Show the end of a conversation, or `welcome`; `titles` are the engines' by id."""
        async with self._changing:
            self._conversation = conversation
            items = [TurnItem(turn.question, turn) for turn in conversation.turns]
            self._list = turns = VirtualList(self, items, titles)
            with self.app.batch_update():
                await self.remove_children()
                await turns.open()
                if not items:
                    await self.mount(welcome)
                await turns.mount_above(len(items) - turns.count_on_screen(items[::-1]))
                self.anchor()
        self._update_soon()

    async def begin_turn(self, question: str, engine_title: str) -> AnswerView:
        """Append a question; return the view for its answer."""
        from tui.widgets.turns import TurnView

        async with self._changing:
            turns = self._turns
            await self.query(".welcome").remove()
            if turns.last < len(turns.items):
                await turns.jump_to(len(turns.items) - 1)
            view = TurnView(question)
            turns.items.append(TurnItem(question, None, view))
            turns.last = len(turns.items)
            await self.mount(view)
            answer = await view.begin_answer(engine_title)
            self.anchor()
        self._update_soon()
        return answer

    async def begin_answer(self, index: int, engine_title: str) -> AnswerView:
        """Replace a turn's answer; return the view for the new one."""
        view = await self.view_of(index)
        if index == len(self._turns.items) - 1:
            self.anchor()
        return await view.begin_answer(engine_title)

    async def redraw(self, index: int, turn: Turn, titles: Titles) -> None:
        view = self._turns.items[index].view
        if view:
            await view.show(turn, titles)

    def select(self, index: int | None) -> None:
        """Mark one turn and scroll to it; None marks no turn and follows the end."""
        for number, item in enumerate(self._turns.items):
            if item.selected != (number == index):
                item.select(number == index)
        if index is None:
            self.anchor()
        else:
            work = partial(self.go_to, index)
            self.run_worker(work, group="select", exclusive=True)  # type: ignore[arg-type]

    def choices(self) -> ChoicesView | None:
        """Return the list of products that the last answer is, if it is one."""
        items = self._turns.items
        view = items[-1].view if items else None
        return view.choices if view else None

    async def view_of(self, index: int) -> TurnView:
        return self._turns.items[index].view or await self.go_to(index)

    async def go_to(self, index: int) -> TurnView:
        async with self._changing:
            turns = self._turns
            self.stop_following()
            with self.app.batch_update():
                if not turns.first <= index < turns.last:
                    await turns.jump_to(index)
                view = turns.items[index].view
                if view is None:
                    raise LookupError(index)
                at_end = self._begin_at(view)
            self._reading = index, 0  # also if the pane is resized before the next update
        self._update_soon()
        if at_end:  # what has just arrived is laid out after a refresh, and may be taller then
            self.call_after_refresh(self._begin_at, view, settled=True)
        self.call_after_refresh(self.note_end)
        return view

    def _begin_at(self, view: TurnView, *, settled: bool = False) -> bool:
        """Scroll to the beginning of a turn, or to the end; return whether that is the end.

        Follow the end there once `settled`.
        """
        regions = self._turns.regions()
        if view not in regions or (settled and self.is_following):
            return False  # nothing is laid out any more, or something else was asked for since
        end = max(region.bottom for region in regions.values()) - self.size.height
        line = min(regions[view].y, end)
        self._shift(line - self.scroll_offset.y)
        if settled and line == end:
            self.anchor()
        return line == end

    def show_line(self, view: Widget, line: int) -> None:
        """Scroll so that a line of a mounted view is visible."""
        above = view.content_region.y + line - self.region.y
        if not 0 <= above < self.size.height:
            self.stop_following()
            middle = self.scroll_offset.y + above - self.size.height // 2
            self._shift(min(middle, self.max_scroll_y) - self.scroll_offset.y)
            self._update_soon()
            self.note_end()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        self._update_soon()

    def follow_end(self) -> None:
        """Scroll to the end, and follow what is appended."""
        self.anchor()
        self._update_soon()
        self.note_end()

    def on_resize(self) -> None:
        """Scroll back to the line that was read: at another width all heights differ."""
        turns, (index, inside) = self._turns, self._reading
        moved = turns.estimate_heights()
        view = turns.items[index].view if index < len(turns.items) else None
        if view and not self.is_following:
            region = turns.regions()[view]
            line = region.y + moved + min(inside, region.height - 1)
            self._shift(line - self.scroll_offset.y)
        self._width = self.size.width
        self._update_soon()

    def _update_soon(self) -> None:
        if self._turns.views and not self._is_updating:
            self._is_updating = True
            self.call_after_refresh(self._update)

    async def _update(self) -> None:
        """Mount or unmount one batch of turns; repeat until none is left."""
        async with self._changing:
            step = self._next_step()
            if step:
                with self.app.batch_update():
                    moved = await step
                    if moved and not self.is_following:
                        self._shift(moved)
                self.call_after_refresh(self._update)
            else:
                self._is_updating = False
                if self.size.width == self._width and self._turns.is_attached:
                    self._reading = self._turns.turn_at(self.scroll_offset.y)

    def _next_step(self) -> Coroutine[None, None, int] | None:
        height, turns = self.size.height, self._turns
        if not height or not turns.views or not turns.is_attached:
            return None
        top, bottom = self._visible_lines()
        upper, lower = turns.bounds()
        more = any(item.view is None for item in turns.items[turns.last :])
        if (turns.first and bottom < upper) or (more and top > lower):
            return turns.jump_to(turns.estimate_turn_at(top))
        if turns.first and upper > top - _MOUNT_SCREENS * height:
            return turns.mount_above(max(0, turns.first - _MOUNT_BATCH))
        if more and lower < bottom + _MOUNT_SCREENS * height:
            return turns.mount_below(min(len(turns.items), turns.last + _MOUNT_BATCH))
        margin = _UNMOUNT_SCREENS * height
        return turns.unmount_outside(top - margin, bottom + margin)

    def _visible_lines(self) -> tuple[float, float]:
        height = self.size.height
        if self.is_following:
            end = max(region.bottom for region in self._turns.regions().values())
            return max(0, end - height), end
        return self.scroll_y, self.scroll_y + height

    @property
    def _turns(self) -> VirtualList:
        """The list, with the turns that the engine has created since."""
        turns = self._conversation.turns
        for index in range(len(self._list.items) - 1, -1, -1):
            item = self._list.items[index]
            if item.turn is not None:
                break
            if index < len(turns):
                item.turn = turns[index]
        return self._list

    def _shift(self, lines: int) -> None:
        """Scroll together with the content, before the next layout."""
        line = max(0, self.scroll_offset.y + lines)
        self.set_reactive(Widget.scroll_y, line)
        self.set_reactive(Widget.scroll_target_y, line)
        self.vertical_scrollbar.position = line
        self.refresh(layout=True)
