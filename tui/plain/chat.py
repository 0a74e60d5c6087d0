"""Chat line by line: a question, its answer below it, commands after a slash."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing
from datetime import datetime
from typing import Any

from engine.catalogue.catalogue import Retriever
from engine.chat.open import Resources, open_resources
from engine.chat.session import Session
from engine.chat.wording import (
    describe,
    not_taught_sentence,
    thinking_words,
    title_of,
    training_words,
    wrong_product,
)
from engine.config.settings import Settings
from engine.core import types
from engine.core.dates import spoken_date
from engine.core.errors import BalcaoError, UsageError, why
from engine.core.i18n import tr, tr_n
from engine.core.text import duration, one_line
from tui.commands import slash
from tui.commands.table import PLAIN_COMMANDS, run_command
from tui.plain.terminal import HUNG_UP, ExitSignals, HungUp, LineTerminal, edit_lines
from tui.terminal import is_dumb
from tui.textual_patches.typeahead import without_keys

_MODES = {
    types.Mode.QUOTE: tr("Models choose sentences of the record for follow-up questions."),
    types.Mode.GROUNDED: tr("Models see the record."),
    types.Mode.MEMORY: tr("Models see only the question."),
}

_TITLES = 20
"""Titles that /list writes."""


class PlainChat:
    """Reads lines and runs them, one after the other, until the user quits."""

    def __init__(
        self, session: Session, terminal: LineTerminal, signals: ExitSignals | None = None
    ) -> None:
        """Chat in an open session; `signals` end the chat from outside."""
        self.view = PlainView(session, terminal)
        self._session = session
        self._terminal = terminal
        self._signals = signals or ExitSignals()
        self._runner = asyncio.Runner()

    def converse(self, typed: str = "") -> None:
        """Answer line after line; `typed` was typed before the first."""
        for line in self._terminal.lines(typed):
            if self._signals.code:
                return
            if line is None:
                self._terminal.report(tr("Ctrl-D or /quit quits."))
            elif line.strip():
                self._answer(line.strip())
            if self.view.left or self._signals.code:
                return

    def close(self) -> None:
        with self._runner as runner:
            if self._session.resources:
                runner.run(self._session.resources.close())

    def _answer(self, line: str) -> None:
        line = slash.spelt_out(line)
        try:
            if slash.is_command(line):
                command, argument = slash.parse(line, PLAIN_COMMANDS)
                work = run_command(command, self._session, self.view, argument)
                self.run_until_stopped(work)
            else:
                self.run_until_stopped(self.view.ask(slash.as_question(line)))
        except BalcaoError as error:
            self._terminal.report(str(error))

    def run_until_stopped(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work`; Ctrl-C stops it, and the text that arrived is saved."""
        try:
            self._runner.run(work)
        except KeyboardInterrupt:
            self._terminal.report(tr("Stopped."))


