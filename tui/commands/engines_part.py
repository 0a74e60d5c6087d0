"""Commands about engines: see them all, choose one, load and unload it, change its parameters."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from engine.core.errors import BalcaoError

if TYPE_CHECKING:
    from tui.screens.chat import ChatScreen


def pick(screen: ChatScreen) -> None:
    """Open the page of engines."""
    screen.run_worker(_pick(screen), group="engines", exclusive=True)


async def _pick(screen: ChatScreen) -> None:
    from tui.screens.engines import EnginesScreen

    try:
        registry = (await screen.opened()).assistant.registry
    except BalcaoError as error:
        screen.bar.tell(str(error), bad=True)
        return
    chosen = await screen.app.push_screen_wait(EnginesScreen(screen, registry))
    if chosen is None:
        screen.bar.show_availability()
    else:
        screen.bar.choose(chosen)


async def load(screen: ChatScreen, engine_id: str) -> None:
    """Load an engine now, so that the next question need not wait; cancelled by cancelling it."""
    engine = (await screen.opened()).assistant.registry.get(engine_id)
    try:
        async with aclosing(engine.load()) as steps:
            async for step in steps:
                screen.bar.show_progress(step)
    except BalcaoError as error:
        screen.bar.tell(str(error), bad=True)
    else:
        screen.bar.show_availability()
