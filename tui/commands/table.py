"""The commands of the chat: keys, footer, palette, help and both front ends read this table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from msgspec import Struct
from msgspec.structs import replace

from engine.chat.session import Session
from engine.core.errors import BalcaoError
from engine.core.i18n import tr
from tui.commands import actions
from tui.commands.actions import Action, View


class Command(Struct, frozen=True):
    """One command. In the full-screen chat its keys, its palette entry or `/name` run it."""

    name: str
    """Its name in the settings and in docs/guide/keys.md."""
    title: str
    """For footer and palette; empty if the full-screen chat lacks the command."""
    does: str
    """For the help page."""
    run: Action
    keys: str = ""
    """Joined with commas; empty for commands that only the settings give a key."""
    in_footer: bool = False
    in_palette: bool = True
    priority: bool = False
    """Whether its keys work before the composer's."""
    called: str = ""
    """Its name after a slash, if that is shorter."""
    takes: str = ""
    """Its argument: "engine", "question" or "file"."""
    waits: bool = False
    """Whether it waits for the user or the disk, and so runs in the background."""
    plain: str | None = None
    """Its argument in the plain chat's help; None if the plain chat lacks the command."""
    plain_does: str = ""
    """For the plain chat's help, if `does` is wrong there."""


_TABLE = (
    Command(
        "help",
        tr("Help"),
        tr("this page"),
        partial(actions.open_page, page="help"),
        "f1",
        in_footer=True,
        plain="",
        plain_does=tr("these commands"),
    ),
    Command(
        "next_engine",
        tr("Engine"),
        tr("the next engine answers; draft and conversation stay"),
        actions.engine,
        "f2",
        in_footer=True,
    ),
    Command(
        "engine",
        tr("Engine by name"),
        tr("that engine answers from here on; without a name, the next one"),
        actions.engine,
        in_palette=False,
        takes="engine",
        plain=tr("[NAME]"),
        plain_does=tr("the engines, or the one that answers from here on"),
    ),
    Command(
        "engines",
        tr("Engines"),
        tr("the engines: state, model, memory; choose, load, unload, set parameters"),
        partial(actions.open_page, page="engines"),
        "f9",
        waits=True,
    ),
    Command(
        "runs",
        tr("Runs"),
        tr("the training runs: how far they are, and their loss"),
        partial(actions.open_page, page="runs"),
        "f10",
        waits=True,
        plain="",
    ),
    Command(
        "compare",
        tr("Compare"),
        tr("put the draft, or the last question, to every engine that is ready"),
        actions.compare,
        "f3",
        in_footer=True,
        takes="question",
        waits=True,
        plain=tr("[QUESTION]"),
        plain_does=tr("one question to every engine that is ready"),
    ),
    Command(
        "record",
        tr("Record"),
        tr("open the record that the last answer rests on, or the selected turn's"),
        actions.record,
        "f4",
        in_footer=True,
        plain="[N]",
        plain_does=tr("the record that the last answer rests on"),
    ),
    Command(
        "original",
        "",
        tr("the same as the data set has it"),
        partial(actions.record, original=True),
        plain="[N]",
    ),
    Command(
        "mode",
        tr("Mode"),
        tr("grounded (models see the record) or from memory (they see the question alone)"),
        actions.mode,
        "f5",
        in_footer=True,
        plain="[grounded|memory]",
    ),
    Command(
        "marks",
        tr("Marks"),
        tr("mark which words of the answers are the record's, and which are not"),
        actions.marks,
        "f6",
        priority=True,  # the text area would select the line
    ),
    Command(
        "thinking",
        tr("Thinking"),
        tr("open or close what the model thought, or said about what it was not taught"),
        actions.thinking,
        "ctrl+l",
        plain="",
        plain_does=tr("what the model thought before the last answer"),
    ),
    Command(
        "copy",
        tr("Copy"),
        tr("copy the last answer, or the selected turn's (with the mouse: select, then Ctrl+C)"),
        actions.copy,
        "f8",
        plain="",
        plain_does=tr("the last answer to where it can be pasted from"),
    ),
    Command(
        "copy_record",
        tr("Copy the record"),
        tr("copy the description that the answer rests on"),
        actions.copy_record,
        plain="",
    ),
    Command(
        "regenerate",
        tr("Answer again"),
        tr("one more answer to the question, by the engine chosen; all are kept"),
        actions.regenerate,
        "ctrl+r",
        takes="engine",
        plain=tr("[NAME]"),
    ),
    Command(
        "next_answer",
        tr("Next answer"),
        tr("another answer to the question: the conversation goes on from it"),
        partial(actions.switch_answer, step=1),
        "ctrl+s",
        plain="",
    ),
    Command(
        "previous_answer",
        tr("Previous answer"),
        tr("the same the other way round"),
        partial(actions.switch_answer, step=-1),
        plain="",
    ),
    Command(
        "edit",
        tr("Edit the question"),
        tr("edit the question and go on from there; what came after is kept"),
        actions.edit,
        "ctrl+g",
    ),
    Command(
        "fork",
        tr("Fork here"),
        tr("go on in a copy of the conversation that ends with this turn"),
        actions.fork,
    ),
    # A Linux console cannot send Ctrl with an arrow.
    Command(
        "previous_turn",
        tr("Turn above"),
        tr("select the turn above: commands act on it; Escape lets it go"),
        partial(actions.select_turn, step=-1),
        "ctrl+up,ctrl+t",
    ),
    Command(
        "next_turn",
        tr("Turn below"),
        tr("select the turn below"),
        partial(actions.select_turn, step=1),
        "ctrl+down",
    ),
    # Not in the footer, which is full at 80 columns.
    Command(
        "new_conversation",
        tr("New"),
        tr("begin a new conversation"),
        actions.new_conversation,
        keys="ctrl+n",
        called="new",
        plain="",
    ),
    Command(
        "conversations",
        tr("History"),
        tr("the conversations so far, to go on with one"),
        partial(actions.open_page, page="history"),
        "ctrl+o",
        in_footer=True,
        called="history",
        waits=True,
        plain=tr("[WORDS]"),
    ),
    Command(
        "open",
        "",
        tr("one of those that were listed, to go on with it"),
        actions.open_listed,
        plain="N",
    ),
    Command(
        "export",
        tr("Export"),
        tr("this conversation as Markdown, to read, into a file"),
        actions.export,
        waits=True,
        plain="[markdown|json]",
        plain_does=tr("this conversation into a file"),
    ),
    Command(
        "export_json",
        tr("Export as JSON"),
        tr("this conversation with everything known of it, to import again"),
        actions.export_json,
        waits=True,
    ),
    Command(
        "import",
        tr("Import"),
        tr("conversations that were exported as JSON"),
        actions.import_file,
        takes="file",
        waits=True,
    ),
    Command(
        "cancel", tr("Cancel"), tr("stop the answer; what came stays"), actions.cancel, "escape"
    ),
    Command(
        "scroll_up",
        tr("Scroll up"),
        tr("a page up"),
        partial(actions.scroll, direction="up"),
        "pageup",
        in_palette=False,
        priority=True,
    ),
    Command(
        "scroll_down",
        tr("Scroll down"),
        tr("a page down"),
        partial(actions.scroll, direction="down"),
        "pagedown",
        in_palette=False,
        priority=True,
    ),
    # The app binds its key, for all screens, and the palette has Textual's own entry.
    Command(
        "quit",
        tr("Quit"),
        tr("leave; the conversation is kept"),
        actions.leave,
        in_palette=False,
        plain="",
    ),
)
COMMANDS = tuple(command for command in _TABLE if command.title)
COMMANDS_BY_NAME = {command.name: command for command in COMMANDS}
PLAIN_COMMANDS = tuple(
    replace(command, takes=command.plain, does=command.plain_does or command.does)
    for command in _TABLE
    if command.plain is not None
)


@contextmanager
def reporting(report: Callable[[str], object]) -> Iterator[None]:
    """Report an error's message and remedy."""
    try:
        yield
    except BalcaoError as error:
        report(str(error))


async def run_command(command: Command, session: Session, view: View, argument: str = "") -> None:
    """Run a command; report the error if it fails."""
    with reporting(partial(view.report, error=True)):
        await command.run(session, view, argument)
