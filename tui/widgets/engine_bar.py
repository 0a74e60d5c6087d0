"""Show the engines, the active engine and mode, and one line about the state of the chat."""

from __future__ import annotations

import asyncio
from functools import partial

from rich.cells import cell_len
from textual import work
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.events import Click
from textual.widgets import Static

from engine.chat.session import Session
from engine.core.errors import BalcaoError
from engine.core.i18n import tr
from engine.core.text import one_line
from engine.core.types import Mode, Progress

_MARKS = {True: "●", False: "○"}
_BETWEEN = "  "
_MODES = {Mode.GROUNDED: tr("grounded"), Mode.MEMORY: tr("from memory")}


class EngineBar(Vertical):
    """Draws the session's engines and mode; a click changes them."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._reports = 0

    def compose(self) -> ComposeResult:
        with Horizontal(id="engines"):
            yield Static(self._names(), id="names", markup=False)
            yield Static(_MODES[self._session.mode], id="grounding", markup=False)
        yield Static(tr("opening the catalogue…"), id="state", markup=False)

    def choose(self, engine_id: str) -> None:
        self._session.engine = engine_id
        self.show_engine()

    def show_engine(self) -> None:
        """Draw the active engine and look up whether it is ready."""
        self.query_one("#names", Static).update(self._names())
        self.show_availability()

    def show_mode(self) -> None:
        self.query_one("#grounding", Static).update(_MODES[self._session.mode])

    def show_availability(self) -> None:
        """Look up whether the active engine is ready, unless something newer is reported."""
        self._show_availability(self._reports)

    @work(exclusive=True)
    async def _show_availability(self, reports: int) -> None:
        try:
            state, ready = await self._state()
        except BalcaoError as error:  # also if the catalogue is closed while the chat ends
            state, ready = str(error), False
        if self._reports == reports:
            self.report(state, error=not ready)

    async def _state(self) -> tuple[str, bool]:
        resources = await self._session.ready()
        engine = resources.registry.get(self._session.engine)
        availability = await asyncio.to_thread(engine.availability)
        if not availability.ready:
            reason, remedy = availability.reason, availability.remedy
            return tr("Not available: {reason} {remedy}", reason=reason, remedy=remedy), False
        problem = resources.not_saving
        if problem:
            why, remedy = problem.message, problem.remedy
            return tr("Not saving: {why} {remedy}", why=why, remedy=remedy), False
        return tr("ready · {count:,} products", count=len(resources.catalogue)), True

    def show_progress(self, progress: Progress) -> None:
        from engine.chat.wording import progress_words

        self.report(progress_words(progress))

    def report(self, sentence: str, *, error: bool = False, seconds: float = 0) -> None:
        """Show a sentence until the next one, or for some seconds."""
        self._reports += 1
        if seconds:
            self.set_timer(seconds, partial(self._show_availability, self._reports))
        for line in self.query("#state").results(Static):  # none while the chat ends
            line.set_class(error, "bad")
            line.update(one_line(sentence))

    def on_click(self, event: Click) -> None:
        clicked = event.widget.id if event.widget else None
        if clicked == "grounding":
            self._session.set_mode()
            self.show_mode()
        elif clicked == "names":
            end = self.query_one("#names").content_region.x
            for engine_id, title in self._session.titles.items():
                end += cell_len(f"{_MARKS[False]} {title}{_BETWEEN}")
                if event.screen_x < end:
                    self.choose(engine_id)
                    break

    def _names(self) -> Content:
        names = Content()
        for engine_id, title in self._session.titles.items():
            here = engine_id == self._session.engine
            # The mark shows the choice in terminals without colours.
            names += Content.styled(f"{_MARKS[here]} {title}", "bold" if here else "dim") + _BETWEEN
        return names
