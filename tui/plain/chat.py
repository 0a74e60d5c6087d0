"""The plain chat: a question a line, its answer below, commands that begin with a slash."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from engine.backends.registry import Registry
from engine.chat.open import open_counter
from engine.chat.wording import describe, title_of
from engine.config.settings import Settings
from engine.core.errors import BalcaoError
from engine.core.events import Answered, Event, Found, Loading, NotSaved, Piece
from engine.core.i18n import tr
from engine.core.text import one_line
from engine.core.types import Answer, Conversation, Hit, Mode, Turn
from tui.plain.commands import SLASH, carry_out
from tui.plain.terminal import HUNG_UP, Gone, Parting, Voice, edit_lines
from tui.terminal import is_dumb
from tui.textual_patches.typeahead import without_keys

if TYPE_CHECKING:
    from engine.chat.open import Counter
    from engine.store.search import ConversationSummary

_MODES = {
    Mode.GROUNDED: tr("Models see the record."),
    Mode.MEMORY: tr("Models see the question alone, and speak from memory."),
}


class PlainChat:
    """One conversation, any engine; what is seen by the commands of tui.plain.commands."""

    def __init__(
        self, settings: Settings, counter: Counter, voice: Voice, parting: Parting | None = None
    ) -> None:
        """`parting` hears whatever ends the chat from outside."""
        self.counter = counter
        self.voice = voice
        self.engine = settings.engine
        self.mode = settings.mode
        self.titles = {name: one_line(title) for name, title in Registry(settings).titles.items()}
        self.conversation = Conversation()
        self.listed: list[ConversationSummary] = []
        """The conversations that were listed last, to be opened by their number there."""
        self.left = False
        self._parting = parting or Parting()
        self._runner = asyncio.Runner()

    def converse(self, typed: str = "") -> None:
        """Answer line after line until the end of them; `typed` came before the first."""
        for line in self.voice.lines(typed):
            if self._parting.code:
                return
            if line is None:
                self.voice.tell(tr("Ctrl-D or /quit leaves."))
            elif line.strip():
                self._take(line.strip())
            if self.left or self._parting.code:
                return

    def close(self) -> None:
        """Give everything back."""
        with self._runner as runner:
            runner.run(self.counter.close())

    def until_stopped(self, work: Coroutine[Any, Any, None]) -> None:
        """Do it; Ctrl-C stops it, and what came until then is kept."""
        try:
            self._runner.run(work)
        except KeyboardInterrupt:
            self.voice.tell(tr("Stopped."))

    def show(self, conversation: Conversation) -> None:
        """Say a whole conversation, and go on with it."""
        self.conversation = conversation
        for turn in conversation.turns:
            self.voice.say(tr("\nYou: {question}", question=turn.question))
            for answer in turn.answers:
                self.say_answer(answer)

    def say_answer(self, answer: Answer) -> None:
        """Say an answer that is whole, and what is told about it."""
        title = self.titles.get(answer.engine, one_line(answer.engine))
        self.voice.say(f"{title}: {answer.text}" if answer.text else f"{title}:")
        self._say_about(answer)

    def tell_engine(self) -> None:
        """Say who answers from here on, and whether it can."""
        availability = self.counter.assistant.registry.get(self.engine).availability()
        self.voice.tell(
            tr(
                "{titles} answers. {modes}",
                titles=self.titles[self.engine],
                modes=_MODES[self.mode],
            )
        )
        if not availability.ready:
            self.voice.tell(
                tr(
                    "Not available: {reason} {remedy}",
                    reason=availability.reason,
                    remedy=availability.remedy,
                )
            )

    def _take(self, line: str) -> None:
        try:
            if line.startswith(SLASH) and not line.startswith(SLASH * 2):
                carry_out(line.removeprefix(SLASH), self)
            else:
                # Two slashes begin a question that begins with one.
                question = line.removeprefix(SLASH) if line.startswith(SLASH) else line
                self.until_stopped(self._answer(question))
        except BalcaoError as error:
            self.voice.tell(str(error))

    async def _answer(self, question: str) -> None:
        turns = self.conversation.turns
        before = len(turns)
        events = self.counter.assistant.ask(question, self.engine, self.mode, self.conversation)
        await self.tell_answer(events, lambda: turns[-1] if len(turns) > before else None)

    async def tell_answer(
        self, events: AsyncGenerator[Event], turn: Callable[[], Turn | None]
    ) -> None:
        """Say an answer of the engine chosen as it comes; `turn` gives its turn, once it is there.

        Cancelling the task cancels the answer: what came stays.
        """
        telling = _Telling(self.voice, self.titles[self.engine])
        try:
            async with aclosing(events):
                async for event in events:
                    telling.tell(event)
        finally:
            telling.end()
            ended = turn()
            if ended and ended.answer:
                self._say_about(ended.answer)

    def _say_about(self, answer: Answer) -> None:
        if answer.problem:
            self.voice.tell(f"{answer.problem.message} {answer.problem.remedy}")
        if answer.notice:
            self.voice.tell(answer.notice)
        self.voice.tell(f"({describe(answer, source=False)})")
        if answer.sources:
            self.voice.tell(_source(answer.sources))


class _Telling:
    """Says the events of one answer: its name before its first words, and the line's end."""

    def __init__(self, voice: Voice, title: str) -> None:
        self._voice = voice
        self._title = title
        self._begun = False
        self._loading = ""

    def tell(self, event: Event) -> None:
        """Say what happened."""
        match event:
            case Piece(text):
                # Many a tokenizer begins with a blank; there is one behind the title already.
                more = text if self._begun else text.lstrip()
                if more:
                    self._begin()
                    self._voice.speak(more)
            case Loading(progress) if progress.label != self._loading:
                self._loading = progress.label
                self._voice.tell(tr("Loading: {label}", label=progress.label))
            case NotSaved(problem):
                self.end()
                self._voice.tell(
                    tr("Not saved: {why} {remedy}", why=problem.message, remedy=problem.remedy)
                )
            case Found() | Loading() | Answered():
                pass

    def end(self) -> None:
        """Say what was held back."""
        if self._begun:
            self._begun = False
            self._voice.finish()

    def _begin(self) -> None:
        if not self._begun:
            self._begun = True
            self._voice.speak(f"{self._title}: ")


