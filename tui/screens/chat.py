"""The chat's screen: conversation, composer, engines. It draws what the session does."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.events import Key, Paste
from textual.screen import Screen
from textual.worker import Worker, WorkerCancelled

from engine.chat.session import Session
from engine.core.errors import BalcaoError, UsageError
from engine.core.i18n import tr
from engine.core.text import one_line
from engine.core.types import Answer, Hit, Turn
from tui import keys
from tui.commands import slash
from tui.commands.table import COMMANDS_BY_NAME, Command, reporting, run_command
from tui.textual_patches.widgets import FittingFooter, Page, SolidBackground, end_workers
from tui.widgets.composer import Composer, ComposerPanel
from tui.widgets.conversation import ConversationView
from tui.widgets.engine_bar import EngineBar

if TYPE_CHECKING:
    from tui.widgets.choices import ChoicesView
    from tui.widgets.welcome import Example

_PAGES = Path(__file__).parent.with_name("pages.tcss")
_TURNS = Path(__file__).parent.with_name("turns.tcss")
_LEAVE_SECONDS = 2.0
"""Seconds within which a second Ctrl+C ends the chat."""
_MAX_NAME = 40
"""Characters of a wrong name that an error repeats."""


class ChatView(Page, SolidBackground, Screen[None]):
    """The chat's screen as commands change it: a ScreenView without pages."""

    leave_action = "command('interrupt')"
    only_answer = tr("This question has one answer · Ctrl+R asks again")

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session
        self.pane = ConversationView(id="conversation")
        self.bar = EngineBar(session)
        self._answering: Worker[None] | None = None
        self.continues = False
        """Whether the last conversation is opened at the start."""
        self._leave_until = 0.0
        """Until when a second press of Ctrl+C ends the chat."""

    @property
    def composer(self) -> Composer:
        return self.query_one(Composer)

    @property
    def is_answering(self) -> bool:
        return self._answering is not None and not self._answering.is_finished

    @property
    def draft(self) -> str:
        return self.composer.question

    def report(self, sentence: str, *, error: bool = False) -> None:
        self.bar.report(sentence, error=error)

    def show_engine(self) -> None:
        self.bar.show_engine()
        self.query_one(ComposerPanel).look_up_again()

    def show_mode(self) -> None:
        self.bar.show_mode()
        self.query_one(ComposerPanel).look_up_again()

    async def choose_engine(self) -> None:
        self.session.next_engine()
        self.show_engine()

    async def show(self) -> None:
        """Draw the session's conversation; an answer that is arriving is stopped."""
        await self.cancel()
        turns = self.session.conversation.turns
        self.composer.input_history.set_own([turn.question for turn in turns])
        await self._draw_conversation()
        self.bar.show_availability()  # instead of a message about the conversation before

    async def _draw_conversation(self) -> None:
        from tui.widgets.welcome import Welcome

        session = self.session
        is_opening = self.continues and not (session.resources or session.failure)
        empty = Welcome(session) if not is_opening else Vertical(classes="welcome")
        await self.pane.show(session.conversation, session.titles, empty)

    async def show_turn(self, index: int) -> None:
        turn = self.session.conversation.turns[index]
        await self.pane.redraw(index, turn, self.session.titles)

    async def show_thinking(self, index: int) -> bool:
        from tui.widgets.turns import toggle_folded

        return toggle_folded(await self.pane.view_of(index))

    def show_record(self, hits: tuple[Hit, ...], *, original: bool = False) -> None:  # noqa: ARG002 - a key of the page switches
        from tui.widgets.turns import RecordRequested

        self.post_message(RecordRequested(hits))

    async def answer_again(self, index: int, turn: Turn, engine_id: str) -> None:
        self._answering = self._answer_again(index, turn, engine_id)

    @work
    async def _answer_again(self, index: int, turn: Turn, engine_id: str) -> None:
        """Draw one more answer to a turn; if no text arrives, the answer before and the reason."""
        from tui.widgets.turns import answer_title, draw_answer

        session, number = self.session, len(turn.answers) + 1
        events, problem = session.ask_again(turn, engine_id), ""
        title = answer_title(session.titles[engine_id], number, number)
        view = await self.pane.begin_answer(index, title)
        view.show_status(tr("looking it up…"))
        try:
            if await draw_answer(events, session, view, self.bar):
                self.bar.show_availability()
        except BalcaoError as error:
            problem = str(error)
        finally:
            if len(turn.answers) < number:
                problem = problem or view.problem
                await self.pane.redraw(index, turn, session.titles)
        if problem:
            self.report(problem, error=True)

    async def compare(self, question: str, turn: Turn | None) -> None:
        session = self.session
        if self.is_answering:
            self.report(tr("Still answering. Escape stops it."))
        elif not (session.resources or session.failure):
            self.report(tr("The catalogue is still opening: wait a moment."))
        elif not (question or turn):
            self.report(tr("Type a question first, to compare its answers."))
        elif session.failure:
            self.bar.show_availability()
        else:
            from tui.screens.compare import CompareScreen

            self.composer.accept()
            await self.app.push_screen_wait(CompareScreen(session, question, turn))
            await self.show()

    def copy(self, text: str) -> None:
        self.app.copy_to_clipboard(text)

    async def cancel(self) -> None:
        """Stop the answer that is arriving, and wait until its text is saved.

        Questions that wait for it are withdrawn: Up brings them back.
        """
        if self._answering and self.is_answering:
            self.session.queue.clear()
            self._answering.cancel()
            with suppress(WorkerCancelled):
                await self._answering.wait()
            if self.is_attached:
                await self.query_one(ComposerPanel).show_queue()

    def copy_selected(self) -> bool:
        """Copy the text that is selected in the composer or with the mouse, if any is."""
        text = self.composer.selected_text or self.get_selected_text()
        if text:
            self.copy(text)
        return bool(text)

    def clear_draft(self) -> None:
        self.composer.accept()

    async def leave_if_pressed_again(self) -> None:
        if monotonic() < self._leave_until:
            await self.leave()
            return
        self._leave_until = monotonic() + _LEAVE_SECONDS
        self.bar.report(tr("Press Ctrl+C again to quit."), seconds=_LEAVE_SECONDS)

    def show_theme(self, name: str) -> None:
        if not name:
            self.app.search_themes()
        elif name in self.app.available_themes:
            self.app.theme = name
        else:
            raise UsageError(
                tr("There is no theme named “{wanted}”.", wanted=one_line(name, _MAX_NAME)),
                tr("/theme lists them."),
            )

    async def leave(self) -> None:
        await self.app.run_action("quit")

    def select(self, index: int | None) -> None:
        self.pane.select(index)
        if index is None:
            self.bar.show_availability()

    def edit(self, question: str | None) -> None:
        if question is None:
            self.composer.clear()
        else:
            self.composer.replace_text(question)
            self.composer.focus()

    async def ask_for_line(self, heading: str, example: str) -> str:
        from tui.screens.dialogs import InputDialog

        return await self.app.push_screen_wait(InputDialog(heading, example=example)) or ""

    def scroll(self, direction: str) -> None:
        if direction == "end":
            self.pane.follow_end()
        else:
            getattr(self.pane, f"scroll_{direction}")(animate=False)

    def on_anchored_scroll_end_seen(self, event: ConversationView.EndSeen) -> None:
        self.query_one(ComposerPanel).show_below(more=not event.seen)

    async def find(self, text: str) -> None:
        from tui.widgets.find import show_find_bar

        await show_find_bar(self, self.session, self.pane, text)

    def toggle_marks(self) -> None:
        from tui.widgets.turns import toggle_marks

        self.report(toggle_marks(self.pane))


