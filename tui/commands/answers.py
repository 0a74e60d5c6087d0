"""Commands about answers: who gives them, on what they rest, what becomes of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
