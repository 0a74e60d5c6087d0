"""Where the question is written: several lines, and the questions before within reach."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.events import Key, Paste
from textual.message import Message
from textual.widgets import TextArea

from engine.config.settings import Settings
from engine.core.errors import CatalogueError
from engine.core.i18n import tr
from engine.core.text import one_line, printable
from engine.core.types import Completion
from tui import keys
from tui.commands import slash
from tui.textual_patches.widgets import repaint_now
from tui.widgets.suggestions import Suggestions

if TYPE_CHECKING:
    from textual.widgets.text_area import Edit, EditResult

    from engine.chat.open import Counter


class InputHistory:
    """The conversation's own questions, the nearest first, then those of all others, each once."""

    def __init__(self) -> None:
        self._others: list[str] = []
        self._own: list[str] = []
        self._line: list[str] = []
        self._place = 0
        self._draft = ""

    def set_own(self, questions: list[str]) -> None:
        """Take the questions of a conversation as what is walked through first."""
        self._others += self._own
        self._own = list(questions)
        self._line_up()

    def add_others(self, questions: list[str]) -> None:
        """Take the questions of other conversations, the latest last: they follow."""
        self._others = [*questions, *self._others]
        self._line_up()

    def add(self, question: str) -> None:
        """Take one that was asked just now; the next walk begins at it."""
        if question and self._own[-1:] != [question]:
            self._own.append(question)
            self._line_up()
        self._place = len(self._line)
        self._draft = ""

    def older(self, written: str) -> str | None:
        """The one before, None where there is none; `written` is kept as the draft."""
        if not self._place:
            return None
        if self._place == len(self._line):
            self._draft = written
        self._place -= 1
        return self._line[self._place]

    def newer(self) -> str | None:
        """The one after, the draft after the last; None where one is there already."""
        if self._place == len(self._line):
            return None
        self._place += 1
        return self._line[self._place] if self._place < len(self._line) else self._draft

    def _line_up(self) -> None:
        others = dict.fromkeys(reversed(self._others))
        for question in self._own:
            others.pop(question, None)
        self._line = [*reversed(others), *self._own]
        self._place = len(self._line)


_LONG = 8_000
"""Characters from which a text is held: up to it a key takes some 10 ms at most."""