class ChatScreen(ChatView):
    """One conversation with any engine; its resources are opened after the first frame."""

    CSS_PATH = None  # read after the first frame
    BINDINGS: ClassVar[list[BindingType]] = [*keys.CHAT]
    AUTO_FOCUS = "#composer"

    def __init__(self, session: Session, typed: str, *, go_on: bool) -> None:
        """`typed` goes into the composer; `go_on` opens the last conversation."""
        super().__init__(session)
        self._typed = typed
        self.continues = go_on
        self._filled = asyncio.Event()
        """Set once the pane has the conversation; on the first frame it is empty."""
        self._preloaded = ""
        """The engine that was loaded last without a question."""

    def compose(self) -> ComposeResult:
        yield self.pane
        yield ComposerPanel(self.session, self.pane.choices)
        yield self.bar
        yield Vertical(id="foot")

    def on_mount(self) -> None:
        if self._typed:
            self.composer.replace_text(self._typed)
        self._preload()
        self.call_after_refresh(self._open)

    @work
    async def _open(self) -> None:
        self.app.stylesheet.read(_TURNS)
        self.app.stylesheet.parse()
        await self._draw_conversation()
        self._filled.set()
        await self.wait_for_refresh()
        # Its place is on the first frame. It would be empty there: keys are known a moment later.
        await self.query_one("#foot").mount(FittingFooter())
        self.refresh_bindings()
        await self._open_resources()
        self.bar.show_availability()
        # Read when a page is opened, they would make Textual parse all other rules again too.
        self.app.stylesheet.read(_PAGES)
        self.app.stylesheet.parse()

    async def _open_resources(self) -> None:
        from engine.chat.open import open_resources

        try:
            session = self.session
            resources = await asyncio.to_thread(open_resources, session.settings, session.registry)
            last = await asyncio.to_thread(resources.last_conversation) if self.continues else None
        except BalcaoError as error:
            self.session.fail(error)
            if self.continues:
                await self.show()
            return
        if last and not self.is_answering:
            self.session.use(last)
        self.session.start(resources)
        if self.continues and not self.is_answering:
            await self.show()
        self.composer.input_history.add_others(await asyncio.to_thread(resources.last_questions))

    def _preload(self) -> None:
        """Load the engine while the user types, unless that has begun."""
        if self._preloaded != self.session.engine:
            self._preloaded = self.session.engine
            self.run_worker(self.bar.preload(), group="load")

    def on_text_area_changed(self) -> None:
        if self.composer.question:
            self._preload()

    async def on_composer_submitted(self, event: Composer.Submitted) -> None:
        try:
            await self._take(event.question)
        finally:
            event.handled.set()

    async def _take(self, question: str) -> None:
        """Run a command or ask a question, which waits for the answer that is arriving."""
        if self.session.settings.slash_commands:
            question = slash.spelt_out(question)
            if slash.is_command(question):
                with reporting(partial(self.report, error=True)):
                    command, argument = slash.parse(question)
                    self.composer.accept()
                    await self._run(command, argument)
                return
            question = slash.as_question(question)
        if self.session.failure:
            self.bar.show_availability()
        else:
            self.composer.accept()
            await self.ask_in_order(question)

    async def ask_in_order(self, question: str) -> None:
        if self.is_answering:
            self.session.queue.append(question)
            await self.query_one(ComposerPanel).show_queue()
        else:
            await self._ask(question)

    async def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """Ask the next question that waits, once the answer before it is complete."""
        if event.worker is self._answering and event.worker.is_finished and self.session.queue:
            question = self.session.queue.pop(0)
            await self.query_one(ComposerPanel).show_queue()
            await self._ask(question)

    async def _ask(self, question: str) -> None:
        if self.session.editing is not None:
            await self.cancel()
            await self.session.fork(self.session.editing)
            await self.show()
        self._answering = self._answer(question)

    async def on_choices_view_picked(self, event: ChoicesView.Picked) -> None:
        """Ask for a product that was clicked. The draft stays."""
        await self.ask_in_order(event.question)
        self.composer.focus()

    async def on_example_picked(self, event: Example.Picked) -> None:
        """Ask an example of the welcome page. The draft stays."""
        self.composer.focus()
        await self.ask_in_order(event.question)

    async def action_command(self, name: str) -> None:
        await self._run(COMMANDS_BY_NAME[name])

    async def _run(self, command: Command, argument: str = "") -> None:
        work = partial(run_command, command, self.session, self, argument)
        if command.waits:
            self.run_worker(work, group=command.name, exclusive=True)
        else:
            await work()

    @work
    async def _answer(self, question: str) -> None:
        from tui.widgets.turns import draw_answer

        session, title = self.session, self.session.titles[self.session.engine]
        events = session.ask(question)
        if session.selected is not None:
            session.selected = None
            self.pane.select(None)
        await self._filled.wait()
        self.bar.show_availability()  # instead of an older message
        view = await self.pane.begin_turn(question, title)
        view.show_status(tr("looking it up…"))
        with reporting(view.show_status):
            if await draw_answer(events, session, view, self.bar):
                self.bar.show_availability()
                if session.answer and session.answer.verbatim:
                    await self._show_beginning(session.answer)

    async def _show_beginning(self, answer: Answer) -> None:
        """Show an answer that came at once from its beginning; of a list, how to pick from it."""
        if self.pane.is_following:
            await self.pane.go_to(len(self.session.conversation.turns) - 1)
        if answer.is_list:
            self.report(tr("Type a number, click, or press ↓ and Enter."))

    async def open_page(self, page: str, argument: str = "") -> None:
        match page:
            case "browse":
                await _browse(self, argument)
            case "engines":
                await _open_engines(self)
            case "runs":
                await _open_runs(self)
            case "history":
                await _open_history(self)
            case _:
                from tui.screens.dialogs import HelpScreen

                self.app.push_screen(HelpScreen(self.session.settings.keys))

    async def tour(self) -> None:
        from tui.widgets.tour import show_tour

        await show_tour(self, self, self.session)

    def leave_tour(self) -> bool:
        from tui.widgets.tour import TourLine

        lines = self.query(TourLine)
        for line in lines:
            line.leave()
        return bool(lines)

    async def close(self) -> None:
        """Stop all work, also that of pages, and close the resources."""
        for screen in self.app.screen_stack:
            if isinstance(screen, Page):
                screen.left = True  # Ctrl+Q overtakes the keys before it
        await self.cancel()
        await end_workers(self.app.workers)
        if self.session.resources:
            await self.session.resources.close()

    @work(group="load")
    async def load_engine(self, engine_id: str) -> None:
        """Load an engine; cancelling the worker cancels the loading."""
        with reporting(partial(self.report, error=True)):
            async with aclosing(self.session.load_engine(engine_id)) as steps:
                async for step in steps:
                    self.bar.show_progress(step)
            self.bar.show_availability()

    def focus_composer_for(self, key: Key) -> None:
        """Give the composer the focus before a letter or, if nothing has it, Enter or Backspace.

        Keys that bubble up to this screen instead would arrive after later ones.
        """
        focused = self.focused
        if key.is_printable and key.character:
            if focused and focused.check_consume_key(key.key, key.character):
                return
        elif focused or key.key not in ("enter", "backspace"):
            return
        self.set_focus(self.composer)

    def on_paste(self, event: Paste) -> None:
        self.composer.paste(event.text)