def _source(hits: tuple[Hit, ...]) -> str:
    if len(hits) == 1:
        return tr("Record: {title_of}. /record reads it.", title_of=title_of(hits[0].product))
    return tr("{count} records: /record 1 to /record {count} read them.", count=len(hits))


def run(settings: Settings, typed: str = "", *, go_on: bool = False) -> int:
    """Open the plain chat, `typed` already typed; returns the exit code once it is left.

    Raises CatalogueError, DataError or StoreError if there is nothing to open.
    """
    parting = Parting()
    parting.listen()
    try:
        _converse(settings, without_keys(typed), parting, go_on=go_on)
    except Gone:
        return parting.code or HUNG_UP
    except KeyboardInterrupt:
        if not parting.code:
            raise
    return parting.code


def _converse(settings: Settings, typed: str, parting: Parting, *, go_on: bool) -> None:
    voice = Voice(sys.stdin, sys.stdout, settings.unicode)
    if sys.stdin.isatty() and not is_dumb():
        edit_lines()
    counter = open_counter(settings)
    chat = PlainChat(settings, counter, voice, parting)
    try:
        voice.tell(tr("Balcão, line by line. Ask for a product; /help lists the commands."))
        voice.tell(tr("The catalogue has {count:,} products.", count=len(counter.catalogue)))
        chat.tell_engine()
        if counter.not_saving:
            voice.tell(
                tr(
                    "Not saving: {why} {remedy}",
                    why=counter.not_saving.message,
                    remedy=counter.not_saving.remedy,
                )
            )
        last = counter.last_conversation() if go_on else None
        if last:
            chat.show(last)
        chat.converse(typed)
    finally:
        chat.close()
