"""The composer: a text area with input history, paste placeholders and suggestions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Protocol

from textual import work
from textual.actions import SkipAction
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.content import Content
from textual.events import Click, Key
from textual.message import Message
from textual.widgets import Static, TextArea

from engine.chat.session import Session
from engine.core.errors import CatalogueError
from engine.core.i18n import tr
from engine.core.text import one_line
from engine.core.types import Completion, Mode
from tui import keys
from tui.commands import slash
from tui.textual_patches.widgets import actions_by_key, repaint_now
from tui.widgets.paste_area import MAX_TITLE, PasteArea
from tui.widgets.suggestions import Suggestions

if TYPE_CHECKING:
    from textual.widgets.text_area import Edit, EditResult

_SUBMIT_TIMEOUT = 2.0
"""Seconds that later keys wait until a sent question is handled."""
_REPAINT_INTERVAL = 1 / 60
"""Seconds between two immediate repaints; a burst of keys is drawn together."""
_LOOK_UP_DELAY = 0.1
"""Seconds without a key before titles are looked up."""
_ARROWS = ("left", "right")


class InputHistory:
    """Earlier questions: those of this conversation, newest first, then all others, each once."""

    def __init__(self) -> None:
        self._others: list[str] = []
        self._own: list[str] = []
        self._questions: list[str] = []
        self._index = 0
        self._draft = ""

    def set_own(self, questions: list[str]) -> None:
        """Walk through the questions of another conversation first."""
        self._others += self._own
        self._own = list(questions)
        self._merge()

    def add_others(self, questions: list[str]) -> None:
        """Add questions of other conversations, the newest last."""
        self._others = [*questions, *self._others]
        self._merge()

    def append(self, question: str) -> None:
        """Add a question that was just sent, and go back to the end."""
        if question and self._own[-1:] != [question]:
            self._own.append(question)
            self._merge()
        self._index = len(self._questions)
        self._draft = ""

    def older(self, text: str) -> str | None:
        """Return the previous question, or None; save `text` as the draft at the end."""
        if not self._index:
            return None
        if self._index == len(self._questions):
            self._draft = text
        self._index -= 1
        return self._questions[self._index]

    def newer(self) -> str | None:
        """Return the next question, then the draft, then None."""
        if self._index == len(self._questions):
            return None
        self._index += 1
        at_end = self._index == len(self._questions)
        return self._draft if at_end else self._questions[self._index]

    def _merge(self) -> None:
        others = dict.fromkeys(reversed(self._others))
        for question in self._own:
            others.pop(question, None)
        self._questions = [*reversed(others), *self._own]
        self._index = len(self._questions)


class Choices(Protocol):
    """A list of products in the conversation, of which one may be highlighted."""

    @property
    def picked(self) -> str:
        """The question that picks the highlighted product, empty without one."""

    def move(self, step: int) -> bool:
        """Move the highlight; return whether it is in the list."""

    def leave(self) -> None:
        """Highlight no product."""


def _no_choices() -> None:
    """Return no list of products."""


def _nothing_queued() -> str:
    """Return no question."""
    return ""


class Composer(PasteArea):
    """A text area that sends on Enter and shows earlier questions on Up and Down.

    Tab accepts a suggestion, and so does Right at the end of the text. Down moves into the list and
    puts the highlighted suggestion into the composer, so that Enter always sends what is visible.
    While the composer is empty, Down moves into the list of products that the last answer is.
    """

    @dataclass
    class Submitted(Message):
        """A question was sent. The receiver sets `handled` once it has accepted or refused it."""

        question: str
        handled: asyncio.Event = field(default_factory=asyncio.Event)

    def __init__(
        self,
        user_keys: Mapping[str, str],
        suggestions: Suggestions,
        choices: Callable[[], Choices | None] = _no_choices,
        withdraw: Callable[[], str] = _nothing_queued,
    ) -> None:
        """`user_keys` are keys by action, from the settings; `choices` finds the last answer's.

        `withdraw` takes back the last question that waits for an answer.
        """
        super().__init__(
            id="composer",
            placeholder=tr("Ask about a product…"),
            highlight_cursor_line=False,
        )
        own = (
            Binding(user_keys.get(binding.id or "", binding.key), binding.action)
            for binding in keys.COMPOSER
        )
        interrupt = Binding(user_keys.get("interrupt", "ctrl+c"), "screen.command('interrupt')")
        self._actions = actions_by_key([*TextArea.BINDINGS, *own, interrupt])
        self._suggestions = suggestions
        self._find_choices = choices
        self._withdraw = withdraw
        self._choices: Choices | None = None
        """The list in which a product is highlighted."""
        self.input_history = InputHistory()
        self._repainted = 0.0

    def accept(self) -> None:
        """Clear the composer after its question was accepted; Up brings the question back."""
        self.input_history.append(self.question)
        self.clear()
        self._suggestions.reset()

    async def _on_key(self, event: Key) -> None:
        """Run the composer's own bindings in the order of their keys, as LineInput does."""
        action = self._actions.get(event.key)
        if event.key == "escape" and self._suggestions.is_open:
            action = "dismiss_suggestions"
        elif event.key == "escape" and self._choices:
            action = "leave_choices"
        if action and not (event.key in _ARROWS and self.is_blank):
            event.prevent_default()
            event.stop()
            await self.run_action(action)

    def edit(self, edit: Edit) -> EditResult:
        """Edit the text and repaint it immediately."""
        self.action_leave_choices()
        result = super().edit(edit)
        if monotonic() - self._repainted >= _REPAINT_INTERVAL:
            repaint_now(self)
            self._repainted = monotonic()
        return result

    async def action_submit(self) -> None:
        """Send the question, and wait until it is handled.

        Later keys would be added to the question, cleared with it or sent twice.
        """
        if question := self.question or (self._choices.picked if self._choices else ""):
            submitted = self.Submitted(question)
            # Posted to the screen: a message that bubbles up would wait for this handler.
            self.screen.post_message(submitted)
            with suppress(TimeoutError):
                async with asyncio.timeout(_SUBMIT_TIMEOUT):
                    await submitted.handled.wait()

    async def action_delete_or_leave(self) -> None:
        """Delete the next letter; without any text, leave the chat."""
        if self.is_blank:
            await self.app.run_action("quit")
        else:
            self.action_delete_right()

    def action_newline(self) -> None:
        self.insert("\n")

    def action_complete(self) -> None:
        """Accept a suggestion, now or when it arrives; without any, move the focus."""
        if self._suggestions.are_for(self.text):
            self.replace_text(self._suggestions.accept())
        elif not self._suggestions.accept_on_arrival(self.text):
            self.screen.focus_next()

    def action_cursor_left(self, select: bool = False) -> None:
        if self.is_blank:
            raise SkipAction  # the chat shows another answer
        super().action_cursor_left(select)

    def action_cursor_right(self, select: bool = False) -> None:
        if self.is_blank:
            raise SkipAction
        at_end = self.cursor_location == self.document.end
        if at_end and not select and self._suggestions.are_for(self.text):
            self.replace_text(self._suggestions.accept())
        else:
            super().action_cursor_right(select)

    def action_dismiss_suggestions(self) -> None:
        self._suggestions.dismiss()

    def action_leave_choices(self) -> None:
        if self._choices:
            self._choices.leave()
            self._choices = None

    def _move_choice(self, step: int) -> bool:
        """Highlight a product of the last answer, unless there is a text; return whether one is."""
        if not self.is_blank:
            return False
        choices = self._choices or (self._find_choices() if step > 0 else None)
        self._choices = choices if choices and choices.move(step) else None
        return choices is not None

    def action_older(self) -> None:
        """Show the previous question on the first line; in a list move up.

        Without a text, take back the last question that waits for an answer.
        """
        if self._suggestions.has_highlight:
            self.replace_text(self._suggestions.move(-1))
        elif self.is_blank and (question := self._withdraw()):
            self.replace_text(question)
        elif self._move_choice(-1):
            return
        elif not self.cursor_at_first_line:
            self.action_cursor_up()
        else:
            self._recall(self.input_history.older(self.text))

    def action_newer(self) -> None:
        """Move down in a list; without one show the next question on the last line."""
        if self._suggestions.are_for(self.text):
            self.replace_text(self._suggestions.move(1))
        elif self._move_choice(1):
            return
        elif not self.cursor_at_last_line:
            self.action_cursor_down()
        else:
            self._recall(self.input_history.newer())

    def _recall(self, question: str | None) -> None:
        if question is not None:
            self._suggestions.dismiss()
            self.replace_text(question)


