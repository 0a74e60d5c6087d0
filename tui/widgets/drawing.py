"""Draw the events of an answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING

from engine.core.i18n import tr
from engine.core.types import Answered, Event, Found, Loading, NotSaved, Piece, Status
from tui.widgets.engine_bar import EngineBar

if TYPE_CHECKING:
    from engine.chat.session import Session
    from tui.widgets.turns import AnswerView

_WAITING = "…"
_LOADED = 1.0


async def draw(event: Event, view: AnswerView) -> None:
    """Draw one event into the view of its answer."""
    match event:
        case Found(decision, verbatim):
            view.verbatim = verbatim
            view.show_status(
                tr("not in the catalogue") if decision.status is Status.NONE else _WAITING
            )
        case Loading(progress):
            loading = tr("loading: {label}", label=progress.label)
            view.show_status(_WAITING if progress.fraction == _LOADED else loading)
        case Piece(text):
            await view.append(text)
        case Answered(answer):
            await view.finish(answer)
        case NotSaved():
            pass


async def draw_answer(
    events: AsyncGenerator[Event], session: Session, view: AnswerView, bar: EngineBar
) -> bool:
    """Draw the events into `view` and `bar`; return whether the answer was saved.

    Cancelling the task cancels the answer: its text so far stays, on the screen and on disk.
    """
    saved = True
    try:
        async with aclosing(events):
            async for event in events:
                await draw(event, view)
                saved = _report(event, bar) and saved
    except asyncio.CancelledError:
        # The bar still shows how far loading was, or that it has to wait.
        bar.show_availability()
        raise
    finally:
        # The view may have lost its parts while the chat ends.
        if session.answer and not view.is_finished and view.query(".about"):
            await view.finish(session.answer)
    return saved


def _report(event: Event, bar: EngineBar) -> bool:
    """Show loading and saving problems in the bar; return whether saving works."""
    match event:
        case Loading(progress) if progress.fraction == _LOADED:
            bar.report(progress.label)
        case Loading(progress):
            bar.show_progress(progress)
        case NotSaved(problem):
            bar.report(
                tr("Not saved: {why} {remedy}", why=problem.message, remedy=problem.remedy),
                error=True,
            )
            return False
        case _:
            pass
    return True
