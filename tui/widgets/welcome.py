"""The empty conversation: what to type, and which engines are ready."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from textual import work
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Static

from engine.chat.session import Session
from engine.core.errors import BalcaoError
from engine.core.i18n import tr
from engine.core.text import one_line

_ABOUT = tr(
    "Balcão: ask at the counter.\n"
    "\n"
    "Type a product's title, or a question in English or Portuguese. The answer "
    "is the catalogue's description, word for word, with its source; or an "
    "honest no."
)
_KEYS = tr("F2 goes to the next engine, F9 tells all about them, F1 helps.")
TITLES = ("Boil, Bubble, Bottle", "Left Bank Beret", "Pull-Cord Salad Spinner")
"""Of the sample, known to the adapter that ships; another adapter's replace them."""
_MIN_LINES = 22
"""Lines of a terminal with room for the examples."""


class Welcome(Vertical):
    """Draw at once; fill in the engines when the catalogue is open."""

    def __init__(self, session: Session) -> None:
        super().__init__(classes="welcome")
        self._session = session

    def compose(self) -> ComposeResult:
        yield Static(_ABOUT, markup=False)
        titles = "\n".join(f"… {title}" for title in self._session.titles.values())
        yield Static(titles, id="works", markup=False)
        yield Static(_KEYS, markup=False)
        if self._session.settings.catalogue is None:
            yield Static(_examples(*TITLES), id="examples", markup=False)

    def on_mount(self) -> None:
        self._show_engines()

    def on_resize(self) -> None:
        self.query("#examples").set(display=self.app.size.height >= _MIN_LINES)

    @work
    async def _show_engines(self) -> None:
        works = self.query_one("#works", Static)
        try:
            resources = await self._session.ready()
        except BalcaoError as error:
            works.update(one_line(str(error)))
            return
        from engine.chat.wording import welcome_words

        registry = resources.registry
        lines = []
        for engine_id in registry.ids:
            engine = registry.get(engine_id)
            availability = await asyncio.to_thread(engine.availability)
            mark = "✓" if availability.ready else "✗"
            about = welcome_words(engine, availability, len(resources.catalogue))
            lines.append((f"{mark} {one_line(engine.info.title)}", about))
        width = max(len(title) for title, _ in lines)
        works.update("\n".join(f"{title:{width}}  {about}" for title, about in lines))
        with suppress(BalcaoError):  # asking fails too, and reports it
            for examples in self.query("#examples").results(Static):
                wanted = len(TITLES), self._session.engine
                if titles := await asyncio.to_thread(resources.trained_titles, *wanted):
                    examples.update(_examples(*titles))


def _examples(first: str, second: str, third: str) -> str:
    return tr(
        "The products are invented, a sample: balcao index makes yours. You could "
        "ask:\n"
        "    {first}\n"
        "    Do you have {second}?\n"
        "    Qual é a descrição de “{third}”?",
        first=first,
        second=second,
        third=third,
    )
