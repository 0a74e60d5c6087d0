"""Helpers that drive the real app: type, wait, and read the screen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from textual._context import visible_screen_stack
from textual.pilot import Pilot
from textual.widgets import Static
from textual.widgets._footer import FooterKey

from engine.config import settings
from tests.engine.backends.openai.server import Server
from tui.app import BalcaoApp
from tui.screens.chat import ChatScreen
from tui.widgets.composer import Composer
from tui.widgets.turns import AnswerView


@asynccontextmanager
async def chat(
    catalogue: Path, size: tuple[int, int] = (80, 24), *, go_on: bool = False, **flags: object
) -> AsyncIterator[Pilot[None]]:
    """Run the real app on a catalogue, ready for questions."""
    chosen = settings.load(Path("none"), {}, {"catalogue": catalogue, **flags})
    async with BalcaoApp(chosen, go_on=go_on).run_test(size=size) as pilot:
        await until_open(pilot)
        yield pilot


async def until_open(pilot: Pilot[None]) -> None:
    """Wait until the catalogue is open or has failed."""
    await until(lambda: bool(state(pilot)) and "opening" not in state(pilot))
    # The welcome checks the engines after that.
    await until(lambda: not any("…" in text for text in words(pilot, "#works")))


async def until(holds: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - what is waited for is on a screen, not in an event
            await asyncio.sleep(0.01)


async def still(pilot: Pilot[None]) -> None:
    """Wait until the screen has not changed for 0.2 seconds."""
    app, before = pilot.app, None
    while True:
        # Else Textual renders the screens below a modal one as blank.
        visible_screen_stack.set(app._background_screens)
        now = app.screen._compositor.render_strips(app.size)
        if now == before:
            return
        before = now
        await pilot.pause(0.2)


def words(pilot: Pilot[None], selector: str) -> list[str]:
    """Return what the matching widgets show."""
    return [str(widget.render()) for widget in pilot.app.screen.query(selector).results(Static)]


def remote(server: Server, **flags: Any) -> dict[str, Any]:
    """Return settings with the server as an engine, for `chat`."""
    row = {"model": "m", "base_url": server.url, "max_retries": 0}
    return {"engines": {"openai": row}, **flags}


def state(pilot: Pilot[None]) -> str:
    """Return the status line."""
    return "".join(words(pilot, "#state"))


async def order(pilot: Pilot[None], command: str) -> None:
    """Send a slash command, inserted at once: single keys take time."""
    pilot.app.screen.query_one(Composer).insert(command)
    await pilot.press("enter")


async def send(pilot: Pilot[None], question: str) -> AnswerView:
    """Send a question and return the view of its answer."""
    before = len(pilot.app.screen.query(AnswerView))
    pilot.app.screen.query_one(Composer).insert(question)
    await pilot.press("enter")
    await until(lambda: len(pilot.app.screen.query(AnswerView)) > before)
    return list(pilot.app.screen.query(AnswerView))[-1]


async def ask(pilot: Pilot[None], question: str) -> AnswerView:
    """Send a question and wait for the complete answer."""
    view = await send(pilot, question)
    await until(lambda: view.is_finished and "…" not in about(view))
    # Its last line is drawn before the chat accepts the next question.
    screen = pilot.app.screen
    await until(lambda: not (isinstance(screen, ChatScreen) and screen.is_answering))
    await pilot.pause()
    return view


def about(view: AnswerView) -> str:
    """Return the line about an answer."""
    return str(view.query_one(".about", Static).render())


def said(view: AnswerView) -> str:
    """Return the text of a catalogue answer."""
    parts = view.query(".words, .choices Static").results(Static)
    return "\n".join(str(part.render()) for part in parts)


def footer(pilot: Pilot[None]) -> dict[str, str]:
    """Return the footer's keys and descriptions, except for the palette."""
    keys = [key for key in pilot.app.screen.query(FooterKey) if key.key != "ctrl+p"]
    return {key.key: key.description for key in keys}
