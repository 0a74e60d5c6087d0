"""Run the commands: functions of the session, the front end and the typed argument."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from engine.chat.session import Session
from engine.config import paths
from engine.core.errors import StoreError, UsageError
from engine.core.i18n import tr
from engine.core.text import number_up_to, one_line
from engine.core.types import Answer, Hit, Mode, Turn


class View(Protocol):
    """A front end of one session: the full-screen chat, or the plain one."""

    @property
    def only_answer(self) -> str:
        """The sentence for a turn without another answer to switch to."""

    @property
    def is_answering(self) -> bool:
        """Whether an answer is still arriving."""

    @property
    def draft(self) -> str:
        """The question in the composer, or an empty string."""

    def report(self, sentence: str, *, error: bool = False) -> None:
        """Show one sentence."""

    def show_engine(self) -> None:
        """Show the active engine, and whether it is ready."""

    def show_mode(self) -> None:
        """Show the active mode."""

    async def choose_engine(self) -> None:
        """Let the user choose an engine without naming it."""

    async def show(self) -> None:
        """Draw the session's conversation instead of the one before."""

    async def show_turn(self, index: int) -> None:
        """Draw the selected answer of a turn."""

    async def show_thinking(self, index: int) -> bool:
        """Open or close what is folded in a turn's answer; return whether there is anything."""

    def show_record(self, hits: tuple[Hit, ...], *, original: bool = False) -> None:
        """Show the records, as cleaned or as in the data set."""

    async def answer_again(self, index: int, turn: Turn, engine_id: str) -> None:
        """Draw one more answer to a turn."""

    async def compare(self, question: str, turn: Turn | None) -> None:
        """Draw the answers of all ready engines to a question, or else to that of a turn."""

    async def open_page(self, page: str, argument: str = "") -> None:
        """Show "help", "engines", "runs", "history" or "browse"; `argument` narrows the page."""

    def copy(self, text: str) -> None:
        """Copy a text to the clipboard."""

    async def cancel(self) -> None:
        """Stop the answer that is arriving and wait until its text is saved."""

    async def leave(self) -> None:
        """End the chat."""


class ScreenView(View, Protocol):
    """A front end that draws a whole screen and moves around in it."""

    def select(self, index: int | None) -> None:
        """Mark a turn and no other; without one, show whether the active engine is ready."""

    def edit(self, question: str | None) -> None:
        """Put a question into the composer; None empties it."""

    async def ask_for_line(self, heading: str, example: str) -> str:
        """Let the user type a line; empty if cancelled."""

    def scroll(self, direction: str) -> None:
        """Scroll the conversation: "page_up", "page_down", "home" or "end"."""

    async def tour(self) -> None:
        """Show which keys to press, one after the other."""

    def leave_tour(self) -> bool:
        """End the tour; return whether there was one."""

    async def find(self, text: str) -> None:
        """Let the user find a text in the conversation; again, go to the next place."""

    def toggle_marks(self) -> None:
        """Mark the record's words in the answers, or stop marking them."""

    def copy_selected(self) -> bool:
        """Copy the selected text; return whether there is any."""

    def clear_draft(self) -> None:
        """Empty the composer; Up brings its text back."""

    async def leave_if_pressed_again(self) -> None:
        """Ask for a second press within two seconds; at that, end the chat."""

    def show_theme(self, name: str) -> None:
        """Use a theme; without a name, let the user choose one. Raises UsageError."""


_NO_QUESTION = tr("There is no question yet.")
_SELECTED = tr(
    "Question {place} of {count} · F8 copy · F4 record · Ctrl+R again · Ctrl+G edit · Esc deselect"
)
_EXPORTS = {"": "md", "markdown": "md", "json": "json"}
Action = Callable[[Session, Any, str], Coroutine[Any, Any, None]]
"""Gets session, View (ScreenView if the plain chat lacks the command) and argument ("" if none)."""


async def open_page(_session: Session, view: View, argument: str, *, page: str) -> None:
    await view.open_page(page, argument)


async def scroll(_session: Session, view: ScreenView, _: str, *, direction: str) -> None:
    view.scroll(direction)


