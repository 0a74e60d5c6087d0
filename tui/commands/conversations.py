"""Commands about conversations: a new one, one of those before, into a file and out of one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from engine.config import paths
from engine.core.errors import BalcaoError, StoreError, UsageError
from engine.core.i18n import tr
from engine.core.types import Conversation, Problem

if TYPE_CHECKING:
    from engine.store.conversations import ConversationStore
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
        store = await _store(screen)
        page = ConversationsScreen(store, screen.bar.titles)
        chosen = await screen.app.push_screen_wait(page)
        if chosen is not None:
            await screen.show(await asyncio.to_thread(store.open, chosen))
        elif screen.conversation.id in store.deleted:
            await screen.show(Conversation())
    except BalcaoError as error:
        screen.bar.tell(str(error), bad=True)


def export_markdown(screen: ChatScreen) -> None:
    """This conversation as a page to read, in a new file."""
    screen.run_worker(_export(screen, "md"), group="conversations")


def export_json(screen: ChatScreen) -> None:
    """This conversation with everything that is known of it, in a new file."""
    screen.run_worker(_export(screen, "json"), group="conversations")


async def _export(screen: ChatScreen, kind: str) -> None:
    from engine.chat import export as history

    number = screen.conversation.id
    try:
        store = await _store(screen)
        if number is None:
            raise UsageError(tr("There is nothing to export yet: ask something first."))
        file = await asyncio.to_thread(
            history.write_conversation,
            store,
            number,
            screen.bar.titles,
            paths.exports_dir(),
            kind,
        )
    except BalcaoError as error:
        screen.bar.tell(str(error), bad=True)
    else:
        screen.bar.tell(tr("Written to {file}", file=file))


def import_file(screen: ChatScreen, file: str) -> None:
    """Conversations that were exported as JSON; the file is asked for where none is named."""
    screen.run_worker(_import(screen, file), group="conversations")


async def _import(screen: ChatScreen, file: str) -> None:
    from engine.chat import export as history
    from tui.screens.dialogs import InputDialog

    try:
        store = await _store(screen)
        asks = InputDialog(
            tr("Import conversations from"), example=tr("a .json file that was exported")
        )
        named = file.strip()
        if not named:
            typed = await screen.app.push_screen_wait(asks)
            named = typed or ""
        if named:
            screen.bar.tell(tr("importing…"))
            added = await asyncio.to_thread(history.read, store, named)
            screen.bar.tell(history.told(added))
    except BalcaoError as error:
        screen.bar.tell(str(error), bad=True)


async def _store(screen: ChatScreen) -> ConversationStore:
    """Where conversations are kept. Raises BalcaoError with the reason why they are not."""
    counter = await screen.opened()
    store = counter.assistant.store
    if store is None:
        problem = counter.not_saving or Problem(tr("Conversations are not kept."))
        raise StoreError(problem.message, problem.remedy)
    return store
