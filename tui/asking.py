"""Draws the events of one answer: the only place where the chat reads the assistant's stream."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from engine.events import Answered, Found, Loading, NotSaved, Piece
from engine.types import Mode, Status, StopReason
from tui.widgets.engine_bar import EngineBar
from tui.widgets.turns import AnswerView

if TYPE_CHECKING:
    from engine.assistant import Assistant
    from engine.conversation import Conversation


async def draw_answer(
    assistant: Assistant,
    question: str,
    chosen: tuple[str, Mode],
    conversation: Conversation,
    view: AnswerView,
    bar: EngineBar,
) -> None:
    """Ask, and draw what happens into `view` and `bar`.

    `chosen` is the engine's id and the mode. Cancelling the task cancels the answer: what came
    stays, on the screen and on disk.
    """
    try:
        async with aclosing(assistant.ask(question, *chosen, conversation)) as events:
            async for event in events:
                match event:
                    case Found(decision, verbatim):
                        view.verbatim = verbatim
                        view.tell("not in the catalogue" if decision.status is Status.NONE else "…")
                    case Loading(progress):
                        bar.show_progress(progress)
                        view.tell("loading…")
                    case Piece(text):
                        await view.add(text)
                    case NotSaved(problem):
                        bar.tell(f"Not saved: {problem.message} {problem.remedy}", bad=True)
                    case Answered(answer):
                        await view.finish(answer)
    finally:
        kept = conversation.turns[-1].answer if conversation.turns else None
        if kept is not None and kept.stop_reason is StopReason.CANCELLED:
            await view.finish(kept)