async def engine(session: Session, view: View, name: str) -> None:
    """Select an engine by id or title; without a name, let the user choose."""
    if name:
        session.engine = session.find_engine(name)
        view.show_engine()
    else:
        await view.choose_engine()


async def mode(session: Session, view: View, name: str) -> None:
    if name and name not in list(Mode):
        shown = one_line(name, 40)
        raise UsageError(
            tr("There is no mode “{name}”: it is quote, grounded or memory.", name=shown)
        )
    session.set_mode(Mode(name) if name else None)
    view.show_mode()


async def compare(session: Session, view: View, question: str) -> None:
    """Ask all ready engines a question: the typed one, the draft, or the turn's."""
    question = question or view.draft
    await view.compare(question, None if question or not session.turn else session.turn[1])


async def record(session: Session, view: View, number: str, *, original: bool = False) -> None:
    """Show the records of the selected turn, or of the last turn with records."""
    sources = [answer.sources for answer in _answers(session) if answer.sources]
    if not sources:
        view.report(tr("No answer has a record yet."))
        return
    hits: tuple[Hit, ...] = sources[-1]
    if number:
        hits = (hits[index_of(number, len(hits))],)
    view.show_record(hits, original=original)


def _answers(session: Session) -> list[Answer]:
    """List the shown answers of the selected turn, or else of all turns."""
    turns, selected = session.conversation.turns, session.selected
    chosen = turns if selected is None else [turns[selected]]
    return [turn.answer for turn in chosen if turn.answer]


def index_of(number: str, count: int) -> int:
    """Read a number typed by the user, from 1 to `count`, as an index. Raises UsageError."""
    read = number_up_to(count, number)
    if read is None:
        raise UsageError(tr("Type a number from 1 to {count}.", count=count))
    return read - 1


async def thinking(session: Session, view: View, _: str) -> None:
    if session.turn is None or not await view.show_thinking(session.turn[0]):
        view.report(tr("Thinking is not available here."))


async def marks(_session: Session, view: ScreenView, _: str) -> None:
    view.toggle_marks()


async def tour(_session: Session, view: ScreenView, _: str) -> None:
    await view.tour()


async def find(_session: Session, view: ScreenView, text: str) -> None:
    await view.find(text)


async def copy(session: Session, view: View, _: str) -> None:
    answers = _answers(session)
    if answers and answers[-1].text:
        view.copy(answers[-1].text)
    else:
        view.report(tr("There is no answer to copy yet."))


async def copy_record(session: Session, view: View, _: str) -> None:
    answer = session.turn[1].answer if session.turn else None
    if answer and answer.sources:
        view.copy(answer.sources[0].product.description)
    else:
        view.report(tr("This answer has no record."))


async def regenerate(session: Session, view: View, name: str) -> None:
    """Ask the turn's question again: the named engine, or the active one."""
    turn = _turn_to_change(session, view)
    if turn:
        engine_id = session.find_engine(name) if name else session.engine
        await view.answer_again(*turn, engine_id)


async def switch_answer(session: Session, view: View, _: str, *, step: int) -> None:
    if session.turn is None or view.is_answering:
        return
    index, turn = session.turn
    if not turn.others:
        view.report(view.only_answer)
        return
    try:
        await session.switch_answer(turn, step)
    except StoreError as error:
        view.report(tr("Not saved: {error}", error=error), error=True)
    await view.show_turn(index)


async def edit(session: Session, view: ScreenView, _: str) -> None:
    """Edit the turn's question; once sent, it is asked in a fork that ends before the turn."""
    turn = _turn_to_change(session, view)
    if turn is None:
        return
    _select(session, view, turn[0])
    session.editing = turn[0]
    view.edit(turn[1].question)
    view.report(
        tr(
            "Editing question {chosen} · Enter: continue in a new conversation · Esc: cancel",
            chosen=turn[0] + 1,
        )
    )


def _turn_to_change(session: Session, view: View) -> tuple[int, Turn] | None:
    if session.turn is None:
        view.report(_NO_QUESTION)
    elif view.is_answering:
        view.report(tr("Still answering. Escape stops it."))
    else:
        return session.turn
    return None


