"""The chat: conversation, composer, engines. It draws what happens; the engine does the work."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.events import Key, Paste
from textual.screen import Screen
from textual.worker import Worker, WorkerCancelled

from engine.config.settings import Settings
from engine.core.errors import BalcaoError
from engine.core.i18n import tr
from engine.core.types import Conversation
from tui import keys
from tui.commands import slash
from tui.commands.table import carry_out
from tui.textual_patches.widgets import SolidBackground
from tui.widgets.composer import Composer, ComposerPanel
from tui.widgets.conversation import ConversationView
from tui.widgets.engine_bar import EngineBar

if TYPE_CHECKING:
    from engine.chat.open import Counter
    from tui.widgets.welcome import Welcome

_TURNS = Path(__file__).parent.with_name("turns.tcss")
_PAGES = Path(__file__).parent.with_name("pages.tcss")


class ChatScreen(SolidBackground, Screen[None]):
    """One conversation, any engine."""

    BINDINGS: ClassVar[list[BindingType]] = [*keys.CHAT]
    AUTO_FOCUS = "#composer"

    def __init__(
        self, settings: Settings, counter: asyncio.Future[Counter], typed: str, *, go_on: bool
    ) -> None:
        """`counter` is set once it is open, or has the reason why it is not.

        `typed` was written before there was a composer; `go_on` opens the last conversation.
        """
        super().__init__()
        self.settings = settings
        self.counter = counter
        self._typed = typed
        self._go_on = go_on
        self.conversation = Conversation()
        self.selected: int | None = None
        """The place of the turn that commands act on; None: the last."""
        self.editing: int | None = None
        """The place of the turn whose question is in the composer, to be asked anew."""
        self._answering: Worker[None] | None = None
        self._filled = asyncio.Event()
        """Set once the pane has the conversation; the first frame has an empty one."""

    def compose(self) -> ComposeResult:
        """From top to bottom."""
        yield ConversationView(id="conversation")
        yield ComposerPanel(self.settings, self.counter)
        yield EngineBar(self.settings, self.counter)
        yield Vertical(id="foot")

    def on_mount(self) -> None:
        """One can type; what there is to read, and the catalogue, come behind the first frame."""
        if self._typed:
            self.composer.replace_text(self._typed)
        self.call_after_refresh(self._open)

    @work
    async def _open(self) -> None:
        _read_rules(self, _TURNS)
        await self.pane.show(self.conversation, self.bar.titles, _welcome(self))
        self._filled.set()
        await self.wait_for_refresh()
        from engine.chat.open import open_counter
        from tui.textual_patches.widgets import FittingFooter

        # Its place is on the first frame. It would be empty there: keys are known a moment later.
        await self.query_one("#foot").mount(FittingFooter())
        self.refresh_bindings()
        try:
            counter = await asyncio.to_thread(open_counter, self.settings)
            last = await asyncio.to_thread(counter.last_conversation) if self._go_on else None
        except BalcaoError as error:
            self.counter.set_exception(error)
        else:
            if last and not self.is_answering:
                await self.show(last)
            self.counter.set_result(counter)
            self.composer.input_history.add_others(await asyncio.to_thread(counter.last_questions))
        self.bar.show_availability()
        # Read when a page is opened, it would have Textual parse all other rules anew as well.
        _read_rules(self, _PAGES)

    async def on_composer_submitted(self, event: Composer.Submitted) -> None:
        """Take a question; the composer, which waits, may go on with what was typed behind it."""
        try:
            await self._take(event.question)
        finally:
            event.handled.set()

    async def _take(self, question: str) -> None:
        """Take it, unless an answer is still coming: then the draft stays."""
        bar = self.bar
        if self.settings.slash_commands:
            if slash.is_command(question):
                await self._obey(question)
                return
            question = slash.as_question(question)
        if self.is_answering:
            bar.tell(tr("Still answering. Escape stops it; your question stays here."))
        elif self.counter.done() and self.counter.exception():
            bar.show_availability()
        else:
            self.composer.accept()
            if self.editing is not None:
                from tui.commands import turns

                await turns.fork_at(self, self.editing)
            self.answer(self._answer(question))

    def answer(self, work: Coroutine[None, None, None]) -> None:
        """Begin to answer, in a worker that Escape stops."""
        self._answering = self.run_worker(work)

    async def _obey(self, typed: str) -> None:
        called = slash.understood(typed)
        if isinstance(called, str):
            self.bar.tell(called, bad=True)
            return
        self.composer.accept()
        await carry_out(called.command.name, self, called.argument)

    async def _answer(self, question: str) -> None:
        from tui.widgets.drawing import draw_answer

        bar, conversation = self.bar, self.conversation
        chosen, before = (bar.engine, bar.mode), len(conversation.turns)
        if self.selected is not None:
            self.selected = None
            self.pane.select(None)
        await self._filled.wait()
        view = await self.pane.begin_turn(question, bar.titles[bar.engine])
        view.show_status(tr("looking it up…"))
        try:
            counter = await self.opened()
        except BalcaoError as error:
            view.show_status(str(error))
            return
        events = counter.assistant.ask(question, *chosen, conversation)
        given = conversation.turns
        if await draw_answer(
            events, lambda: given[before] if len(given) > before else None, view, bar
        ):
            bar.show_availability()

    @property
    def is_answering(self) -> bool:
        """Whether an answer is still coming."""
        return self._answering is not None and not self._answering.is_finished

    async def action_command(self, name: str) -> None:
        """Carry out one of tui.commands.table."""
        await carry_out(name, self)

    async def show(self, conversation: Conversation) -> None:
        """Draw a conversation and go on with it; an answer that is coming is stopped."""
        await self.cancel()
        self.conversation = conversation
        self.selected = self.editing = None
        self.composer.input_history.set_own([turn.question for turn in conversation.turns])
        await self.pane.show(conversation, self.bar.titles, _welcome(self))

    async def cancel(self) -> None:
        """Stop the answer that is coming, if one is, and wait until what came is kept."""
        if self._answering and self.is_answering:
            self._answering.cancel()
            with suppress(WorkerCancelled):
                await self._answering.wait()

    async def close(self) -> None:
        """Stop, keep, and give everything back."""
        await self.cancel()
        if self.counter.done() and not self.counter.exception():
            await self.counter.result().close()

    @property
    def bar(self) -> EngineBar:
        """The engines, and the line about the state of things."""
        return self.query_one(EngineBar)

    @property
    def composer(self) -> Composer:
        """Where the question is written."""
        return self.query_one(Composer)

    @property
    def pane(self) -> ConversationView:
        """The conversation as it is drawn."""
        return self.query_one(ConversationView)

    async def opened(self) -> Counter:
        """The counter, once it is open. Raises BalcaoError with the reason why it is not."""
        return await asyncio.shield(self.counter)

    async def on_key(self, event: Key) -> None:
        """What is typed goes into the composer, whatever has the focus.

        The composer keeps its own keys, so what arrives here was typed elsewhere, or before the
        composer was there to take it.
        """
        composer = self.composer
        if event.is_printable and event.character:
            event.stop()
            self.set_focus(composer)
            composer.insert(event.character)
        elif self.focused in (composer, None) and event.key in ("enter", "backspace"):
            event.stop()
            if event.key == "backspace":
                composer.action_delete_left()
            elif question := composer.question:
                await self._take(question)

    def on_paste(self, event: Paste) -> None:
        """A paste that found no composer."""
        self.composer.paste(event.text)


def _welcome(screen: ChatScreen) -> Welcome:
    from tui.widgets.welcome import Welcome

    return Welcome(screen.settings, screen.counter)


def _read_rules(screen: ChatScreen, path: Path) -> None:
    screen.app.stylesheet.read(path)
    screen.app.stylesheet.parse()
