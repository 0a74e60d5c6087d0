"""Textual widgets and one repaint function, changed where a chat shows their limits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.await_complete import AwaitComplete
from textual.binding import ActiveBinding, Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.events import Key
from textual.geometry import Region, Size
from textual.message import Message
from textual.screen import Screen
from textual.strip import Strip
from textual.widget import Widget
from textual.widgets import Footer, Input, OptionList, TextArea
from textual.widgets._footer import FooterKey
from textual.worker import Worker, WorkType

if TYPE_CHECKING:
    _Mixin = Widget
    _Screen = Screen[Any]
else:
    # Not a Widget: Textual takes the default styles of a widget from its first Widget base.
    _Mixin = _Screen = object


_wrap_and_format, _move_page = Content._wrap_and_format, OptionList._move_page  # noqa: SLF001


def _wrap_in_columns(content: Content, width: int, *args: Any, **options: Any) -> list[Any]:  # noqa: ANN401
    """Wrap a text to one column or more. Textual 8.2 raises ValueError below that."""
    if width <= 2 * options.get("line_pad", 0):
        options["line_pad"] = 0
    return _wrap_and_format(content, max(1, width), *args, **options)


def _move_page_if_drawn(options: OptionList, direction: Any) -> None:  # noqa: ANN401 - Textual's own
    """Move by a page in a list with lines. Textual 8.2 raises KeyError without room for any."""
    if options._lines:  # noqa: SLF001
        _move_page(options, direction)


Content._wrap_and_format = _wrap_in_columns  # type: ignore[assignment,method-assign] # noqa: SLF001
OptionList._move_page = _move_page_if_drawn  # type: ignore[assignment,method-assign] # noqa: SLF001


def repaint_now(widget: Widget) -> None:
    """Repaint one widget immediately, ahead of queued updates.

    Textual repaints everything together, 60 times a second: while an answer streams, a typed
    letter would wait until the whole conversation is laid out and drawn. Textual drops what
    `_display` is given inside `batch_update`, so nothing is repainted there.
    """
    app, screen = widget.app, widget.screen
    compositor, batched = screen._compositor, app._batch_count  # noqa: SLF001 - no public API
    if screen is app.screen and not batched and widget in compositor.visible_widgets:
        compositor.update_widgets({widget})
        app._display(screen, compositor.render_update(screen_stack=app._background_screens))  # noqa: SLF001


class SolidBackground(_Mixin):
    """Render one background line and repeat it. List it before the container class.

    Textual renders every line of a container, covered or not, and all of them again whenever a
    streamed answer grows: with four nested containers that was two thirds of all rendering.
    """

    def render_lines(self, crop: Region) -> list[Strip]:
        """Repeat one line, unless a border makes the lines differ."""
        if self.styles.border or self.styles.outline or not crop.height:
            return super().render_lines(crop)
        return super().render_lines(crop._replace(height=1)) * crop.height


def end_workers(workers: Iterable[Worker[Any]]) -> Awaitable[object]:
    """Cancel all workers except the caller; return what to await for their end."""
    tasks = []
    for worker in workers:
        if worker._task and worker._task is not asyncio.current_task():  # noqa: SLF001
            tasks.append(worker._task)  # noqa: SLF001
            if not worker.is_cancelled:  # again, it would be torn out of its saving
                worker.cancel()
    return asyncio.gather(*tasks, return_exceptions=True)


class Page(_Screen):
    """A screen that can be left at any moment. List it before the screen class.

    In Textual 8.2, `dismiss` pops whichever screen is on top, so the second Enter of one burst pops
    the screen below, and workers end only after the widgets that they draw on.
    """

    CSS_PATH: ClassVar[Path | None] = Path(__file__).parent.with_name("pages.tcss")
    left = False
    leave_action = "dismiss"
    """What Ctrl+C does without selected text."""

    async def action_copy_text(self) -> None:  # type: ignore[override] # Textual awaits either
        """Copy the selected text; without any, leave the page."""
        if self.get_selected_text() is None:
            await self.run_action(self.leave_action)
        else:
            super().action_copy_text()

    def dismiss(self, result: Any = None) -> AwaitComplete:  # noqa: ANN401 - each page has its own
        """Leave the page with a result, unless it was left before or another one covers it."""
        if not self.is_active:
            return AwaitComplete()
        self.left = True
        ours = set(self.walk_children(with_self=True))
        end_workers(worker for worker in self.app.workers if worker.node in ours)
        return super().dismiss(result)

    def run_worker(self, work: WorkType[Any], *args: Any, **options: Any) -> Worker[Any]:  # noqa: ANN401
        """Run a worker, which never begins if the page was left."""
        worker = super().run_worker(work, *args, **options)
        if self.left:
            worker.cancel()
        return worker


class ReportingPage(Page):
    """A page with a line for what the app reports."""

    def report(self, sentence: str) -> None:
        """Show one sentence."""
        raise NotImplementedError


def actions_by_key(bindings: Iterable[BindingType]) -> dict[str, str]:
    """Return the action of each single key."""
    return {
        key.strip(): binding.action
        for binding in Binding.make_bindings(bindings)
        for key in binding.key.split(",")
    }


class LineInput(Input):
    """Run the input's own key bindings in the order in which the keys were typed.

    Textual runs a binding only after its key has bubbled to the app, when letters typed later are
    already inserted: Ctrl+U and "abc" in one packet leave an empty input.
    """

    key_actions: ClassVar = actions_by_key(Input.BINDINGS)

    async def _on_key(self, event: Key) -> None:
        action = self.key_actions.get(event.key)
        if action == "copy" and self.selection.is_empty:
            return  # the app leaves the page
        if action:
            event.prevent_default()
            event.stop()
            await self.run_action(action)


class EditArea(TextArea):
    """Draw the cursor inside the text. In Textual 8.2 an undo leaves it outside for a moment."""

    def _recompute_cursor_offset(self) -> None:
        location = self.clamp_visitable(self.cursor_location)
        self._cursor_offset = self.wrapped_document.location_to_offset(location)


class AnchoredScroll(SolidBackground, VerticalScroll):
    """Follow the end again once the user scrolls back to it.

    Textual releases the anchor at every scroll and restores it only if the scroll offset changed:
    Page Down at the end, or any scrolling where everything is visible, would stop following.
    """

    @dataclass
    class EndSeen(Message):
        """The end of the content has come into view, or has left it."""

        seen: bool

    _end_seen = True

    def on_mount(self) -> None:
        """Follow the end from the start."""
        self.anchor()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Report when the end comes into view or leaves it."""
        super().watch_scroll_y(old_value, new_value)
        self.note_end()

    def watch_virtual_size(self, virtual_size: Size) -> None:  # noqa: ARG002 - Textual's signature
        """Report when the content grows beyond the view."""
        self.note_end()

    def note_end(self) -> None:
        """Report whether the end is in view, if that has changed."""
        seen = self.is_following or self.scroll_target_y >= self.max_scroll_y
        if seen != self._end_seen:
            self._end_seen = seen
            self.post_message(self.EndSeen(seen))

    @property
    def is_following(self) -> bool:
        """Whether the view scrolls along when content is appended."""
        return self.is_anchored and not self._anchor_released

    def release_anchor(self) -> None:
        """Release the anchor, then check whether the view is still at the end."""
        super().release_anchor()
        self.call_next(self._follow_at_end)

    def stop_following(self) -> None:
        """Release the anchor even at the end."""
        super().release_anchor()

    def _follow_at_end(self) -> None:
        if not self.max_scroll_y:
            self._anchor_released = False
        elif self.scroll_target_y >= self.max_scroll_y:
            self._check_anchor()


