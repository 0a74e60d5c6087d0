"""The empty conversation: what to do, which engines work now, and what would make the rest work."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from textual import work
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Static

from engine.config.settings import Settings, shown_title
from engine.core.errors import BalcaoError
from engine.core.i18n import tr
from engine.core.text import one_line

if TYPE_CHECKING:
    from engine.chat.open import Counter

_ABOUT = tr(
    "Balcão: ask at the counter.\n"
    "\n"
    "Type a product's title, or a question in English or Portuguese. The answer "
    "is the catalogue's description, word for word, with its source; or an "
    "honest no."
)
_KEYS = tr("F2 goes to the next engine, F9 tells all about them, F1 helps.")
SAMPLE = tr(
    "The products are invented, a sample: balcao index makes yours. You could "
    "ask:\n"
    "    Saffron and Smoke\n"
    "    do you have the striped apron?\n"
    "    Qual é a descrição de “Nether Wimpling Worm Farm for Terrariums”?"
)
_LOW = 22
"""Lines of a terminal below which there is no room for examples."""


class Welcome(Vertical):
    """Drawn at once; what the engines need is filled in when the counter is open."""

    def __init__(self, settings: Settings, counter: asyncio.Future[Counter]) -> None:
        super().__init__(classes="welcome")
        self._settings = settings
        self._counter = counter

    def compose(self) -> ComposeResult:
        """From top to bottom."""
        yield Static(_ABOUT, markup=False)
        titles = [one_line(shown_title(row)) for row in self._settings.engines.values()]
        yield Static("\n".join(f"… {title}" for title in titles), id="works", markup=False)
        yield Static(_KEYS, markup=False)
        if self._settings.catalogue is None:
            yield Static(SAMPLE, id="examples", markup=False)

    def on_mount(self) -> None:
        """Look at the engines, off the way of the first frame."""
        self._look()

    def on_resize(self) -> None:
        """Leave the examples out where there is no room."""
        self.query("#examples").set(display=self.app.size.height >= _LOW)

    @work
    async def _look(self) -> None:
        try:
            counter = await asyncio.shield(self._counter)
        except BalcaoError as error:
            # The bar says it too; an engine without a catalogue answers nothing.
            self.query_one("#works", Static).update(one_line(str(error)))
            return
        from engine.chat.wording import welcome_words

        registry = counter.assistant.registry
        works = []
        for name in registry.ids:
            engine, row = registry.get(name), registry.settings_of(name)
            availability = await asyncio.to_thread(engine.availability)
            told = welcome_words(engine.facts(), row, availability, len(counter.catalogue))
            works.append(
                (f"{'✓' if availability.ready else '✗'} {one_line(shown_title(row))}", told)
            )
        width = max(len(title) for title, _ in works)
        lines = (f"{title:{width}}  {told}" for title, told in works)
        self.query_one("#works", Static).update("\n".join(lines))
