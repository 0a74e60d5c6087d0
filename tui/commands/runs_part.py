"""The command about training runs: see them, have one's adapter answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.core.errors import BalcaoError

if TYPE_CHECKING:
    from tui.screens.chat import ChatScreen


def see(screen: ChatScreen) -> None:
    """Open the page of runs."""
    screen.run_worker(_see(screen), group="runs", exclusive=True)


async def _see(screen: ChatScreen) -> None:
    from tui.screens.runs import RunsScreen

    made = await screen.app.push_screen_wait(RunsScreen())
    if made is None:
        return
    from engine.config import settings

    try:
        row = settings.load().engines[made]
        registry = (await screen.opened()).assistant.registry
    except BalcaoError as error:
        screen.bar.tell(str(error), bad=True)
        return
    if made not in registry.ids:
        registry.add(made, row)
        screen.bar.add(made, settings.shown_title(row))
    screen.bar.choose(made)
