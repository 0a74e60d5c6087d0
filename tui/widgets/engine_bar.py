"""The bar that shows the engines, which one answers next and in which mode, and whether it can."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from rich.cells import cell_len
from textual import work
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.events import Click
from textual.widgets import Static

from engine.backends.registry import Registry
from engine.config.settings import Settings
from engine.core.errors import BalcaoError
from engine.core.i18n import tr
from engine.core.text import one_line
from engine.core.types import Mode, Progress

if TYPE_CHECKING:
    from engine.chat.open import Counter

_MARKS = {True: "●", False: "○"}
_BETWEEN = "  "
_WORDS = {Mode.GROUNDED: tr("grounded"), Mode.MEMORY: tr("from memory")}


class EngineBar(Vertical):
    """One line of engines, and some about the state of things."""

    def __init__(self, settings: Settings, counter: asyncio.Future[Counter]) -> None:
        """`counter` is what is asked whether an engine can answer, once it is open."""
        super().__init__()
        self.titles = {name: one_line(title) for name, title in Registry(settings).titles.items()}
        self.engine = settings.engine
        self.mode = settings.mode
        self.progress: Progress | None = None
        """How far a model that is being loaded has come; None while none is."""
        self._counter = counter
        self._told = 0
        """How often something was told."""

    def compose(self) -> ComposeResult:
        """The lines."""
        with Horizontal(id="engines"):
            yield Static(self._names(), id="names", markup=False)
            yield Static(_WORDS[self.mode], id="grounding", markup=False)
        yield Static(tr("opening the catalogue…"), id="state", markup=False)

    def choose(self, engine_id: str) -> None:
        """That engine answers from here on."""
        self.engine = engine_id
        self.query_one("#names", Static).update(self._names())
        self.show_availability()

    def add(self, engine_id: str, title: str) -> None:
        """One more engine, made while the chat runs."""
        self.titles[engine_id] = one_line(title)

    def named(self, name: str) -> str | None:
        """The engine of that id or title, if there is one."""
        wanted = name.casefold()
        both = ((engine_id, title.casefold()) for engine_id, title in self.titles.items())
        return next((one for one, title in both if wanted in (one.casefold(), title)), None)

    def tell_engines(self, name: str) -> None:
        """Say that there is no engine of that name, and which there are."""
        self.tell(
            tr("There is no engine “{name}”: {titles}.", name=name, titles=", ".join(self.titles)),
            bad=True,
        )

    def choose_next(self) -> None:
        """The next engine answers from here on."""
        ids = list(self.titles)
        self.choose(ids[(ids.index(self.engine) + 1) % len(ids)])

    def change_mode(self) -> None:
        """Models see the record, or the question alone."""
        self.mode = Mode.MEMORY if self.mode is Mode.GROUNDED else Mode.GROUNDED
        self.query_one("#grounding", Static).update(_WORDS[self.mode])

    def show_availability(self) -> None:
        """Say whether the chosen engine can answer; looked up afresh, since files come and go.

        What is told meanwhile stays: it is newer, and it may be why something did not work.
        """
        self._show_availability(self._told)

    @work(exclusive=True)
    async def _show_availability(self, told: int) -> None:
        try:
            counter = await asyncio.shield(self._counter)
        except BalcaoError as error:
            self.tell(str(error), bad=True)
            return
        engine = counter.assistant.registry.get(self.engine)
        availability = await asyncio.to_thread(engine.availability)
        if self._told != told:
            return
        if not availability.ready:
            self.tell(
                tr(
                    "Not available: {reason} {remedy}",
                    reason=availability.reason,
                    remedy=availability.remedy,
                ),
                bad=True,
            )
        elif counter.not_saving:
            problem = counter.not_saving
            self.tell(
                tr("Not saving: {why} {remedy}", why=problem.message, remedy=problem.remedy),
                bad=True,
            )
        else:
            self.tell(tr("ready · {count:,} products", count=len(counter.catalogue)))

    def show_progress(self, progress: Progress) -> None:
        """Draw how far loading has come."""
        from engine.chat.wording import progress_words

        self.tell(progress_words(progress))
        self.progress = progress

    def tell(self, state: str, *, bad: bool = False) -> None:
        """Draw a line about the state of things."""
        self.progress = None
        self._told += 1
        line = self.query_one("#state", Static)
        line.set_class(bad, "bad")
        line.update(one_line(state))

    def on_click(self, event: Click) -> None:
        """With the mouse: an engine by its name, the mode by its word."""
        clicked = event.widget.id if event.widget else None
        if clicked == "grounding":
            self.change_mode()
        elif clicked == "names":
            end = self.query_one("#names").content_region.x
            for engine_id, title in self.titles.items():
                end += cell_len(f"{_MARKS[False]} {title}{_BETWEEN}")
                if event.screen_x < end:
                    self.choose(engine_id)
                    break

    def _names(self) -> Content:
        parts: list[str | tuple[str, str]] = []
        for engine_id, title in self.titles.items():
            here = engine_id == self.engine
            # The mark carries the choice where colours do not arrive.
            parts.append((f"{_MARKS[here]} {title}", "bold" if here else "dim"))
            parts.append(_BETWEEN)
        return Content.assemble(*parts)
