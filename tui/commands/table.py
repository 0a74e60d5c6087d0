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
    aliases: tuple[str, ...] = ()
    """Names that other programs have for it, after a slash."""
    takes: str = ""
    """Its argument: "engine", "mode", "question", "words", "theme" or "file"."""
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
        tr("show help"),
        partial(actions.open_page, page="help"),
        "f1",
        in_footer=True,
        plain="",
        plain_does=tr("these commands"),
    ),
    Command(
        "next_engine",
        tr("Engine"),
        tr("switch to the next engine"),
        actions.engine,
        "f2",
        in_footer=True,
    ),
    Command(
        "engine",
        tr("Engine by name"),
        tr("switch to this engine; without a name, the next"),
        actions.engine,
        in_palette=False,
        aliases=("model",),
        takes="engine",
        plain=tr("[NAME]"),
        plain_does=tr("list the engines, or switch to one"),
    ),
    Command(
        "engines",
        tr("Engines"),
        tr("show the engines: load, unload, set parameters"),
        partial(actions.open_page, page="engines"),
        "f9",
        waits=True,
    ),
    Command(
        "tour",
        tr("Tour"),
        tr("take a tour of four keys"),
        actions.tour,
        waits=True,
    ),
    Command(
        "browse",
        tr("Browse"),
        tr("browse the catalogue, or what matches some words"),
        partial(actions.open_page, page="browse"),
        "ctrl+y",
        priority=True,  # the text area would redo
        called="list",
        takes="words",
        waits=True,
        plain=tr("[WORDS]"),
    ),
    Command(
        "runs",
        tr("Runs"),
        tr("show the training runs"),
        partial(actions.open_page, page="runs"),
        "f10",
        waits=True,
        plain="",
    ),
    Command(
        "compare",
        tr("Compare"),
        tr("compare all engines on this or the last question"),
        actions.compare,
        "f3",
        in_footer=True,
        takes="question",
        waits=True,
        plain=tr("[QUESTION]"),
        plain_does=tr("compare all engines on a question"),
    ),
    Command(
        "record",
        tr("Record"),
        tr("open the record behind the answer"),
        actions.record,
        "f4",
        in_footer=True,
        plain="[N]",
        plain_does=tr("show the record behind the answer"),
    ),
    Command(
        "original",
        "",
        tr("show it as in the data set"),
        partial(actions.record, original=True),
        plain="[N]",
    ),
    Command(
        "mode",
        tr("Mode"),
        tr("quote the record, grounded (models see it) or from memory"),
        actions.mode,
        "f5",
        in_footer=True,
        takes="mode",
        plain="[quote|grounded|memory]",
    ),
    Command(
        "marks",
        tr("Marks"),
        tr("underline words that are not in the record"),
        actions.marks,
        "f6",
        priority=True,  # the text area would select the line
    ),
    Command(
        "thinking",
        tr("Thinking"),
        tr("show or hide the model's thinking, or what it was not taught"),
        actions.thinking,
        "ctrl+l",
        plain="",
        plain_does=tr("show what the model thought"),
    ),
    Command(
        "copy",
        tr("Copy"),
        tr("copy the answer"),
        actions.copy,
        "f8",
        plain="",
        plain_does=tr("copy the answer"),
    ),
    Command(
        "copy_record",
        tr("Copy the record"),
        tr("copy the description"),
        actions.copy_record,
        plain="",
    ),
    Command(
        "regenerate",
        tr("Answer again"),
        tr("answer again with the active engine"),
        actions.regenerate,
        "ctrl+r",
        takes="engine",
        plain=tr("[NAME]"),
    ),
    Command(
        "next_answer",
        tr("Next answer"),
        tr("show the next answer to the question"),
        partial(actions.switch_answer, step=1),
        "right",
        plain="",
    ),
    Command(
        "previous_answer",
        tr("Previous answer"),
        tr("show the previous answer"),
        partial(actions.switch_answer, step=-1),
        "left",
        plain="",
    ),
    Command(
        "edit",
        tr("Edit the question"),
        tr("edit the question in a new conversation"),
        actions.edit,
        "ctrl+g",
    ),
    Command(
        "fork",
        tr("Fork here"),
        tr("continue in a copy that ends here"),
        actions.fork,
    ),
    # A Linux console cannot send Ctrl with an arrow.
    Command(
        "previous_turn",
        tr("Question above"),
        tr("select the question above"),
        partial(actions.select_turn, step=-1),
        "ctrl+up,ctrl+t",
    ),
    Command(
        "next_turn",
        tr("Question below"),
        tr("select the question below"),
        partial(actions.select_turn, step=1),
        "ctrl+down",
    ),
    Command(
        "find",
        tr("Find"),
        tr("find in the conversation"),
        actions.find,
        "ctrl+f",
        priority=True,  # the text area would delete a word
        takes="words",
    ),
    # Not in the footer, which is full at 80 columns.
    Command(
        "new_conversation",
        tr("New"),
        tr("begin a new conversation"),
        actions.new_conversation,
        keys="ctrl+n",
        called="new",
        aliases=("clear",),
        plain="",
    ),
    Command(
        "conversations",
        tr("History"),
        tr("open an earlier conversation"),
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
        tr("open a listed conversation"),
        actions.open_listed,
        plain="N",
    ),
    Command(
        "export",
        tr("Export"),
        tr("export the conversation as Markdown"),
        actions.export,
        "f12,ctrl+s",
        waits=True,
        plain="[markdown|json]",
        plain_does=tr("export the conversation"),
    ),
    Command(
        "export_json",
        tr("Export as JSON"),
        tr("export the conversation as JSON (can be re-imported)"),
        actions.export_json,
        waits=True,
    ),
    Command(
        "import",
        tr("Import"),
        tr("import conversations from JSON"),
        actions.import_file,
        takes="file",
        waits=True,
    ),
    Command(
        "cancel",
        tr("Cancel"),
        tr("stop the answer (keeps the text so far), or go to the end"),
        actions.cancel,
        "escape",
        in_palette=False,
    ),
    Command(
        "interrupt",
        tr("Interrupt"),
        tr("stop the answer, or clear the question; press it twice to quit"),
        actions.interrupt,
        "ctrl+c",
        in_palette=False,
    ),
    Command(
        "details",
        tr("Details"),
        tr("how long the answer took, and how fast the model wrote"),
        actions.details,
        plain="",
    ),
    Command(
        "theme",
        tr("Theme"),
        tr("choose the colours"),
        actions.theme,
        in_palette=False,  # Textual's own entry is there
        takes="theme",
    ),
    Command(
        "scroll_up",
        tr("Scroll up"),
        tr("scroll a page up"),
        partial(actions.scroll, direction="page_up"),
        "pageup",
        in_palette=False,
        priority=True,
    ),
    Command(
        "scroll_down",
        tr("Scroll down"),
        tr("scroll a page down"),
        partial(actions.scroll, direction="page_down"),
        "pagedown",
        in_palette=False,
        priority=True,
    ),
    Command(
        "scroll_home",
        tr("Go to the start"),
        tr("go to the start of the conversation"),
        partial(actions.scroll, direction="home"),
        "ctrl+home",
        priority=True,
        called="start",
    ),
    Command(
        "scroll_end",
        tr("Go to the end"),
        tr("go to the end of the conversation"),
        partial(actions.scroll, direction="end"),
        "ctrl+end",
        priority=True,
        called="end",
    ),
    # The app binds its key, for all screens, and the palette has Textual's own entry.
    Command(
        "quit",
        tr("Quit"),
        tr("quit (the conversation is saved)"),
        actions.leave,
        in_palette=False,
        aliases=("exit",),
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