_PALETTE_BORDER = 1


class FittingFooter(Footer):
    """Show as many keys as fit, in order, and always the way out and the command palette.

    Textual cuts the last key in half. Its footer also data-binds every key it creates and never
    releases them, which leaks a megabyte for every page opened.
    """

    def __init__(self) -> None:
        super().__init__(compact=True)
        self._shown: list[ActiveBinding] | None = None

    def compose(self) -> ComposeResult:
        """Yield the first visible key of each action while there is room."""
        if not self._bindings_ready:
            return
        self._shown = list(self.screen.active_bindings.values())
        palette = [self._key(active) for active in self._shown if self._is_palette(active)]
        room = self.screen.size.width - sum(_width(key) + _PALETTE_BORDER for key in palette)
        leaving = [active for active in self._shown if _leaves(active)][:1]
        certain = leaving + [active for active in self._shown if _goes_first(active)]
        room -= sum(_width(self._key(active)) for active in certain)
        first = {
            active.binding.action: active for active in reversed(self._shown) if active.binding.show
        }
        for active in self._shown:
            if first.get(active.binding.action) is active:
                key = self._key(active)
                if active not in certain:
                    room -= _width(key)
                if room >= 0 or active in certain:
                    yield key
        yield from palette

    async def recompose(self) -> None:
        """Recompose only when the bindings or the width have changed."""
        if self.is_attached and self._shown != list(self.screen.active_bindings.values()):
            await super().recompose()

    def on_resize(self) -> None:
        """Fit the keys to the new width."""
        self._shown = None
        self.call_after_refresh(self.recompose)

    def _is_palette(self, active: ActiveBinding) -> bool:
        return active.binding.key == self.app.COMMAND_PALETTE_BINDING

    def _key(self, active: ActiveBinding) -> FooterKey:
        binding = active.binding
        palette = self._is_palette(active)
        return FooterKey(
            binding.key,
            self.app.get_key_display(binding),
            binding.description,
            binding.action,
            disabled=not active.enabled,
            tooltip=binding.tooltip or binding.description if palette else active.tooltip,
            classes="-command-palette" if palette else "",
        )


def _leaves(active: ActiveBinding) -> bool:
    """Whether a key shown leaves the screen, or the chat where nothing else does."""
    name = active.binding.id or ""
    return active.binding.show and (name == "quit" or name.endswith("_close"))


def _goes_first(active: ActiveBinding) -> bool:
    """Whether a key is shown before those to its left, if not all fit: the history."""
    return active.binding.show and active.binding.id == "conversations"


def _width(key: FooterKey) -> int:
    return cell_len(f"{key.key_display} {key.description} ")
