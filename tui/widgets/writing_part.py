"""Composer and offers as one part: what is typed is looked up, off the loop, and offered."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from textual import work
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import TextArea

from engine.config.settings import Settings
from engine.core.errors import CatalogueError
from engine.core.text import one_line
from engine.core.types import Completion
from tui.commands import slash
from tui.widgets.composer import Composer
from tui.widgets.suggestions import Suggestions

if TYPE_CHECKING:
    from engine.chat.open import Counter

_PAUSE = 0.1
"""Seconds without a key before titles are looked up: quick fingers are not interrupted."""
_MOST_LETTERS = 200
"""A longer text is a story and no title."""


class Writing(Vertical):
    """Where a question is written, and what is offered meanwhile."""

    def __init__(self, settings: Settings, counter: asyncio.Future[Counter]) -> None:
        """`counter` has the catalogue once it is open."""
        super().__init__(id="writing")
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
            suggestions.offer(text, slash.offers(text, values))
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
            composer.put(suggestions.take())

    def _offer(self, text: str, found: Completion) -> slash.Offer:
        title = one_line(found.title, _MOST_LETTERS)
        whole = text[: found.start] + title
        escaped = f"/{whole}" if self._settings.slash_commands and whole[:1] == "/" else whole
        return slash.Offer(escaped, title)

    @property
    def _is_open(self) -> bool:
        return self._counter.done() and not self._counter.exception()

    def on_suggestions_chosen(self, event: Suggestions.Chosen) -> None:
        """A click is as good as a key."""
        self._suggestions.close()
        self._composer.put(event.offer.text)
        self._composer.focus()


def _short(composer: Composer) -> str:
    """What is written, as long as it is one line of a title's length; else nothing.

    A large text is not put together only to be found too long.
    """
    document = composer.document
    line = document.get_line(0)
    title = document.line_count == 1 and len(line) <= _MOST_LETTERS and not composer.holds_long
    return line if title else ""
