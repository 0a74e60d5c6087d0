"""The chat: conversation, composer, engines. It draws what happens; the engine does the work."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.events import Key, Paste
from textual.screen import Screen
from textual.widgets import Footer
from textual.worker import Worker, WorkerCancelled

from engine.conversation import Conversation
from engine.errors import BalcaoError
from engine.settings import Settings
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

    def __init__(
        self, settings: Settings, counter: asyncio.Future[Counter], typed: str, *, go_on: bool
    ) -> None:
        """`counter` is set once it is open, or has the reason why it is not.

        `typed` has been typed before there was a composer; `go_on` opens the last conversation.
        """
        super().__init__()
        self._settings = settings
        self._counter = counter
        self._typed = typed
        self._go_on = go_on
        self._conversation = Conversation()
        self._answering: Worker[None] | None = None

    def compose(self) -> ComposeResult:
        """From top to bottom."""
        yield ConversationView(id="conversation")
        yield Composer(self._settings.keys)
        yield EngineBar(self._settings, self._counter)
        # Compact, so that every key is there at 80 columns.
        yield Footer(compact=True)

    async def on_mount(self) -> None:
        """Draw what is known, then open the catalogue behind the first frame."""
        await self._show(self._conversation)
        self.query_one(Composer).begin_with(self._typed)
        self.call_after_refresh(self._open)

    @work
    async def _open(self) -> None:
        from engine.opening import open_counter

        try:
            counter = await asyncio.to_thread(open_counter, self._settings)
            last = await asyncio.to_thread(counter.last_conversation) if self._go_on else None
        except BalcaoError as error:
            self._counter.set_exception(error)
        else:
            if last and not self._is_answering:
                await self._show(last)
            self._counter.set_result(counter)
        self.query_one(EngineBar).show_availability()

    async def on_asked(self, event: Asked) -> None:
        """Take a question, unless an answer is still coming: then the draft stays."""
        bar = self.query_one(EngineBar)
        if self._is_answering:
            bar.tell("Still answering. Escape stops it; your question stays here.")
        elif self._counter.done() and self._counter.exception():
            bar.show_availability()
        else:
            self.query_one(Composer).accept()
            self._answering = self.run_worker(self._answer(event.question))

    async def _answer(self, question: str) -> None:
        bar = self.query_one(EngineBar)
        chosen, conversation = (bar.engine, bar.mode), self._conversation
        view = await self.query_one(ConversationView).begin(question, bar.titles[bar.engine])
        view.tell("looking it up…")
        try:
            counter = await asyncio.shield(self._counter)
        except BalcaoError as error:
            view.tell(str(error))
            return
        saved = await draw_answer(counter.assistant, question, chosen, conversation, view, bar)
        if saved:
            bar.show_availability()

    @property
    def _is_answering(self) -> bool:
        return self._answering is not None and not self._answering.is_finished

    def action_next_engine(self) -> None:
        """F2: the next engine answers from here on; draft and conversation stay as they are."""
        self.query_one(EngineBar).choose_next()

    def action_mode(self) -> None:
        """F5: models see the record, or the question alone."""
        self.query_one(EngineBar).change_mode()

    @work(group="compare", exclusive=True)
    async def action_compare(self) -> None:
        """F3: the draft, or else the last question, to every engine that is ready."""
        bar, composer = self.query_one(EngineBar), self.query_one(Composer)
        asked = [turn.question for turn in self._conversation.turns]
        question = composer.text.strip() or (asked[-1] if asked else "")
        if self._is_answering or not question or not self._counter.done():
            bar.tell("F3 puts a question to every engine that is ready: type one, or wait.")
            return
        if self._counter.exception():
            bar.show_availability()
            return
        from tui.screens.compare import CompareScreen

        composer.accept()
        assistant = self._counter.result().assistant
        comparison = CompareScreen(assistant, self._conversation, question, bar.mode, bar.titles)
        await self.app.push_screen_wait(comparison)
        await self._show(self._conversation)

    def action_record(self) -> None:
        """F4: the record of the last answer that has one."""
        view = self.query_one(ConversationView).last_answer
        if view:
            self.post_message(RecordWanted(view.hits))
        else:
            self.query_one(EngineBar).tell("No answer here rests on a record yet.")

    def action_copy(self) -> None:
        """F8: the last answer's words."""
        texts = [turn.answer.text for turn in self._conversation.turns if turn.answer]
        if texts and texts[-1]:
            self.app.copy_to_clipboard(texts[-1])
        else:
            self.query_one(EngineBar).tell("There is no answer to copy yet.")

    async def action_new_conversation(self) -> None:
        """Begin anew; the conversation so far is kept."""
        await self._show(Conversation())

    @work(group="conversations", exclusive=True)
    async def action_conversations(self) -> None:
        """Choose one of the conversations so far, and go on with it."""
        from tui.screens.conversations import ConversationsScreen

        try:
            store = (await asyncio.shield(self._counter)).assistant.store
            listed = await asyncio.to_thread(store.listed) if store else []
            chosen = await self.app.push_screen_wait(ConversationsScreen(listed))
            if chosen is not None and store:
                await self._show(await asyncio.to_thread(store.open, chosen))
        except BalcaoError as error:
            self.query_one(EngineBar).tell(str(error), bad=True)

    async def _show(self, conversation: Conversation) -> None:
        await self.action_cancel()
        self._conversation = conversation
        self.query_one(Composer).remember([turn.question for turn in conversation.turns])
        pane, titles = self.query_one(ConversationView), self.query_one(EngineBar).titles
        if conversation.turns:
            await pane.show(conversation, titles)
        else:
            await pane.welcome(sample=self._settings.catalogue is None)

    async def action_cancel(self) -> None:
        """Escape: stop the answer that is coming, if one is, and wait until what came is kept."""
        if self._answering and self._is_answering:
            self._answering.cancel()
            with suppress(WorkerCancelled):
                await self._answering.wait()

    async def close(self) -> None:
        """Stop, keep, and give everything back."""
        await self.action_cancel()
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
