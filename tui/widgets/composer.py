"""Where the question is written: several lines, and the questions before within reach."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING

from textual.binding import Binding, BindingType
from textual.events import Key, Paste
from textual.widgets import TextArea

from engine.core.i18n import tr
from engine.core.text import printable
from tui import keys
from tui.textual_patches.at_once_part import draw_at_once
from tui.widgets.earlier_part import Earlier
from tui.widgets.messages_part import Asked
from tui.widgets.pasted_part import Pasted
from tui.widgets.suggestions import Suggestions

if TYPE_CHECKING:
    from textual.widgets.text_area import Edit, EditResult

_PATIENCE = 2.0
"""Seconds that a key waits at most for the question before it to be taken."""

_AT_MOST_EVERY = 1 / 60
"""Seconds between two letters that are drawn at once; a burst of them is drawn together."""


class Composer(TextArea):
    """A text area that sends on Enter and walks through earlier questions at its edges.

    What is offered is taken on Tab, or on Right at the end; Down walks into it, and whatever is
    gone to stands in the composer: Enter always sends what one sees there.
    """

    def __init__(self, chosen: Mapping[str, str], suggestions: Suggestions) -> None:
        """`chosen` are the person's own keys, by action; `suggestions` what is offered."""
        super().__init__(
            id="composer",
            placeholder=tr("Ask for a product, by its title or as a question…"),
            highlight_cursor_line=False,
        )
        own = (
            Binding(chosen.get(binding.id or "", binding.key), binding.action)
            for binding in keys.COMPOSER
        )
        self._actions = {**_actions(TextArea.BINDINGS), **_actions(own)}
        self._suggestions = suggestions
        self._pasted = Pasted()
        self.earlier = Earlier()
        self._drawn = 0.0

    @property
    def question(self) -> str:
        """What is written, with all that was pasted."""
        return self._pasted.whole(self.text).strip()

    @property
    def holds_long(self) -> bool:
        """Whether a long text was pasted, so that its mark is no title's beginning."""
        return self._pasted.holds(self.text)

    def accept(self) -> None:
        """The question was taken: empty the composer, keep the question for Up."""
        self.earlier.add(self.question)
        self.clear()
        self._suggestions.begin_anew()

    async def _on_key(self, event: Key) -> None:
        """Carry out the composer's keys at once, in the order in which they were typed.

        Textual looks at bindings only after a key has gone up to the app and back, by when the
        letters typed after it are in the text: over a slow line, "abc", two backspaces and "xy"
        in one packet end as "abc" in a stock TextArea.
        """
        action = self._actions.get(event.key)
        if event.key == "escape" and self._suggestions.is_open:
            action = "refuse"
        if action:
            event.prevent_default()
            event.stop()
            await self.run_action(action)

    def edit(self, edit: Edit) -> EditResult:
        """Write or take away letters, and show it at once."""
        result = super().edit(edit)
        if monotonic() - self._drawn >= _AT_MOST_EVERY:
            draw_at_once(self)
            self._drawn = monotonic()
        return result

    async def action_submit(self) -> None:
        """Send what is written, unless it is blank; what is typed behind it waits for its turn.

        It would stand with the question, and be cleared with it, or be sent once more with it.
        """
        if question := self.question:
            asked = Asked(question)
            # To the screen itself: what bubbles up would wait here, behind this.
            self.screen.post_message(asked)
            with suppress(TimeoutError):
                async with asyncio.timeout(_PATIENCE):
                    await asked.heard.wait()

    async def _on_paste(self, event: Paste) -> None:
        """A long text is held aside."""
        event.prevent_default()
        event.stop()
        self.paste(event.text)

    def action_paste(self) -> None:
        """What was copied in the chat."""
        self.paste(self.app.clipboard)

    def paste(self, text: str) -> None:
        """Put `text` where the cursor is, or instead of what is selected."""
        # Terminals send a line's end as a carriage return.
        lines = printable(text.replace("\r\n", "\n").replace("\r", "\n"))
        result = self.replace(
            self._pasted.marked(lines), *self.selection, maintain_selection_offset=False
        )
        self.move_cursor(result.end_location)

    def action_newline(self) -> None:
        """Begin a new line."""
        self.insert("\n")

    def action_complete(self) -> None:
        """Take what is offered; where nothing is, go on to the next thing that takes keys."""
        if self._suggestions.fits(self.text):
            self.put(self._suggestions.take())
        elif not self._suggestions.wish(self.text):
            self.screen.focus_next()

    def action_cursor_right(self, select: bool = False) -> None:
        """At the end of the text Right takes what is offered."""
        at_end = self.cursor_location == self.document.end
        if at_end and not select and self._suggestions.fits(self.text):
            self.put(self._suggestions.take())
        else:
            super().action_cursor_right(select)

    def action_refuse(self) -> None:
        """Escape while something is offered: no more of it for this question."""
        self._suggestions.refuse()

    def put(self, text: str) -> None:
        """Write `text` instead of what is there; undo brings that back."""
        self.replace(
            self._pasted.marked(text), (0, 0), self.document.end, maintain_selection_offset=False
        )
        self.move_cursor(self.document.end)

    def action_older(self) -> None:
        """Up on the first line: the question before; among offers, the one above."""
        if self._suggestions.is_walked:
            self.put(self._suggestions.step(-1))
        elif not self.cursor_at_first_line:
            self.action_cursor_up()
        else:
            self._show(self.earlier.older(self.text))

    def action_newer(self) -> None:
        """Down on the last line: the question after, at the end the draft; then what is offered."""
        if self._suggestions.fits(self.text):
            self.put(self._suggestions.step(1))
        elif not self.cursor_at_last_line:
            self.action_cursor_down()
        else:
            self._show(self.earlier.newer())

    def _show(self, question: str | None) -> None:
        if question is not None:
            self._suggestions.refuse()
            self.put(question)


def _actions(bindings: Iterable[BindingType]) -> dict[str, str]:
    """The action of each single key."""
    return {
        key: binding.action for binding in Binding.make_bindings(bindings) for key in _keys(binding)
    }


def _keys(binding: Binding) -> list[str]:
    return [key.strip() for key in binding.key.split(",")]
