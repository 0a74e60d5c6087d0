"""What the plain chat can be told to do; the names are those of the chat's own commands."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from engine.chat.wording import title_of
from engine.config import paths
from engine.core.errors import UsageError, why
from engine.core.events import Answered, Found
from engine.core.i18n import tr, tr_n
from engine.core.text import one_line
from engine.core.types import Conversation, Hit, Mode

if TYPE_CHECKING:
    from tui.plain.chat import PlainChat

SLASH = "/"
_KINDS = {"markdown": "md", "json": "json"}


@dataclass(frozen=True, slots=True)
class Command:
    """`takes` is what may stand behind the name; `run` gets that, stripped, and the chat."""

    name: str
    takes: str
    does: str
    run: Callable[[PlainChat, str], None]


def carry_out(line: str, chat: PlainChat) -> None:
    """Run a command, given without its slash. Raises UsageError if there is no such command."""
    name, _, rest = line.partition(" ")
    found = [command for command in COMMANDS if command.name == name.lower()]
    if not found:
        raise UsageError(
            tr("There is no command /{name}.", name=one_line(name, 40)),
            tr("/help lists them; a question that begins with a slash is written with two."),
        )
    found[0].run(chat, rest.strip())


def _help(chat: PlainChat, _: str) -> None:
    chat.voice.say(
        tr("Anything else than a command is a question. A line that ends in a backslash")
    )
    chat.voice.say(tr("goes on with the next. Ctrl-C stops an answer; Ctrl-D leaves."))
    for command in COMMANDS:
        said = f"/{command.name} {command.takes}".strip()
        chat.voice.say(f"{said}: {command.does}.")


def _engine(chat: PlainChat, name: str) -> None:
    if name:
        chat.counter.assistant.registry.get(name)
        chat.engine = name
        chat.tell_engine()
        return
    registry = chat.counter.assistant.registry
    for engine_id in registry.ids:
        availability = registry.get(engine_id).availability()
        state = (
            tr("ready")
            if availability.ready
            else tr("not ready: {reason}", reason=availability.reason)
        )
        here = tr(", answers now") if engine_id == chat.engine else ""
        chat.voice.tell(f"{engine_id}: {chat.titles[engine_id]}, {state}{here}")


def _mode(chat: PlainChat, name: str) -> None:
    if name and name not in list(Mode):
        raise UsageError(
            tr("There is no mode “{name}”: it is grounded, or memory.", name=one_line(name, 40))
        )
    other = Mode.MEMORY if chat.mode is Mode.GROUNDED else Mode.GROUNDED
    chat.mode = Mode(name) if name else other
    chat.tell_engine()


def _record(chat: PlainChat, number: str) -> None:
    product = _hit(chat, number).product
    chat.voice.tell(f"{title_of(product)}:")
    chat.voice.say(product.description or tr("(no description)"))


def _original(chat: PlainChat, number: str) -> None:
    product = _hit(chat, number).product
    chat.voice.tell(tr("{title_of}, as in the data set:", title_of=title_of(product)))
    chat.voice.say(product.original or tr("(no description)"))


def _hit(chat: PlainChat, number: str) -> Hit:
    answers = [turn.answer for turn in chat.conversation.turns if turn.answer]
    hits = next((answer.sources for answer in reversed(answers) if answer.sources), ())
    if not hits:
        raise UsageError(tr("No answer here rests on a record yet."))
    return hits[_place(number or "1", len(hits))]


def _place(number: str, count: int) -> int:
    if not number.isdecimal() or not 1 <= int(number) <= count:
        raise UsageError(tr("That is no number from 1 to {count}.", count=count))
    return int(number) - 1


def _compare(chat: PlainChat, question: str) -> None:
    asked = [turn.question for turn in chat.conversation.turns]
    if not question and not asked:
        raise UsageError(tr("There is no question yet."), tr("Write one behind /compare."))
    chat.until_stopped(_ask_all(chat, question or asked[-1]))


async def _ask_all(chat: PlainChat, question: str) -> None:
    from engine.chat.compare import compare

    registry = chat.counter.assistant.registry
    ready = [name for name in registry.ids if registry.get(name).availability().ready]
    for name in registry.ids:
        if name not in ready:
            chat.voice.tell(f"{chat.titles[name]}: {registry.get(name).availability().reason}")
    contestants = [(name, chat.mode) for name in ready]
    events = compare(chat.counter.assistant, question, contestants, chat.conversation)
    told_record = False
    async with aclosing(events):
        async for _, event in events:
            match event:
                case Found(decision) if decision.product and not told_record:
                    told_record = True
                    chat.voice.tell(
                        tr(
                            "The catalogue's record, {title_of}:",
                            title_of=title_of(decision.product),
                        )
                    )
                    chat.voice.say(decision.product.description or tr("(no description)"))
                case Answered(answer):
                    chat.say_answer(answer)
                case _:
                    pass


def _copy(chat: PlainChat, _: str) -> None:
    from tui.clipboard import copy, copy_to_file

    texts = [turn.answer.text for turn in chat.conversation.turns if turn.answer]
    if not texts or not texts[-1]:
        raise UsageError(tr("There is no answer to copy yet."))
    try:
        where = copy(texts[-1]) or str(copy_to_file(texts[-1]))
    except OSError as error:
        chat.voice.tell(tr("It cannot be copied: {error}.", error=why(error)))
    else:
        chat.voice.tell(tr("Copied: it is in {where}.", where=where))


def _history(chat: PlainChat, words: str) -> None:
    store = chat.counter.assistant.store
    chat.listed = (store.search(words) if words else store.latest()) if store else []
    if not chat.listed:
        chat.voice.tell(
            tr("There is none with these words.") if words else tr("There is none yet.")
        )
    for number, entry in enumerate(chat.listed, 1):
        when = datetime.fromtimestamp(entry.updated).astimezone().strftime("%Y-%m-%d %H:%M")
        questions = tr_n("{turns} question", "{turns} questions", entry.turns, turns=entry.turns)
        chat.voice.tell(f"{number}. {when} {entry.title} ({questions})")
    if chat.listed:
        chat.voice.tell(tr("/open and a number goes on with one."))


def _open(chat: PlainChat, number: str) -> None:
    store = chat.counter.assistant.store
    if not store or not chat.listed:
        raise UsageError(
            tr("Nothing is listed to open from."), tr("/history lists the conversations.")
        )
    chat.show(store.open(chat.listed[_place(number, len(chat.listed))].id))


def _new(chat: PlainChat, _: str) -> None:
    chat.conversation = Conversation()
    chat.voice.tell(tr("A new conversation; the one before is kept."))


def _export(chat: PlainChat, kind: str) -> None:
    from engine.chat.export import write_conversation

    store, number = chat.counter.assistant.store, chat.conversation.id
    if not store:
        raise UsageError(tr("Conversations are not kept here, so none can be exported."))
    if number is None:
        raise UsageError(tr("There is nothing to export yet."))
    if kind not in ("", *_KINDS):
        raise UsageError(tr("That is none of {kinds}.", kinds=", ".join(_KINDS)))
    folder = paths.exports_dir()
    file = write_conversation(store, number, chat.titles, folder, _KINDS.get(kind, "md"))
    chat.voice.tell(tr("Written to {file}", file=file))


def _regenerate(chat: PlainChat, name: str) -> None:
    from engine.chat.again import ask_again

    turns = chat.conversation.turns
    if not turns:
        raise UsageError(tr("There is no question yet."))
    if name:
        chat.counter.assistant.registry.get(name)
        chat.engine = name
    turn, before = turns[-1], len(turns[-1].answers)
    events = ask_again(chat.counter.assistant, turn, chat.engine, chat.mode, chat.conversation)
    chat.until_stopped(
        chat.tell_answer(events, lambda: turn if len(turn.answers) > before else None)
    )


def _runs(chat: PlainChat, _: str) -> None:
    from engine.training.runs.display import score_line, summary
    from engine.training.runs.view import list_runs

    views = list_runs()
    for view in views:
        words = ", ".join(filter(None, (summary(view), score_line(view))))
        chat.voice.tell(f"{view.name}: {words}")
    if not views:
        chat.voice.tell(tr("There is no training run yet."))


def _quit(chat: PlainChat, _: str) -> None:
    chat.left = True


COMMANDS = (
    Command("help", "", tr("these commands"), _help),
    Command(
        "engine", tr("[NAME]"), tr("the engines, or the one that answers from here on"), _engine
    ),
    Command("mode", "[grounded|memory]", tr("whether models see the record"), _mode),
    Command("record", "[N]", tr("the record that the last answer rests on"), _record),
    Command("original", "[N]", tr("the same as the data set has it"), _original),
    Command(
        "regenerate",
        tr("[NAME]"),
        tr("one more answer to the last question; all are kept"),
        _regenerate,
    ),
    Command(
        "compare", tr("[QUESTION]"), tr("one question to every engine that is ready"), _compare
    ),
    Command("copy", "", tr("the last answer to where it can be pasted from"), _copy),
    Command("history", tr("[WORDS]"), tr("the conversations so far, the latest first"), _history),
    Command("open", "N", tr("one of those that were listed, to go on with it"), _open),
    Command("new", "", tr("a new conversation"), _new),
    Command("export", "[markdown|json]", tr("this conversation into a file"), _export),
    Command("runs", "", tr("the training runs: how far they are"), _runs),
    Command("quit", "", tr("leave; the conversation is kept"), _quit),
)
