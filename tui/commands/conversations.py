"""Commands about conversations: a new one, one of those before."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from engine.conversation import Conversation
from engine.errors import BalcaoError

if TYPE_CHECKING:
    from tui.screens.chat import ChatScreen


async def new(screen: ChatScreen) -> None:
    """Begin anew; the conversation so far is kept."""
    await screen.show(Conversation())


def choose(screen: ChatScreen) -> None:
    """Choose one of the conversations so far, and go on with it."""
    screen.run_worker(_choose(screen), group="conversations", exclusive=True)


async def _choose(screen: ChatScreen) -> None:
    from tui.screens.conversations import ConversationsScreen

    try:
        store = (await screen.opened()).assistant.store
        listed = await asyncio.to_thread(store.listed) if store else []
        chosen = await screen.app.push_screen_wait(ConversationsScreen(listed))
        if chosen is not None and store:
            await screen.show(await asyncio.to_thread(store.open, chosen))
    except BalcaoError as error:
        screen.bar.tell(str(error), bad=True)