class PlainView:
    """The View of the plain chat: writes lines."""

    only_answer = tr("This question has one answer. /regenerate asks again.")
    is_answering = False
    """A command runs only after the answer before it."""
    draft = ""

    def __init__(self, session: Session, terminal: LineTerminal) -> None:
        self._session = session
        self._terminal = terminal
        self.left = False

    async def ask(self, question: str) -> None:
        await self._write_answer(self._session.ask(question), self._session.engine)

    async def answer_again(self, index: int, turn: types.Turn, engine_id: str) -> None:  # noqa: ARG002 - for the screen
        await self._write_answer(self._session.ask_again(turn, engine_id), engine_id)

    def report(self, sentence: str, *, error: bool = False) -> None:  # noqa: ARG002 - no colours here
        self._terminal.report(sentence)

    def show_engine(self) -> None:
        session = self._session
        titles, modes = session.titles[session.engine], _MODES[session.shown_mode]
        self.report(tr("{titles} answers. {modes}", titles=titles, modes=modes))
        state = self._resources.registry.get(session.engine).availability()
        if not state.ready:
            reason, remedy = state.reason, state.remedy
            self.report(tr("Not available: {reason} {remedy}", reason=reason, remedy=remedy))

    show_mode = show_engine

    async def choose_engine(self) -> None:
        for engine_id, found in (await self._resources.availability()).items():
            not_ready = tr("not ready: {reason}", reason=found.reason)
            state = tr("ready") if found.ready else not_ready
            here = tr(", answers now") if engine_id == self._session.engine else ""
            self.report(f"{engine_id}: {self._session.titles[engine_id]}, {state}{here}")

    async def show(self) -> None:
        if not self._session.conversation.turns:
            self.report(tr("New conversation. The one before is saved."))
        for turn in self._session.conversation.turns:
            self._terminal.write(tr("\nYou: {question}", question=turn.question))
            for answer in turn.answers:
                self._write_whole(answer)

    async def show_turn(self, index: int) -> None:
        answer = self._session.conversation.turns[index].answer
        if answer:
            self._write_whole(answer)

    async def show_thinking(self, index: int) -> bool:
        answer = self._session.conversation.turns[index].answer
        thinking = answer.thinking if answer else ""
        if thinking:
            self._terminal.write(thinking)
        return bool(thinking)

    def show_record(self, hits: tuple[types.Hit, ...], *, original: bool = False) -> None:
        product = hits[0].product
        title = title_of(product)
        text, heading = product.description, f"{title}:"
        if original:
            text, heading = product.original, tr("{title_of}, as in the data set:", title_of=title)
        self.report(heading)
        if trained := training_words(hits[0]):
            self.report(f"({trained})")
        self._terminal.write(text or tr("(no description)"))

    async def compare(self, question: str, turn: types.Turn | None) -> None:
        if not question and not turn:
            raise UsageError(tr("There is no question yet."), tr("Type one after /compare."))
        availability = await self._resources.availability()
        ready = [name for name, state in availability.items() if state.ready]
        for name, state in availability.items():
            if not state.ready:
                self.report(f"{self._session.titles[name]}: {state.reason}")
        record_written = False
        async with aclosing(self._session.compare(question, ready, turn)) as events:
            async for _, event in events:
                match event:
                    case types.Found(decision) if decision.product and not record_written:
                        product, record_written = decision.product, True
                        title = title_of(product)
                        self.report(tr("The catalogue's record, {title_of}:", title_of=title))
                        self._terminal.write(product.description or tr("(no description)"))
                    case types.Answered(answer):
                        self._write_whole(answer)

    async def open_page(self, page: str, argument: str = "") -> None:
        match page:
            case "history":
                _write_history(self._terminal, self._session, argument)
            case "runs":
                _write_runs(self._terminal)
            case "browse":
                _write_titles(self._terminal, self._resources.catalogue, argument)
            case _:
                _write_help(self._terminal)

    def copy(self, text: str) -> None:
        from tui.clipboard import copy, copy_to_file

        try:
            where = copy(text) or str(copy_to_file(text))
        except OSError as error:
            self.report(tr("Cannot copy it: {error}.", error=why(error)))
        else:
            self.report(tr("Copied to {where}.", where=where))

    async def cancel(self) -> None:
        pass  # no answer arrives while a command runs

    async def leave(self) -> None:
        self.left = True

    @property
    def _resources(self) -> Resources:
        if self._session.resources is None:
            raise AssertionError("the plain chat opens its resources first")
        return self._session.resources

    async def _write_answer(self, events: AsyncGenerator[types.Event], engine_id: str) -> None:
        writer = AnswerWriter(self._terminal, self._session.titles[engine_id])
        answer: types.Answer | None = None
        try:
            async with aclosing(events):
                async for event in events:
                    writer.write(event)
                    if isinstance(event, types.Answered):
                        answer = event.answer
        finally:
            writer.end()
            answer = answer or self._session.answer
            if answer:
                self._write_details(answer)

    def _write_whole(self, answer: types.Answer) -> None:
        title = self._session.titles.get(answer.engine, one_line(answer.engine))
        if answer.thinking:
            self.report(f"{title}: {thinking_words(answer.thinking_ms, ended=True)}")
        if answer.taught is types.Taught.NOT_TAUGHT:
            self._terminal.write(f"{title}: {not_taught_sentence()}")
            title = tr("The model says")
        self._terminal.write(f"{title}: {answer.text}" if answer.text else f"{title}:")
        self._write_details(answer)

    def _write_details(self, answer: types.Answer) -> None:
        if answer.problem:
            self.report(f"{answer.problem.message} {answer.problem.remedy}")
        for notice in filter(None, (wrong_product(answer), answer.notice)):
            self.report(notice)
        self.report(f"({describe(answer, source=False)})")
        if answer.sources:
            self.report(_source(answer.sources))


