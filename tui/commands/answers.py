"""Commands about answers: who gives them, on what they rest, what becomes of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tui.messages import RecordWanted

if TYPE_CHECKING:
    from tui.screens.chat import ChatScreen


def next_engine(screen: ChatScreen) -> None:
    """The next engine answers from here on; draft and conversation stay as they are."""
    screen.bar.choose_next()


def engine(screen: ChatScreen, name: str) -> None:
    """The engine of that name, by id or title, answers from here on; without one, the next."""
    wanted = name.casefold()
    titles = screen.bar.titles
    found = [
        engine_id
        for engine_id, title in titles.items()
        if wanted in (engine_id.casefold(), title.casefold())
    ]
    if not wanted:
        screen.bar.choose_next()
    elif found:
        screen.bar.choose(found[0])
    else:
        screen.bar.tell(f"There is no engine “{name}”: {', '.join(titles)}.", bad=True)


def mode(screen: ChatScreen) -> None:
    """Models see the record, or the question alone."""
    screen.bar.change_mode()


def compare(screen: ChatScreen, question: str) -> None:
    """A question, else the draft, else the last question, to every engine that is ready."""
    screen.run_worker(_compare(screen, question), group="compare", exclusive=True)


async def _compare(screen: ChatScreen, question: str) -> None:
    asked = [turn.question for turn in screen.conversation.turns]
    question = question or screen.composer.text.strip() or (asked[-1] if asked else "")
    if screen.is_answering or not question or not screen.counter.done():
        screen.bar.tell("F3 puts a question to every engine that is ready: type one, or wait.")
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


def record(screen: ChatScreen) -> None:
    """The record of the last answer that has one."""
    view = screen.pane.last_answer
    if view:
        screen.post_message(RecordWanted(view.hits))
    else:
        screen.bar.tell("No answer here rests on a record yet.")


def copy(screen: ChatScreen) -> None:
    """The last answer's words."""
    texts = [turn.answer.text for turn in screen.conversation.turns if turn.answer]
    if texts and texts[-1]:
        screen.app.copy_to_clipboard(texts[-1])
    else:
        screen.bar.tell("There is no answer to copy yet.")


async def cancel(screen: ChatScreen) -> None:
    """Stop the answer that is coming, if one is."""
    await screen.cancel()