async def fork(session: Session, view: View, _: str) -> None:
    if session.turn is None:
        view.report(_NO_QUESTION)
        return
    turns = session.turn[0] + 1
    await view.cancel()
    await session.fork(turns)
    await view.show()
    view.report(
        tr(
            "Forked after question {chosen}. The original is in the history.",
            chosen=turns,
        )
    )


async def select_turn(session: Session, view: ScreenView, _: str, *, step: int) -> None:
    """Select the turn above (-1) or below (1): from none the last or first, from that none."""
    count = len(session.conversation.turns)
    # Without a selection: one more place, between the last turn and the first.
    place = (count if session.selected is None else session.selected) + step
    index = place % (count + 1)
    _walk_to(session, view, index if index < count else None)


async def cancel(session: Session, view: ScreenView, _: str) -> None:
    """Stop the answer or leave what was begun, the first there is; else go to the end."""
    if view.is_answering:
        await view.cancel()
    elif view.leave_tour():
        pass
    elif session.editing is not None:
        session.editing = None
        view.edit(None)
        _walk_to(session, view, None)
    elif session.selected is not None:
        _walk_to(session, view, None)
    else:
        view.scroll("end")
        view.show_engine()


async def interrupt(_session: Session, view: ScreenView, _: str) -> None:
    """Stop the answer, otherwise clear the draft, otherwise leave at the second press.

    Selected text is copied instead.
    """
    if view.copy_selected():
        return
    if view.is_answering:
        await view.cancel()
    elif view.draft:
        view.clear_draft()
    else:
        await view.leave_if_pressed_again()


async def theme(_session: Session, view: ScreenView, name: str) -> None:
    view.show_theme(name)


async def details(session: Session, view: View, _: str) -> None:
    """Report how long the turn's answer took, and how fast the model wrote."""
    answer = session.turn[1].answer if session.turn else None
    if answer is None:
        view.report(_NO_QUESTION)
        return
    from engine.chat.wording import speed

    title = session.titles.get(answer.engine, answer.engine)
    view.report(f"{one_line(title)}: {speed(answer)}")


def _walk_to(session: Session, view: ScreenView, index: int | None) -> None:
    count = len(session.conversation.turns)
    if not count:
        view.report(_NO_QUESTION)
        return
    _select(session, view, index)
    if index is not None:
        view.report(_SELECTED.format(place=index + 1, count=count))


def _select(session: Session, view: ScreenView, index: int | None) -> None:
    if session.selected != index:
        session.selected = index
        view.select(index)


async def new_conversation(session: Session, view: View, _: str) -> None:
    await view.cancel()
    session.new()
    await view.show()


async def open_listed(session: Session, view: View, number: str) -> None:
    """Continue the conversation with this number in the last list."""
    if not session.listed:
        raise UsageError(
            tr("There is no list to open from."), tr("/history lists the conversations.")
        )
    await session.open(session.listed[index_of(number, len(session.listed))].id)
    await view.show()


async def export(session: Session, view: View, kind: str) -> None:
    """Write this conversation to a new file, as Markdown unless `kind` says JSON."""
    from engine.chat.export import damage, write_conversation

    store = await session.store()
    conversation_id, folder = session.conversation.id, paths.exports_dir()
    if conversation_id is None:
        raise UsageError(tr("There is nothing to export yet: ask something first."))
    if kind not in _EXPORTS:
        raise UsageError(tr("Choose one of {kinds}.", kinds="markdown, json"))
    file = await asyncio.to_thread(
        write_conversation, store, conversation_id, session.titles, folder, _EXPORTS[kind]
    )
    view.report(tr("Written to {file}", file=file) + damage(store))


async def export_json(session: Session, view: View, _: str) -> None:
    await export(session, view, "json")


async def import_file(session: Session, view: ScreenView, file: str) -> None:
    """Import conversations from a JSON file; without a name, ask for it."""
    from engine.chat import export as exports

    store = await session.store()
    heading, example = tr("Import conversations from"), tr("a .json file that was exported")
    file = file or await view.ask_for_line(heading, example)
    if file:
        view.report(tr("importing…"))
        added = await asyncio.to_thread(exports.import_file, store, file)
        view.report(exports.import_summary(added))


async def leave(_session: Session, view: View, _: str) -> None:
    await view.leave()
