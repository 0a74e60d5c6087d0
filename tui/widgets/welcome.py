"""The page of an empty conversation: what to ask, with examples to pick, and the engines."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.cells import cell_len, set_cell_size
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from engine.chat.session import Session
from engine.core.errors import BalcaoError
from engine.core.i18n import tr
from engine.core.text import one_line

if TYPE_CHECKING:
    from engine.chat.open import Resources

_ABOUT = tr("You get its exact description, or an honest no.")
_KEYS = tr("F2 next engine · F3 compare · F9 engines · F1 help")
TITLES = ("Boil, Bubble, Bottle", "Left Bank Beret", "Pull-Cord Salad Spinner")
"""Of the sample, known to the adapter that ships; another adapter's replace them."""
_MIN_COLUMNS = 72
"""Columns of a terminal with room for the number of products."""
_MIN_LINES = 22
"""Lines of a terminal with room for the note about the sample."""
_MAX_TITLE = 60
# Translations turn the last one into the other language.
_FORMS: tuple[tuple[Callable[[str], str], str], ...] = (
    (str, tr("by title")),
    (lambda title: tr("Do you have {title}?", title=title), tr("as a question")),
    (lambda title: tr("Qual é a descrição de “{title}”?", title=title), tr("in Portuguese")),
)


class Example(Static, can_focus=True):
    """A question to ask with Enter or a click."""

    BINDINGS = [  # noqa: RUF012 - Textual's own form
        ("enter", "pick", tr("Ask")),
        Binding("down", "app.focus_next", show=False),
        Binding("up", "app.focus_previous", show=False),
    ]

    @dataclass
    class Picked(Message):
        """The question is to be asked."""

        question: str

    def __init__(self, question: str, hint: str, width: int) -> None:
        self.question = question
        shown = Content.assemble(f"› {set_cell_size(question, width)}  ", (hint, "dim"))
        super().__init__(shown, classes="example")

    def action_pick(self) -> None:
        self.post_message(self.Picked(self.question))

    def on_click(self) -> None:
        self.action_pick()


class TourOffer(Example):
    """The tour, offered once."""

    def __init__(self) -> None:
        name = tr("A tour of four keys")
        super().__init__(name, tr("ask, switch, from memory, compare"), cell_len(name))

    def action_pick(self) -> None:
        self.screen.run_worker(self.screen.run_action("command('tour')"))


class Welcome(Vertical):
    """Draw at once; fill in the engines and examples when the catalogue is open.

    The examples are titles that an adapter knows, or else some of the catalogue's.
    """

    def __init__(self, session: Session) -> None:
        super().__init__(classes="welcome")
        self._session = session
        self._products = 0

    def compose(self) -> ComposeResult:
        yield Static(_heading(), markup=False, classes="heading")
        yield Static(_ABOUT, markup=False)
        yield Static(tr("Try one of these (Tab, Enter):"), markup=False, id="try")
        with Vertical(id="examples"):
            if self._is_sample:
                yield from _examples(TITLES)
        titles = "\n".join(f"  {title} …" for title in self._session.titles.values())
        yield Static(titles, id="works", markup=False)
        yield Static(_KEYS, markup=False)
        if self._is_sample:
            note = tr("These products are made up: balcao index loads your own.")
            yield Static(note, markup=False, id="note")

    def on_mount(self) -> None:
        self.show_engines()

    def on_resize(self) -> None:
        self.query("#note").set(display=self.app.size.height >= _MIN_LINES)
        self._show_heading()

    def _show_heading(self) -> None:
        room = self.app.size.width >= _MIN_COLUMNS
        for heading in self.query(".heading").results(Static):
            heading.update(_heading(self._products if room else 0))

    @property
    def _is_sample(self) -> bool:
        return self._session.settings.catalogue is None

    @work
    async def show_engines(self) -> None:
        """Draw the engines, and examples that the active one knows."""
        works = self.query_one("#works", Static)
        try:
            resources = await self._session.ready()
        except BalcaoError as error:
            works.update(one_line(str(error)))
            self.query("#try").set(display=False)
            return
        self._products = len(resources.catalogue)
        self._show_heading()
        with suppress(BalcaoError):  # asking fails too, and reports it
            await self._show_examples(resources)
            await self._offer_tour(resources)
        works.update("\n".join(await asyncio.to_thread(_engine_lines, resources)))

    async def _offer_tour(self, resources: Resources) -> None:
        from tui.widgets.tour import is_to_offer

        if await asyncio.to_thread(is_to_offer, self._session, resources) and self.is_attached:
            await self.query_one("#examples").mount(TourOffer())

    async def _show_examples(self, resources: Resources) -> None:
        titles = await asyncio.to_thread(
            resources.trained_titles, len(TITLES), self._session.engine
        )
        if not titles and self._is_sample:
            return
        some = resources.catalogue.examples(2 * len(TITLES))
        titles = titles or list(dict.fromkeys(one.title for one in some))
        self.query("#try").set(display=bool(titles))
        with self.app.batch_update():
            for examples in self.query("#examples"):
                await examples.remove_children()
                await examples.mount_all(_examples(titles))


def _heading(products: int = 0) -> Content:
    count = tr("   {count:,} products", count=products) if products else ""
    about = tr(" — ask about any product in the catalogue")
    return Content.assemble(("Balcão", "bold $accent"), (about, "bold"), (count, "dim"))


def _engine_lines(resources: Resources) -> list[str]:
    from engine.chat.wording import welcome_words

    engines = [resources.registry.get(engine_id) for engine_id in resources.registry.ids]
    titles = [one_line(engine.info.title) for engine in engines]
    width = max(map(len, titles))
    lines = []
    for engine, title in zip(engines, titles, strict=True):
        availability = engine.availability()
        mark = "●" if availability.ready else "○"
        lines.append(f"{mark} {title:{width}}  {welcome_words(engine, availability)}")
    return lines


def _examples(titles: list[str] | tuple[str, ...]) -> Iterator[Example]:
    asked = [
        (form(one_line(title, _MAX_TITLE)), hint)
        for title, (form, hint) in zip(titles, _FORMS, strict=False)
    ]
    width = max((cell_len(question) for question, _ in asked), default=0)
    for question, hint in asked:
        yield Example(question, hint, width)
