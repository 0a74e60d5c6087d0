"""The tour: four key presses (ask, switch, from memory, compare), a line above the composer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from msgspec import Struct
from textual.content import Content
from textual.screen import Screen
from textual.widgets import Static

from engine.config import paths
from engine.core.errors import BalcaoError
from engine.core.files import write_atomic
from engine.core.i18n import tr
from engine.core.text import one_line
from engine.core.types import Mode
from tui import keys

if TYPE_CHECKING:
    from engine.backends.base import Engine
    from engine.chat.open import Resources
    from engine.chat.session import Session
    from tui.commands.actions import ScreenView

_INTERVAL = 0.1
"""Seconds between two looks whether a key was pressed and its answer is there."""
_MAX_TITLE = 60
_PAGES = {"compare": "CompareScreen", "record": "RecordScreen"}
"""The page that a key opens; the tour goes on when it is closed."""


class Step(Struct, frozen=True):
    """A key to press: the name of its command, what it does, and what came of the one before."""

    command: str
    does: str
    before: str = ""


class Route(Struct, frozen=True):
    """What the tour shows: a product, and the engine that is switched to, if one is ready."""

    title: str
    engine: str = ""
    steps: tuple[Step, ...] = ()


def route_of(session: Session, resources: Resources) -> Route | None:
    """Plan a tour with what is there; None without a product. May take a second."""
    known = resources.trained_titles(1, session.engine)
    title = known[0] if known else next((one.title for one in resources.catalogue.examples()), "")
    if not title:
        return None
    engines = [resources.registry.get(one) for one in resources.registry.ids]
    models = [one for one in engines if not one.verbatim and one.availability().ready]
    models.sort(key=lambda one: title not in _taught(one))
    if not models:
        return Route(title, "", tuple(_steps(title, "", 0)))
    chosen = models[0].info.id
    return Route(title, chosen, tuple(_steps(title, session.titles[chosen], len(models))))


def _taught(engine: Engine) -> Sequence[str]:
    trained = engine.trained_on()
    return trained.titles if trained else ()


def _first(engines: Sequence[Engine]) -> Engine:
    """Return the catalogue, or what else quotes it."""
    return next((one for one in engines if one.verbatim), engines[0])


def _steps(title: str, engine: str, models: int) -> Iterator[Step]:
    yield Step("submit", tr("ask “{title}”", title=one_line(title, _MAX_TITLE)))
    if not engine:
        before = tr("That is its description, word for word. No model is set up here: see F9.")
        yield Step("record", tr("open its record"), before)
        return
    before = tr("That is its description, word for word.")
    does = tr("switch to {engine}, a language model", engine=engine)
    yield Step("next_engine", does, before)
    before = tr("It saw the description. Below: how much of it is kept.")
    yield Step("mode", tr("ask it from memory"), before)
    before = tr("Now it saw only your question.")
    if models > 1:
        yield Step("compare", tr("compare all engines"), before)
    else:
        yield Step("compare", tr("compare it with the catalogue"), before)


def is_to_offer(session: Session, resources: Resources) -> bool:
    """Return whether there is a model to show and no offer before, and note that there is one."""
    file = paths.data_dir() / "tour-offered"
    route = None if file.exists() else route_of(session, resources)
    if route is None or not route.engine:
        return False
    with suppress(OSError):
        write_atomic(file, b"", private=True)
        return True
    return False


class TourLine(Static):
    """Which key to press next; it watches the session, and asks again where a key alone does not.

    At its end the engine and the mode are those from before.
    """

    def __init__(self, view: ScreenView, session: Session, route: Route) -> None:
        super().__init__(id="tour", markup=False)
        self._chat, self._session, self._route = view, session, route
        self._before = session.engine, session.mode
        self._last = session.turn[1] if session.turn else None
        self._place, self._drawn = 0, -1
        self._is_page_open = False
        self._quoting = ""

    def on_mount(self) -> None:
        registry = self._session.registry
        engines = [registry.get(one) for one in registry.ids]
        self._session.engine = self._quoting = _first(engines).info.id
        self._session.set_mode(Mode.GROUNDED)
        self._show_session()
        self._chat.edit(self._route.title)
        self.set_interval(_INTERVAL, self._look)

    def leave(self) -> None:
        """End the tour; what was asked stays."""
        session = self._session
        session.engine, session.mode = self._before
        self._show_session()
        if self._place == 0 and self._chat.draft == self._route.title:
            self._chat.clear_draft()
        self._chat.report(tr("/tour shows the tour again."))
        self.remove()

    def _show_session(self) -> None:
        self._chat.show_engine()
        self._chat.show_mode()

    async def _look(self) -> None:
        """Go on once the key of this step was pressed and what it does is over."""
        if self._chat.is_answering or not self.is_attached:
            return
        if self._place == len(self._route.steps):
            self.leave()
        elif self._drawn != self._place:
            self._draw()
        elif self._is_pressed():
            if self._step.command in ("next_engine", "mode"):
                await self._ask_again()
            self._place += 1

    @property
    def _step(self) -> Step:
        return self._route.steps[self._place]

    def _is_pressed(self) -> bool:
        session = self._session
        match self._step.command:
            case "submit":
                return session.turn is not None and session.turn[1] is not self._last
            case "next_engine":
                if session.engine == self._quoting:
                    return False
                # The key selects the next engine; the tour goes on to the one that it is about.
                session.engine = self._route.engine
                self._show_session()
                return True
            case "mode":
                return session.mode is Mode.MEMORY
            case command:
                is_here = self.app.screen is self.screen
                self._is_page_open |= type(self.app.screen).__name__ == _PAGES[command]
                return is_here and self._is_page_open

    async def _ask_again(self) -> None:
        session = self._session
        if session.turn:
            self.update(Content.styled("…", "dim"))
            await self._chat.answer_again(*session.turn, session.engine)

    def _draw(self) -> None:
        self._drawn = self._place
        step, count = self._step, len(self._route.steps)
        pressed = keys.pressed(step.command, self._session.settings.keys)
        press = tr("Press {key}: {does}", key=pressed.title(), does=step.does)
        lines = [Content.styled(step.before, "dim")] if step.before else []
        hint = tr("Esc leaves")
        place = f"  {self._place + 1}/{count} · {hint}"
        lines.append(Content.assemble((press, "bold"), (place, "dim")))
        self.update(Content("\n").join(lines))


async def show_tour(screen: Screen[None], view: ScreenView, session: Session) -> None:
    """Begin the tour, or begin it again."""
    try:
        resources = await session.ready()
        route = await asyncio.to_thread(route_of, session, resources)
    except BalcaoError as error:
        view.report(str(error), error=True)
        return
    if route is None:
        view.report(tr("The catalogue has no product to show."))
        return
    for line in screen.query(TourLine):
        await line.remove()
    await view.cancel()
    await screen.mount(TourLine(view, session, route), before="#composer-panel")