class PastePlaceholders:
    """The texts of one composer."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}

    def marked(self, text: str) -> str:
        """`text`, or the mark under which it is held from here on."""
        if len(text) < _LONG:
            return text
        mark = tr(
            "[text {count}: {count2:,} letters]", count=len(self._texts) + 1, count2=len(text)
        )
        self._texts[mark] = text
        return mark

    def holds(self, text: str) -> bool:
        """Whether one of the marks is in `text`."""
        return any(mark in text for mark in self._texts)

    def whole(self, text: str) -> str:
        """`text` with what its marks stand for; a mark that was changed is only words."""
        for mark, held in self._texts.items():
            text = text.replace(mark, held)
        return text


_PATIENCE = 2.0
"""Seconds that a key waits at most for the question before it to be taken."""

_AT_MOST_EVERY = 1 / 60
"""Seconds between two letters that are drawn at once; a burst of them is drawn together."""


class Composer(TextArea):
    """A text area that sends on Enter and walks through earlier questions at its edges.

    What is offered is taken on Tab, or on Right at the end; Down walks into it, and whatever is
    gone to stands in the composer: Enter always sends what one sees there.
    """

    class Submitted(Message):
        """A question was sent; set `handled` when it was taken or turned down."""

        def __init__(self, question: str) -> None:
            super().__init__()
            self.question = question
            self.handled = asyncio.Event()

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
        self._pasted = PastePlaceholders()
        self.input_history = InputHistory()
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
        self.input_history.add(self.question)
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
            repaint_now(self)
            self._drawn = monotonic()
        return result

    async def action_submit(self) -> None:
        """Send what is written, unless it is blank; what is typed behind it waits for its turn.

        It would stand with the question, and be cleared with it, or be sent once more with it.
        """
        if question := self.question:
            submitted = self.Submitted(question)
            # To the screen itself: what bubbles up would wait here, behind this.
            self.screen.post_message(submitted)
            with suppress(TimeoutError):
                async with asyncio.timeout(_PATIENCE):
                    await submitted.handled.wait()

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
            self.replace_text(self._suggestions.take())
        elif not self._suggestions.wish(self.text):
            self.screen.focus_next()

    def action_cursor_right(self, select: bool = False) -> None:
        """At the end of the text Right takes what is offered."""
        at_end = self.cursor_location == self.document.end
        if at_end and not select and self._suggestions.fits(self.text):
            self.replace_text(self._suggestions.take())
        else:
            super().action_cursor_right(select)

    def action_refuse(self) -> None:
        """Escape while something is offered: no more of it for this question."""
        self._suggestions.refuse()

    def replace_text(self, text: str) -> None:
        """Write `text` instead of what is there; undo brings that back."""
        self.replace(
            self._pasted.marked(text), (0, 0), self.document.end, maintain_selection_offset=False
        )
        self.move_cursor(self.document.end)

    def action_older(self) -> None:
        """Up on the first line: the question before; among offers, the one above."""
        if self._suggestions.is_walked:
            self.replace_text(self._suggestions.step(-1))
        elif not self.cursor_at_first_line:
            self.action_cursor_up()
        else:
            self._show(self.input_history.older(self.text))

    def action_newer(self) -> None:
        """Down on the last line: the question after, at the end the draft; then what is offered."""
        if self._suggestions.fits(self.text):
            self.replace_text(self._suggestions.step(1))
        elif not self.cursor_at_last_line:
            self.action_cursor_down()
        else:
            self._show(self.input_history.newer())

    def _show(self, question: str | None) -> None:
        if question is not None:
            self._suggestions.refuse()
            self.replace_text(question)


def _actions(bindings: Iterable[BindingType]) -> dict[str, str]:
    """The action of each single key."""
    return {
        key: binding.action for binding in Binding.make_bindings(bindings) for key in _keys(binding)
    }


def _keys(binding: Binding) -> list[str]:
    return [key.strip() for key in binding.key.split(",")]


_PAUSE = 0.1
"""Seconds without a key before titles are looked up: quick fingers are not interrupted."""
_MOST_LETTERS = 200
"""A longer text is a story and no title."""


class ComposerPanel(Vertical):
    """Where a question is written, and what is offered meanwhile."""

    def __init__(self, settings: Settings, counter: asyncio.Future[Counter]) -> None:
        """`counter` has the catalogue once it is open."""
        super().__init__(id="composer-panel")
        self._settings = settings
        self._counter = counter
        self._due: asyncio.TimerHandle | None = None
        self._suggestions = Suggestions()
        self._composer = Composer(settings.keys, self._suggestions)

    def on_unmount(self) -> None:
        """Look nothing up any more."""
        if self._due:
            self._due.cancel()

    def compose(self) -> ComposeResult:
        """The list lies over what is above the composer."""
        yield self._suggestions
        yield self._composer

    def on_text_area_changed(self, event: TextArea.Changed) -> None:
        """Offer what the new text may become."""
        event.stop()
        composer, suggestions = self._composer, self._suggestions
        text = _short(composer)
        if self._due:
            self._due.cancel()
        if suggestions.answers(text):
            return
        if self._settings.slash_commands and slash.is_command(text):
            values = {"engine": list(self._settings.engines)}
            suggestions.offer(text, slash.suggestions(text, values))
        elif not text.strip():
            suggestions.begin_anew()
        elif self._settings.complete_titles and self._is_open:
            suggestions.expect(text)
            self._due = asyncio.get_running_loop().call_later(_PAUSE, self._look_up, text)

    @work(exclusive=True)
    async def _look_up(self, text: str) -> None:
        """Offer titles, unless the text has changed meanwhile: then another look-up is under way.

        The search runs beside the loop, once the keys have paused: typing never waits for it.
        """
        composer, suggestions = self._composer, self._suggestions
        catalogue = self._counter.result().catalogue
        try:
            found = await asyncio.to_thread(catalogue.complete, text)
        except CatalogueError:
            # Asking will meet it too, and tell.
            found = ()
        if not self.is_attached or _short(composer) != text or suggestions.answers(text):
            return
        suggestions.offer(text, [self._offer(text, one) for one in found])
        if suggestions.is_wished:
            composer.replace_text(suggestions.take())

    def _offer(self, text: str, found: Completion) -> slash.Suggestion:
        title = one_line(found.title, _MOST_LETTERS)
        whole = text[: found.start] + title
        escaped = f"/{whole}" if self._settings.slash_commands and whole[:1] == "/" else whole
        return slash.Suggestion(escaped, title)

    @property
    def _is_open(self) -> bool:
        return self._counter.done() and not self._counter.exception()

    def on_suggestions_selected(self, event: Suggestions.Selected) -> None:
        """A click is as good as a key."""
        self._suggestions.close()
        self._composer.replace_text(event.offer.text)
        self._composer.focus()


def _short(composer: Composer) -> str:
    """What is written, as long as it is one line of a title's length; else nothing.

    A large text is not put together only to be found too long.
    """
    document = composer.document
    line = document.get_line(0)
    title = document.line_count == 1 and len(line) <= _MOST_LETTERS and not composer.holds_long
    return line if title else ""
