"""Draws the events of an answer: the only place where the chat reads the assistant's stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING

from engine.core.events import Answered, Event, Found, Loading, NotSaved, Piece
from engine.core.i18n import tr
from engine.core.types import Status
from tui.widgets.engine_bar import EngineBar

if TYPE_CHECKING:
    from engine.core.types import Turn
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
            told = tr("loading: {label}", label=progress.label)
            view.show_status(_WAITING if progress.fraction == _LOADED else told)
        case Piece(text):
            await view.append(text)
        case Answered(answer):
            await view.finish(answer)
        case NotSaved():
            pass


async def draw_answer(
    events: AsyncGenerator[Event], turn: Callable[[], Turn | None], view: AnswerView, bar: EngineBar
) -> bool:
    """Draw what happens into `view` and `bar`; returns whether it could be kept on disk.

    `turn` gives the turn that the answer belongs to once that is there. Cancelling the task
    cancels the answer: what came stays, on the screen and on disk.
    """
    saved = True
    try:
        async with aclosing(events):
            async for event in events:
                await draw(event, view)
                match event:
                    case Loading(progress) if progress.fraction == _LOADED:
                        bar.tell(progress.label)
                    case Loading(progress):
                        bar.show_progress(progress)
                    case NotSaved(problem):
                        saved = False
                        bar.tell(
                            tr(
                                "Not saved: {why} {remedy}",
                                why=problem.message,
                                remedy=problem.remedy,
                            ),
                            bad=True,
                        )
                    case _:
                        pass
    except asyncio.CancelledError:
        # How far loading was, or that one has to wait, holds no longer.
        bar.show_availability()
        raise
    finally:
        ended = turn()
        # While the chat ends there may be no place for it any more.
        if ended and ended.answer and not view.is_finished and view.query(".about"):
            await view.finish(ended.answer)
    return saved
