"""Commands about answers: who gives them, on what they rest, what becomes of them."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from engine.core.errors import BalcaoError
from engine.core.i18n import tr
from tui.commands import turns

if TYPE_CHECKING:
    from tui.screens.chat import ChatScreen


def next_engine(screen: ChatScreen) -> None:
    """The next engine answers from here on; draft and conversation stay as they are."""
    screen.bar.choose_next()


def engine(screen: ChatScreen, name: str) -> None:
    """The engine of that name, by id or title, answers from here on; without one, the next."""
    found = screen.bar.named(name)
    if not name:
        screen.bar.choose_next()
    elif found:
        screen.bar.choose(found)
    else:
        screen.bar.tell_engines(name)


def mode(screen: ChatScreen) -> None:
    """Models see the record, or the question alone."""
    screen.bar.change_mode()


def compare(screen: ChatScreen, question: str) -> None:
    """A question, else the draft, else the last question, to every engine that is ready."""
    screen.run_worker(_compare(screen, question), group="compare", exclusive=True)


async def _compare(screen: ChatScreen, question: str) -> None:
    meant = turns.meant(screen)
    question = question or screen.composer.question or (meant[1].question if meant else "")
    if screen.is_answering:
        screen.bar.tell(tr("Still answering. Escape stops it."))
        return
    if not question or not screen.counter.done():
        screen.bar.tell(tr("F3 puts a question to every engine that is ready: type one, or wait."))
        return
    if screen.counter.exception():
        screen.bar.show_availability()
        return
    from tui.screens.compare import CompareScreen

    screen.composer.accept()
    assistant = screen.counter.result().assistant
    comparison = CompareScreen(
        assistant, screen.conversation, question, screen.bar.mode, screen.bar.titles
    )
    await screen.app.push_screen_wait(comparison)
    await screen.show(screen.conversation)


async def cancel(screen: ChatScreen) -> None:
    """Stop the answer that is coming; else leave the question that is edited, or the turn."""
    if screen.is_answering:
        await screen.cancel()
    else:
        turns.let_go(screen)


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
        chosen = settings.load()
        registry = (await screen.opened()).assistant.registry
    except BalcaoError as error:
        screen.bar.tell(str(error), bad=True)
        return
    if made not in registry.ids:
        registry.add(made, chosen)
        screen.bar.add(made, registry.titles[made])
    screen.bar.choose(made)


def help_page(screen: ChatScreen) -> None:
    """Open the page of keys."""
    from tui.screens.dialogs import HelpScreen

    screen.app.push_screen(HelpScreen(screen.settings.keys))


def scroll_up(screen: ChatScreen) -> None:
    """A page up, without leaving the composer."""
    screen.pane.scroll_page_up(animate=False)


def scroll_down(screen: ChatScreen) -> None:
    """A page down, without leaving the composer."""
    screen.pane.scroll_page_down(animate=False)


def marks(screen: ChatScreen) -> None:
    """Mark which words of the answers are the record's, or no longer."""
    from tui.widgets.turns import toggle_marks

    screen.bar.tell(toggle_marks(screen.pane))


async def leave(screen: ChatScreen) -> None:
    """Leave the chat; what came is kept."""
    await screen.app.run_action("quit")