async def _open_engines(screen: ChatScreen) -> None:
    from tui.screens.engines import EnginesScreen

    registry = (await screen.session.ready()).registry
    page = EnginesScreen(screen.session, registry, screen.load_engine)
    chosen = await screen.app.push_screen_wait(page)
    screen.bar.choose(chosen or screen.session.engine)
    _redraw_welcome(screen)


def _redraw_welcome(screen: ChatScreen) -> None:
    """Show an engine that was added or set up."""
    from tui.widgets.welcome import Welcome

    for welcome in screen.query(Welcome):
        welcome.show_engines()


async def _open_runs(screen: ChatScreen) -> None:
    from tui.screens.runs import RunsScreen

    added = await screen.app.push_screen_wait(RunsScreen())
    if added is not None:
        await screen.session.add_engine(added)
        screen.bar.show_engine()
        _redraw_welcome(screen)


async def _browse(screen: ChatScreen, words: str) -> None:
    from tui.screens.browse import BrowseScreen

    catalogue = (await screen.session.ready()).catalogue
    question = await screen.app.push_screen_wait(BrowseScreen(catalogue, words))
    if question:
        await screen.ask_in_order(question)


async def _open_history(screen: ChatScreen) -> None:
    from tui.screens.conversations import ConversationsScreen

    session = screen.session
    store = await session.store()
    chosen = await screen.app.push_screen_wait(ConversationsScreen(store, session.titles))
    if chosen is not None:
        await screen.cancel()
        await session.open(chosen)
        await screen.show()
    elif session.conversation.id in store.deleted:
        await screen.cancel()
        session.new()
        await screen.show()
