"""The chat: conversation, composer, engines. It draws what happens; the engine does the work."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.events import Key, Paste
from textual.screen import Screen
from textual.widgets import Footer
from textual.worker import Worker, WorkerCancelled

from engine.conversation import Conversation
from engine.errors import BalcaoError
from engine.settings import Settings
from engine.types import Mode
from tui import keys
from tui.asking import draw_answer
from tui.messages import Asked, RecordWanted
from tui.widgets.composer import Composer
from tui.widgets.conversation_view import ConversationView
from tui.widgets.engine_bar import EngineBar

if TYPE_CHECKING:
    from engine.opening import Counter


class ChatScreen(Screen[None]):
    """One conversation, any engine."""

    BINDINGS: ClassVar[list[BindingType]] = [*keys.CHAT]
    AUTO_FOCUS = "#composer"

    def __init__(self, settings: Settings, typed: str) -> None:
        super().__init__()
        self._settings = settings
        self._typed = typed
        self._titles = {name: row.title for name, row in settings.engines.items()}
        self._engine = settings.engine
        self._mode = settings.mode
        self._conversation = Conversation()
        self._counter: asyncio.Future[Counter] = asyncio.get_running_loop().create_future()
        self._answering: Worker[None] | None = None

    def compose(self) -> ComposeResult:
        """From top to bottom."""
        yield ConversationView(id="conversation")
        yield Composer(self._settings.keys)
        yield EngineBar()
        # Compact, so that every key is there at 80 columns.
        yield Footer(compact=True)

    async def on_mount(self) -> None:
        """Draw what is known, then open the catalogue behind the first frame."""
        bar = self.query_one(EngineBar)
        bar.show_engines(self._titles, self._engine)
        bar.show_mode(self._mode)
        bar.tell("opening the catalogue…")
        await self._welcome()
        self.query_one(Composer).begin_with(self._typed)
        self.call_after_refresh(lambda: self.run_worker(self._open()))

    async def _welcome(self) -> None:
        sample = self._settings.catalogue is None
        await self.query_one(ConversationView).welcome(sample=sample)

    async def _open(self) -> None:
        from engine.opening import open_counter

        try:
            counter = await asyncio.to_thread(open_counter, self._settings)
        except BalcaoError as error:
            self._counter.set_exception(error)
            self.query_one(EngineBar).tell(str(error), bad=True)
            return
        self._counter.set_result(counter)
        await self._draw_availability()

    async def _draw_availability(self) -> None:
        """Say whether the chosen engine can answer; looked up afresh, since files come and go."""
        counter = await asyncio.shield(self._counter)
        engine = counter.assistant.registry.get(self._engine)
        availability = await asyncio.to_thread(engine.availability)
        if engine.info.id != self._engine:
            return
        what = f"ready · {len(counter.catalogue):,} products"
        bar = self.query_one(EngineBar)
        bar.show_availability(availability, what)
        if counter.not_saving and availability.ready:
            problem = counter.not_saving
            bar.tell(f"Not saving: {problem.message} {problem.remedy}", bad=True)

    async def on_asked(self, event: Asked) -> None:
        """Take a question, unless an answer is still coming: then the draft stays."""
        bar = self.query_one(EngineBar)
        if self._answering and not self._answering.is_finished:
            bar.tell("Still answering. Escape stops it; your question stays here.")
        elif self._counter.done() and self._counter.exception():
            bar.tell(str(self._counter.exception()), bad=True)
        else:
            self.query_one(Composer).accept()
            self._answering = self.run_worker(self._answer(event.question))

    async def _answer(self, question: str) -> None:
        conversation, chosen = self._conversation, (self._engine, self._mode)
        pane, bar = self.query_one(ConversationView), self.query_one(EngineBar)
        view = await pane.begin(question, self._titles[self._engine])
        view.tell("looking it up…")
        try:
            counter = await asyncio.shield(self._counter)
        except BalcaoError as error:
            view.tell(str(error))
            return
        await draw_answer(counter.assistant, question, chosen, conversation, view, bar)
        if bar.is_busy:
            await self._draw_availability()

    def action_help(self) -> None:
        """F1."""
        from tui.screens.help import HelpScreen

        self.app.push_screen(HelpScreen(self._settings.keys))

    def action_next_engine(self) -> None:
        """F2: the next engine answers from here on."""
        ids = list(self._titles)
        self.choose_engine(ids[(ids.index(self._engine) + 1) % len(ids)])

    def choose_engine(self, engine_id: str) -> None:
        """That engine answers from here on; draft and conversation stay as they are."""
        self._engine = engine_id
        bar = self.query_one(EngineBar)
        bar.show_engines(self._titles, engine_id)
        bar.tell("…")
        self.run_worker(self._draw_availability(), group="availability", exclusive=True)

    def action_mode(self) -> None:
        """F5: models see the record, or the question alone."""
        self._mode = Mode.MEMORY if self._mode is Mode.GROUNDED else Mode.GROUNDED
        self.query_one(EngineBar).show_mode(self._mode)

    def action_record(self) -> None:
        """F4: the record of the last answer that has one."""
        view = self.query_one(ConversationView).last_answer
        if view:
            self.post_message(RecordWanted(view.hits))
        else:
            self.query_one(EngineBar).tell("No answer here rests on a record yet.")

    def on_record_wanted(self, event: RecordWanted) -> None:
        """Open records."""
        from tui.screens.record import RecordScreen

        self.app.push_screen(RecordScreen(event.hits))

    async def action_new_conversation(self) -> None:
        """Begin anew; the conversation so far is kept."""
        await self._show(Conversation())

    async def action_conversations(self) -> None:
        """Choose one of the conversations so far, and go on with it."""
        self.run_worker(self._choose_conversation(), group="conversations", exclusive=True)

    async def _choose_conversation(self) -> None:
        from tui.screens.conversations import ConversationsScreen

        try:
            counter = await asyncio.shield(self._counter)
            store = counter.assistant.store
            listed = await asyncio.to_thread(store.listed) if store else []
            chosen = await self.app.push_screen_wait(ConversationsScreen(listed))
            if chosen is not None and store:
                await self._show(await asyncio.to_thread(store.open, chosen))
        except BalcaoError as error:
            self.query_one(EngineBar).tell(str(error), bad=True)

    async def _show(self, conversation: Conversation) -> None:
        await self.cancel()
        self._conversation = conversation
        self.query_one(Composer).remember([turn.question for turn in conversation.turns])
        pane = self.query_one(ConversationView)
        if conversation.turns:
            await pane.show(conversation, self._titles)
        else:
            await self._welcome()

    async def action_cancel(self) -> None:
        """Escape: stop the answer that is coming."""
        await self.cancel()

    async def cancel(self) -> None:
        """Stop the answer that is coming, if one is, and wait until what came is kept."""
        if self._answering and not self._answering.is_finished:
            self._answering.cancel()
            with suppress(WorkerCancelled):
                await self._answering.wait()

    async def close(self) -> None:
        """Stop, keep, and give everything back."""
        await self.cancel()
        if self._counter.done() and not self._counter.exception():
            await self._counter.result().close()

    def action_scroll(self, how: str) -> None:
        """Move the conversation without leaving the composer."""
        getattr(self.query_one(ConversationView), f"scroll_{how}")(animate=False)

    def on_key(self, event: Key) -> None:
        """What is typed goes into the composer, whatever has the focus.

        The composer keeps its own keys, so what arrives here was typed elsewhere, or before the
        composer was there to take it.
        """
        composer = self.query_one(Composer)
        if event.is_printable and event.character:
            event.stop()
            composer.focus()
            composer.insert(event.character)
        elif self.focused in (composer, None) and event.key in ("enter", "backspace"):
            event.stop()
            composer.action_submit() if event.key == "enter" else composer.action_delete_left()

    def on_paste(self, event: Paste) -> None:
        """A paste that found no composer."""
        self.query_one(Composer).insert(event.text)
