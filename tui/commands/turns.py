"""Commands about one turn: the one that is selected, or else the last."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from engine.core.errors import BalcaoError, StoreError
from engine.core.i18n import tr
from engine.core.types import Mode, Turn
from tui.widgets.drawing import draw_answer
from tui.widgets.turns import RecordRequested, answer_title

if TYPE_CHECKING:
    from tui.screens.chat import ChatScreen

_NONE_YET = tr("There is no question here yet.")
_HELD = tr(
    "Turn {place} of {count}: copy, record, again, edit and fork act on it. Escape lets it go."
)


def meant(screen: ChatScreen) -> tuple[int, Turn] | None:
    """The turn that commands act on, and its place."""
    turns = screen.conversation.turns
    if not turns:
        return None
    place = len(turns) - 1 if screen.selected is None else screen.selected
    return place, turns[place]


def select_previous(screen: ChatScreen) -> None:
    """The turn above; from none the last one, from the first one none."""
    last = len(screen.conversation.turns) - 1
    place = last if screen.selected is None else screen.selected - 1
    _select(screen, place if place >= 0 else None)


def select_next(screen: ChatScreen) -> None:
    """The turn below; from none the first one, from the last one none."""
    place = 0 if screen.selected is None else screen.selected + 1
    _select(screen, place if place < len(screen.conversation.turns) else None)


def let_go(screen: ChatScreen) -> None:
    """Edit no question and select no turn any more."""
    if screen.editing is not None:
        screen.editing = None
        screen.composer.clear()
        _select(screen, None)
    elif screen.selected is not None:
        _select(screen, None)


def record(screen: ChatScreen) -> None:
    """The record that the answer rests on; of no turn in particular: of the last that has one."""
    hits = [turn.answer.sources if turn.answer else () for turn in screen.conversation.turns]
    if screen.selected is not None:
        hits = [hits[screen.selected]]
    found = next((some for some in reversed(hits) if some), None)
    if found:
        screen.post_message(RecordRequested(found))
    else:
        screen.bar.tell(tr("No answer here rests on a record yet."))


def copy(screen: ChatScreen) -> None:
    """The answer's words."""
    texts = [turn.answer.text for turn in screen.conversation.turns if turn.answer]
    chosen = meant(screen)
    if screen.selected is not None and chosen:
        texts = [chosen[1].answer.text] if chosen[1].answer else []
    if texts and texts[-1]:
        screen.app.copy_to_clipboard(texts[-1])
    else:
        screen.bar.tell(tr("There is no answer to copy yet."))


def copy_record(screen: ChatScreen) -> None:
    """The description that the answer rests on, as the counter quotes it."""
    chosen = meant(screen)
    answer = chosen[1].answer if chosen else None
    if answer and answer.sources:
        screen.app.copy_to_clipboard(answer.sources[0].product.description)
    else:
        screen.bar.tell(tr("This answer rests on no record."))


def regenerate(screen: ChatScreen, engine: str) -> None:
    """One more answer to the turn's question: by that engine, or by the one chosen now."""
    chosen = meant(screen)
    engine_id = screen.bar.named(engine) if engine else screen.bar.engine
    if chosen is None or screen.is_answering:
        screen.bar.tell(tr("Still answering. Escape stops it.") if chosen else _NONE_YET)
    elif engine_id is None:
        screen.bar.tell_engines(engine)
    else:
        screen.answer(_again(screen, *chosen, (engine_id, screen.bar.mode)))


async def _again(screen: ChatScreen, place: int, turn: Turn, contestant: tuple[str, Mode]) -> None:
    from engine.chat.again import ask_again

    bar, pane, before = screen.bar, screen.pane, len(turn.answers)
    view = await pane.begin_answer(
        place, answer_title(bar.titles[contestant[0]], before + 1, before + 1)
    )
    view.show_status(tr("looking it up…"))
    problem = ""
    try:
        assistant = (await screen.opened()).assistant
        events = ask_again(assistant, turn, *contestant, screen.conversation)
        saved = await draw_answer(events, lambda: _grown(turn, before), view, bar)
        if saved:
            bar.show_availability()
    except BalcaoError as error:
        problem = str(error)
    finally:
        if len(turn.answers) == before:
            # Nothing came: the answer before stays, and why nothing came is told.
            problem = problem or view.problem
            await pane.redraw(place, turn, bar.titles)
    if problem:
        bar.tell(problem, bad=True)


def _grown(turn: Turn, before: int) -> Turn | None:
    return turn if len(turn.answers) > before else None


async def next_answer(screen: ChatScreen) -> None:
    """Another of the turn's answers: the conversation goes on from it."""
    await _switch(screen, 1)


async def previous_answer(screen: ChatScreen) -> None:
    """The same the other way round."""
    await _switch(screen, -1)


async def _switch(screen: ChatScreen, step: int) -> None:
    chosen = meant(screen)
    if chosen is None or screen.is_answering:
        return
    place, turn = chosen
    count = len(turn.answers)
    if count < 2:  # noqa: PLR2004 - an answer and another
        screen.bar.tell(
            tr("This question has one answer. Ctrl+R asks it again, of the engine chosen.")
        )
        return
    turn.choose((turn.place + step) % count)
    await screen.pane.redraw(place, turn, screen.bar.titles)
    store = (await screen.opened()).assistant.store
    if store and turn.id is not None:
        try:
            await asyncio.to_thread(store.choose, turn.id, turn.place)
        except StoreError as error:
            screen.bar.tell(tr("Not saved: {error}", error=error), bad=True)


def edit(screen: ChatScreen) -> None:
    """The turn's question into the composer; sent, it is asked in a fork that ends before it."""
    chosen = meant(screen)
    if chosen is None or screen.is_answering:
        screen.bar.tell(tr("Still answering. Escape stops it.") if chosen else _NONE_YET)
        return
    # The mark stays beside the question for as long as it is edited.
    _mark(screen, chosen[0])
    screen.editing = chosen[0]
    screen.composer.replace_text(chosen[1].question)
    screen.composer.focus()
    screen.bar.tell(
        tr(
            "Editing question {chosen}. Enter goes on from there in a new conversation; "
            "the one so far is kept. Escape leaves it.",
            chosen=chosen[0] + 1,
        )
    )


async def fork(screen: ChatScreen) -> None:
    """Go on in a copy of the conversation that ends with the turn."""
    chosen = meant(screen)
    if chosen is None:
        screen.bar.tell(_NONE_YET)
        return
    await fork_at(screen, chosen[0] + 1)
    screen.bar.tell(
        tr(
            "A fork of {chosen} turns: the conversation so far is kept, and you go on here.",
            chosen=chosen[0] + 1,
        )
    )


async def fork_at(screen: ChatScreen, turns: int) -> None:
    """Show a copy of the conversation's first `turns` turns, and go on in it."""
    from engine.chat.again import fork as forked

    await screen.cancel()
    store = (await screen.opened()).assistant.store
    await screen.show(await asyncio.to_thread(forked, store, screen.conversation, turns))


def _select(screen: ChatScreen, place: int | None) -> None:
    if not screen.conversation.turns:
        screen.bar.tell(_NONE_YET)
        return
    _mark(screen, place)
    if place is None:
        screen.bar.show_availability()
    else:
        count = len(screen.conversation.turns)
        screen.bar.tell(_HELD.format(place=place + 1, count=count))


def _mark(screen: ChatScreen, place: int | None) -> None:
    if screen.selected != place:
        screen.selected = place
        screen.pane.select(place)
