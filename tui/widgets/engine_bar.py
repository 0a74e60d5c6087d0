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

from engine.backends.base import Engine
from engine.chat.session import Session
from engine.core.errors import BalcaoError
from engine.core.i18n import tr
from engine.core.text import one_line
from engine.core.types import Mode, Progress

_MARKS = {True: "●", False: "○"}
_BETWEEN, _PART = "  ", " · "
_MODES = {
    Mode.QUOTE: tr("quote"),
    Mode.GROUNDED: tr("grounded"),
    Mode.MEMORY: tr("from memory"),
}


class EngineBar(Vertical):
    """Draws the session's engines and mode; a click changes them."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._reports = 0
        self._sentence = tr("opening the catalogue…")
        self._shown: list[tuple[str, Content]] = []
        """Ids and names of the engines that are visible; dots have no id."""

    def compose(self) -> ComposeResult:
        with Horizontal(id="engines"):
            yield Static(self._visible_names(), id="names", markup=False)
            yield Static(_MODES[self._session.shown_mode], id="grounding", markup=False)
        yield Static(self._sentence, id="state", markup=False)

    def choose(self, engine_id: str) -> None:
        self._session.engine = engine_id
        self.show_engine()

    def show_engine(self) -> None:
        """Draw the active engine and look up whether it is ready."""
        self.show_mode()
        self.show_availability()

    def show_mode(self) -> None:
        self.query_one("#grounding", Static).update(_MODES[self._session.shown_mode])
        self._show_names()

    def on_resize(self) -> None:
        self._show_names()
        self._show_sentence()

    def show_availability(self) -> None:
        """Look up whether the active engine is ready, unless something newer is reported."""
        self._show_availability(self._reports)

    async def preload(self) -> None:
        """Load the active engine before a question comes, and show that it loads."""
        engine = self._session.registry.get(self._session.engine)
        if engine.loaded or not (await asyncio.to_thread(engine.availability)).ready:
            return
        if self._session.resources:
            self.report(_loading(engine))
        await self._session.preload()
        if self._sentence == one_line(_loading(engine)):
            self.show_availability()

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
        if engine.facts().loading:
            return _loading(engine), True
        if elsewhere := resources.elsewhere(self._session.engine):
            return elsewhere, True
        return tr("ready · {count:,} products", count=len(resources.catalogue)), True

    def show_progress(self, progress: Progress) -> None:
        from engine.chat.wording import progress_words

        self.report(progress_words(progress))

    def report(self, sentence: str, *, error: bool = False, seconds: float = 0) -> None:
        """Show a sentence until the next one, or for some seconds."""
        self._reports += 1
        if seconds:
            self.set_timer(seconds, partial(self._show_availability, self._reports))
        self._sentence = one_line(sentence)
        self.query("#state").set_class(error, "bad")
        self._show_sentence()

    def _show_sentence(self) -> None:
        for line in self.query("#state").results(Static):  # none while the chat ends
            is_hint = not line.has_class("bad")
            width = self.content_size.width if is_hint else 0
            line.update(_fitting(self._sentence, width))

    def on_click(self, event: Click) -> None:
        clicked = event.widget.id if event.widget else None
        if clicked == "grounding":
            self._session.set_mode()
            self.show_mode()
        elif clicked == "names":
            end = self.query_one("#names").content_region.x
            for engine_id, name in self._shown:
                end += name.cell_length
                if event.screen_x < end:
                    if engine_id:
                        self.choose(engine_id)
                    break

    def _show_names(self) -> None:
        for names in self.query("#names").results(Static):
            names.update(self._visible_names())

    def _visible_names(self) -> Content:
        width = self.app.size.width - cell_len(_MODES[self._session.shown_mode]) - _MARGINS
        self._shown = _around(self._names(), self._session.engine, width)
        return Content("").join(name for _, name in self._shown).rstrip()

    def _names(self) -> list[tuple[str, Content]]:
        """Return the engines' ids and names; a mark shows the active one without colours too."""
        names = []
        for engine_id, title in self._session.titles.items():
            here = engine_id == self._session.engine
            name = Content.styled(f"{_MARKS[here]} {title}", "bold" if here else "dim")
            names.append((engine_id, name + _BETWEEN))
        return names


def _loading(engine: Engine) -> str:
    return tr("loading {title}…", title=engine.info.title)


_MARGINS = 3
"""Columns beside the engines and the mode (app.tcss)."""
_MORE = ("", Content.styled(f"…{_BETWEEN}", "dim"))


def _around(
    names: list[tuple[str, Content]], engine_id: str, width: int
) -> list[tuple[str, Content]]:
    """Return as many names as fit, that of the engine among them, and dots for the others."""
    here = next((at for at, (each, _) in enumerate(names) if each == engine_id), 0)
    parts = [
        _with_dots(names, first, last)
        for first in range(here + 1)
        for last in range(len(names), here, -1)
    ]
    fitting = (part for part in parts if _columns(part) <= width)
    default = names[here : here + 1]
    return max(fitting, key=lambda part: len(part) - part.count(_MORE), default=default)


def _with_dots(
    names: list[tuple[str, Content]], first: int, last: int
) -> list[tuple[str, Content]]:
    return [_MORE] * (first > 0) + names[first:last] + [_MORE] * (last < len(names))


def _columns(names: list[tuple[str, Content]]) -> int:
    return sum(name.cell_length for _, name in names) - len(_BETWEEN)


def _fitting(sentence: str, width: int) -> str:
    """Leave out what would begin another line: parts after a “·”, or the middle of a path."""
    while width and cell_len(sentence) > width and _PART in sentence:
        sentence = sentence.rpartition(_PART)[0]
    folder, _, name = sentence.rpartition("/")
    if width and cell_len(sentence) > width and "/" in folder:
        return f"{folder[: max(width - cell_len(name) - 2, folder.index('/'))]}…/{name}"
    return sentence
