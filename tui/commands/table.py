"""The commands of the chat: keys, footer, palette, help and settings all read this one table."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

from msgspec import Struct

from engine.core.i18n import tr

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tui.screens.chat import ChatScreen

    Run = Callable[..., Awaitable[None] | None]


class Command(Struct, frozen=True):
    """One thing that the chat does when told to.

    `name` is its name in the settings and in docs/guide/keys.md, `title` is for footer and palette,
    `does` for the help page. `run` names a function below tui.commands as "module:function",
    imported when it is first needed; it gets the chat's screen and may be a coroutine, which is
    awaited before the next key is taken. What waits for a person therefore starts a worker.
    `keys` are joined with commas; without any the command is in the palette alone until
    settings give it one. Behind a slash in the composer each is called by its name
    (tui.commands.slash), with an argument where it `takes` one: the function gets it after the
    screen, empty where none was given.
    """

    name: str
    title: str
    does: str
    run: str
    keys: str = ""
    in_footer: bool = False
    in_palette: bool = True
    priority: bool = False
    """Whether its keys go before those of the composer, which has the focus."""
    called: str = ""
    """What it is called behind a slash, where that is shorter than its name."""
    takes: str = ""
    """What the argument is, for a person to read: "engine", "question"."""


COMMANDS = (
    Command("help", tr("Help"), tr("this page"), "answers:help_page", "f1", in_footer=True),
    Command(
        "next_engine",
        tr("Engine"),
        tr("the next engine answers; draft and conversation stay"),
        "answers:next_engine",
        "f2",
        in_footer=True,
    ),
    Command(
        "engine",
        tr("Engine by name"),
        tr("that engine answers from here on; without a name, the next one"),
        "answers:engine",
        in_palette=False,
        takes="engine",
    ),
    Command(
        "engines",
        tr("Engines"),
        tr("the engines: state, model, memory; choose, load, unload, set parameters"),
        "answers:pick",
        "f9",
    ),
    Command(
        "runs",
        tr("Runs"),
        tr("the training runs: how far they are, and their loss"),
        "answers:see",
        "f10",
    ),
    Command(
        "compare",
        tr("Compare"),
        tr("put the draft, or the last question, to every engine that is ready"),
        "answers:compare",
        "f3",
        in_footer=True,
        takes="question",
    ),
    Command(
        "record",
        tr("Record"),
        tr("open the record that the last answer rests on, or the selected turn's"),
        "turns:record",
        "f4",
        in_footer=True,
    ),
    Command(
        "mode",
        tr("Mode"),
        tr("grounded (models see the record) or from memory (they see the question alone)"),
        "answers:mode",
        "f5",
        in_footer=True,
    ),
    Command(
        "marks",
        tr("Marks"),
        tr("mark which words of the answers are the record's, and which are not"),
        "answers:marks",
        "f6",
        priority=True,  # the text area would select the line
    ),
    Command(
        "copy",
        tr("Copy"),
        tr("copy the last answer, or the selected turn's (with the mouse: select, then Ctrl+C)"),
        "turns:copy",
        "f8",
    ),
    Command(
        "copy_record",
        tr("Copy the record"),
        tr("copy the description that the answer rests on"),
        "turns:copy_record",
    ),
    Command(
        "regenerate",
        tr("Answer again"),
        tr("one more answer to the question, by the engine chosen; all are kept"),
        "turns:regenerate",
        "ctrl+r",
        takes="engine",
    ),
    Command(
        "next_answer",
        tr("Next answer"),
        tr("another answer to the question: the conversation goes on from it"),
        "turns:next_answer",
        "ctrl+s",
    ),
    Command(
        "previous_answer",
        tr("Previous answer"),
        tr("the same the other way round"),
        "turns:previous_answer",
    ),
    Command(
        "edit",
        tr("Edit the question"),
        tr("edit the question and go on from there; what came after is kept"),
        "turns:edit",
        "ctrl+g",
    ),
    Command(
        "fork",
        tr("Fork here"),
        tr("go on in a copy of the conversation that ends with this turn"),
        "turns:fork",
    ),
    # Ctrl with an arrow is beyond a bare console; Ctrl+T goes round.
    Command(
        "previous_turn",
        tr("Turn above"),
        tr("select the turn above: commands act on it; Escape lets it go"),
        "turns:select_previous",
        "ctrl+up,ctrl+t",
    ),
    Command(
        "next_turn", tr("Turn below"), tr("select the turn below"), "turns:select_next", "ctrl+down"
    ),
    # Not in the footer, which is full at 80 columns.
    Command(
        "new_conversation",
        tr("New"),
        tr("begin a new conversation"),
        "conversations:new",
        keys="ctrl+n",
        called="new",
    ),
    Command(
        "conversations",
        tr("History"),
        tr("the conversations so far, to go on with one"),
        "conversations:choose",
        "ctrl+o",
        in_footer=True,
        called="history",
    ),
    Command(
        "export",
        tr("Export"),
        tr("this conversation as Markdown, to read, into a file"),
        "conversations:export_markdown",
    ),
    Command(
        "export_json",
        tr("Export as JSON"),
        tr("this conversation with everything known of it, to import again"),
        "conversations:export_json",
    ),
    Command(
        "import",
        tr("Import"),
        tr("conversations that were exported as JSON"),
        "conversations:import_file",
        takes="file",
    ),
    Command(
        "cancel", tr("Cancel"), tr("stop the answer; what came stays"), "answers:cancel", "escape"
    ),
    Command(
        "scroll_up",
        tr("Scroll up"),
        tr("a page up"),
        "answers:scroll_up",
        "pageup",
        in_palette=False,
        priority=True,
    ),
    Command(
        "scroll_down",
        tr("Scroll down"),
        tr("a page down"),
        "answers:scroll_down",
        "pagedown",
        in_palette=False,
        priority=True,
    ),
    # Its key is the app's, so that it works on every screen; the palette has Textual's own.
    Command(
        "quit", tr("Quit"), tr("leave; the conversation is kept"), "answers:leave", in_palette=False
    ),
)
_BY_NAME = {command.name: command for command in COMMANDS}


async def carry_out(name: str, screen: ChatScreen, argument: str = "") -> None:
    """Run the command of that name on the chat's screen; one that takes no argument gets none."""
    command = _BY_NAME[name]
    module, function = command.run.split(":")
    run = cast("Run", getattr(import_module(f"tui.commands.{module}"), function))
    waited_for = run(screen, argument) if command.takes else run(screen)
    if waited_for is not None:
        await waited_for