_MAX_QUEUED = 3
"""Questions that wait for an answer and are shown."""


class ComposerPanel(Vertical):
    """The questions that wait, the composer and its suggestions, which it looks up."""

    def __init__(
        self, session: Session, choices: Callable[[], Choices | None] = _no_choices
    ) -> None:
        """Complete titles from the session's catalogue, once it is open; `choices` as Composer."""
        super().__init__(id="composer-panel")
        self._session = session
        self._settings = session.settings
        self._timer: asyncio.TimerHandle | None = None
        self._suggestions = Suggestions()
        self._composer = Composer(session.settings.keys, self._suggestions, choices, self._withdraw)

    def compose(self) -> ComposeResult:
        yield Static(id="below", markup=False)
        yield self._suggestions
        yield self._composer

    def show_below(self, *, more: bool) -> None:
        """Say whether the conversation goes on below what is visible."""
        hint = tr("▼ more below: Ctrl+End")
        self.query_one("#below", Static).update(hint if more else "")

    def on_click(self, event: Click) -> None:
        """Go to the end of the conversation."""
        if event.widget and event.widget.id == "below":
            self.screen.run_worker(self.screen.run_action("command('scroll_end')"))

    async def show_queue(self) -> None:
        """Show the questions that wait for the answer before them."""
        queue, found = self._session.queue, self.query("#queue")
        if queue and not found:
            await self.mount(Static(id="queue", markup=False), before=self._composer)
        for view in self.query("#queue").results(Static):
            view.display = bool(queue)
            view.update(Content("\n").join(_queue_lines(queue)))

    def _withdraw(self) -> str:
        queue = self._session.queue
        question = queue.pop() if queue else ""
        if question:
            self.run_worker(self.show_queue())
        return question

    def on_unmount(self) -> None:
        if self._timer:
            self._timer.cancel()

    def on_text_area_changed(self) -> None:
        """Suggest commands after a slash, else titles."""
        suggestions, text = self._suggestions, self._composer.title_start
        if self._timer:
            self._timer.cancel()
        if suggestions.needs_none(text):
            return
        if self._settings.slash_commands and slash.is_command(text):
            values: dict[str, list[str]] = {
                "engine": list(self._settings.engines),
                "theme": sorted(self.app.available_themes),
                "mode": [mode.value for mode in Mode],
            }
            suggestions.show(text, slash.suggestions(text, values))
        elif not text.strip():
            suggestions.reset()
        elif self._settings.complete_titles and self._session.resources:
            suggestions.expect(text)
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(_LOOK_UP_DELAY, self._look_up, text)

    def look_up_again(self) -> None:
        """Suggest other titles, after the engine or the mode has changed."""
        text = self._composer.title_start
        if self._suggestions.are_for(text) and not slash.is_command(text):
            self._suggestions.close()
            self._look_up(text)

    @work(exclusive=True)
    async def _look_up(self, text: str) -> None:
        """Suggest titles, found in a thread; drop them if the text has changed."""
        composer, suggestions = self._composer, self._suggestions
        try:
            found = await self._session.complete(text)
        except CatalogueError:
            found = ()  # asking fails too, and reports it
        if not self.is_attached or composer.title_start != text or suggestions.needs_none(text):
            return
        suggestions.show(text, [self._suggestion(text, each) for each in found])
        if suggestions.is_awaited:
            composer.replace_text(suggestions.accept())

    def _suggestion(self, text: str, completion: Completion) -> slash.Suggestion:
        title = one_line(completion.title, MAX_TITLE)
        whole = text[: completion.start] + title
        escaped = f"/{whole}" if self._settings.slash_commands and whole[:1] == "/" else whole
        return slash.Suggestion(escaped, title)

    def on_suggestions_selected(self, event: Suggestions.Selected) -> None:
        self._suggestions.close()
        self._composer.replace_text(event.suggestion.text)
        self._composer.focus()


def _queue_lines(queue: list[str]) -> Iterator[Content]:
    shown = queue[:_MAX_QUEUED]
    for place, question in enumerate(shown, 1):
        hint = tr("  (Up takes it back)") if place == len(queue) else ""
        yield Content.assemble(f"… {one_line(question, MAX_TITLE)}", (hint, "dim"))
    if more := len(queue) - len(shown):
        yield Content.styled(tr("  {more} more (Up takes the last one back)", more=more), "dim")