class AnswerWriter:
    """Writes the events of one answer, the engine's title before its first word."""

    def __init__(self, terminal: LineTerminal, title: str) -> None:
        self._terminal = terminal
        self._title = title
        self._begun = False
        self._loading = ""

    def write(self, event: types.Event) -> None:
        match event:
            case types.Found(taught=types.Taught.NOT_TAUGHT) | types.Weighed(
                types.Taught.NOT_TAUGHT
            ):
                self._terminal.write(f"{self._title}: {not_taught_sentence()}")
                self._title = tr("The model says")
            case types.Thought(ms=0):
                self._terminal.stream(tr("thinking …") + " ")
            case types.Thought(ms=ms, ended=True):
                self._terminal.stream(duration(ms / 1000))
                self.end()
            case types.Piece(text):
                # The title already ends with a blank.
                text = text if self._begun else text.lstrip()
                if text:
                    self._terminal.stream(text if self._begun else f"{self._title}: {text}")
                    self._begun = True
            case types.Loading(progress) if progress.label != self._loading:
                self._loading = progress.label
                self._terminal.report(tr("Loading: {label}", label=progress.label))
            case types.NotSaved(problem):
                self.end()
                self._terminal.report(
                    tr("Not saved: {why} {remedy}", why=problem.message, remedy=problem.remedy)
                )

    def end(self) -> None:
        self._begun = False
        self._terminal.end_stream()


def _write_help(terminal: LineTerminal) -> None:
    terminal.write(
        tr("Anything that is not a command is a question. A line that ends in a backslash")
    )
    terminal.write(tr("continues on the next. Ctrl-C stops an answer; Ctrl-D quits."))
    for command in PLAIN_COMMANDS:
        usage = f"/{slash.called(command)} {command.takes}".strip()
        terminal.write(f"{usage}: {command.does}.")


def _write_history(terminal: LineTerminal, session: Session, words: str) -> None:
    store = session.resources.store if session.resources else None
    listed = (store.search(words) if words else store.latest()) if store else []
    session.listed = listed
    if not listed:
        terminal.report(
            tr("No conversation has these words.") if words else tr("No conversations yet.")
        )
    for number, entry in enumerate(listed, 1):
        when = spoken_date(entry.when, datetime.now().astimezone().date())
        turns = tr_n("{turns} question", "{turns} questions", entry.turns, turns=entry.turns)
        terminal.report(f"{number}. {when} {entry.title} ({turns})")
    if listed:
        terminal.report(tr("/open and a number continues one."))


def _write_titles(terminal: LineTerminal, catalogue: Retriever, words: str) -> None:
    page = catalogue.browse(words, limit=_TITLES)
    for _, title in page.entries:
        terminal.write(one_line(title) or tr("(no title)"))
    if not page.entries:
        terminal.report(tr("No product matches."))
    elif page.count > len(page.entries):
        more = page.count - len(page.entries)
        terminal.report(tr("{more:,} more: add a word.", more=more))


def _write_runs(terminal: LineTerminal) -> None:
    from engine.training.runs.display import score_line, summary
    from engine.training.runs.view import list_runs

    views = list_runs()
    for view in views:
        words = ", ".join(filter(None, (summary(view), score_line(view))))
        terminal.report(f"{view.name}: {words}")
    if not views:
        terminal.report(tr("There is no training run yet."))


def _source(hits: tuple[types.Hit, ...]) -> str:
    if len(hits) == 1:
        return tr("Record: {title_of}. /record shows it.", title_of=title_of(hits[0].product))
    return tr("{count} records: /record 1 to /record {count} show them.", count=len(hits))


def run(settings: Settings, typed: str = "", *, go_on: bool = False) -> int:
    """Run the plain chat, with `typed` in its first line; return the exit code.

    Raises CatalogueError, DataError or StoreError if it cannot be opened.
    """
    signals = ExitSignals()
    signals.listen()
    try:
        _converse(settings, without_keys(typed), signals, go_on=go_on)
    except HungUp:
        return signals.code or HUNG_UP
    except KeyboardInterrupt:
        if not signals.code:
            raise
    return signals.code


def _converse(settings: Settings, typed: str, signals: ExitSignals, *, go_on: bool) -> None:
    terminal = LineTerminal(sys.stdin, sys.stdout, settings.unicode)
    if sys.stdin.isatty() and not is_dumb():
        edit_lines()
    resources = open_resources(settings)
    session = Session(settings, resources)
    chat = PlainChat(session, terminal, signals)
    try:
        terminal.report(tr("Balcão, line by line. Ask about a product; /help lists the commands."))
        terminal.report(tr("The catalogue has {count:,} products.", count=len(resources.catalogue)))
        chat.view.show_engine()
        if settings.notice:
            terminal.report(one_line(settings.notice))
        if problem := resources.not_saving:
            message, remedy = problem.message, problem.remedy
            terminal.report(tr("Not saving: {why} {remedy}", why=message, remedy=remedy))
        last = resources.last_conversation() if go_on else None
        if last:
            session.use(last)
            chat.run_until_stopped(chat.view.show())
        chat.converse(typed)
    finally:
        chat.close()
