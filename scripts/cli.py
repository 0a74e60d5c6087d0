"""The `balcao` command: run a command by its name, or open the chat without one."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from engine.core.i18n import tr
from engine.core.text import did_you_mean, one_line
from scripts.common import DONE, USAGE, guarded, parse, say, say_folded

if TYPE_CHECKING:
    import argparse
    import io

    from engine.config.settings import Settings

COMMANDS = {
    "ask": ("scripts.ask", "answer a question, or one a line from stdin"),
    "completion": ("scripts.completion", "print the completion script of a shell"),
    "doctor": ("scripts.doctor", "check the installation and show how to fix it"),
    "engines": ("scripts.engines", "list the engines and what they need"),
    "evaluate": ("scripts.evaluate", "measure how faithful engines are"),
    "finetune": ("scripts.finetune", "fine-tune a model at OpenAI"),
    "history": ("scripts.history", "list, search, export, import and delete conversations"),
    "index": ("scripts.index", "build a catalogue from trn.json"),
    "job": ("scripts.job", "do all steps from a file of products to a trained model"),
    "keys": ("scripts.keys", "store the API keys of engines"),
    "merge": ("scripts.merge", "merge an adapter into its base model"),
    "models": ("scripts.models", "list, download and remove models"),
    "prepare": ("scripts.prepare", "make training rows from trn.json"),
    "runs": ("scripts.runs", "list, follow and stop training runs"),
    "serve": ("scripts.serve", "show the chat in a browser"),
    "train": ("scripts.train", "fine-tune a Llama on this machine with LoRA"),
}
"""The module of each command, with its `main(argv)`, and what it does."""

_SHOWN = 40
"""Characters of a wrong name that the error repeats."""


def make_parser() -> argparse.ArgumentParser:
    import argparse

    commands = "\n".join(f"  {name:10} {what}" for name, (_, what) in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="balcao",
        usage='balcao [options]\n       balcao COMMAND [options]\n       balcao "A QUESTION"',
        description="Ask questions about a product catalogue. Without a command, open the chat.",
        epilog=f"commands:\n{commands}\n\nSee balcao COMMAND --help for the options of a command.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--engine", metavar="ID", help="engine to start with")
    parser.add_argument("--catalogue", metavar="DIR", help="folder written by `balcao index`")
    parser.add_argument("--memory", action="store_true", help="ask models without the record")
    parser.add_argument("--continue", action="store_true", help="open the last conversation")
    parser.add_argument("--plain", action="store_true", help="chat line by line, no full screen")
    parser.add_argument("--version", action="store_true", help="show the version and exit")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    given = list(sys.argv[1:] if argv is None else argv)
    if given and given[0] in COMMANDS:
        module = import_module(COMMANDS[given[0]][0])
        return cast("int", module.main(given[1:]))
    if given and not given[0].startswith("-"):
        if " " in given[0].strip():
            return main(["ask", *given])
        values = {"name": one_line(given[0], _SHOWN), "commands": ", ".join(COMMANDS)}
        error = tr("unknown command “{name}”. The commands are {commands}.", **values)
        say_folded(f"balcao: {error}{did_you_mean(values['name'], COMMANDS)}")
        return USAGE
    return guarded(lambda: _start(given))


def _start(given: list[str]) -> int:
    # Most starts have no arguments, and argparse would be a tenth of what we load for them.
    arguments = vars(parse(make_parser(), given)) if given else {}
    if arguments.pop("version", False):
        from importlib.metadata import version

        print(f"balcao {version('balcao')}")
        return DONE
    if arguments.pop("memory", False):
        arguments["mode"] = "memory"
    if not arguments.pop("plain", False):
        return _chat(arguments)
    return _plain(arguments, go_on=arguments.pop("continue"))


def _chat(flags: dict[str, Any]) -> int:
    go_on = flags.pop("continue", False)
    if "TEXTUAL_DRIVER" in os.environ:
        # A tab of `balcao serve`: the terminal is in the browser.
        return _full_screen(_settings(flags), "", go_on=go_on)
    if _is_piped():
        return main(["ask", *_as_options(flags), "-"])
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        error = tr("the chat needs a terminal. Use balcao ask or balcao --plain in a pipe.")
        say(f"balcao: {error}")
        return USAGE
    from tui.terminal import is_dumb

    if is_dumb():
        say(tr("This terminal (TERM) can only write lines, so the chat goes line by line."))
        return _plain(flags, go_on=go_on)
    from tui.textual_patches.typeahead import capture_typing

    with capture_typing(sys.stdin.fileno()) as typed:
        # Loading the first frame leaves no garbage, and the collector takes a tenth of the time.
        # The app turns it on again.
        gc.disable()
        settings = _settings(flags)
        if not settings.plain:
            return _full_screen(settings, typed, go_on=go_on)
    gc.enable()
    return _plain(flags, typed, go_on=go_on)


def _is_piped() -> bool:
    """Whether there is text to read instead of a terminal."""
    if sys.stdin.isatty():
        return False
    with suppress(AttributeError, OSError, ValueError):
        return bool(cast("io.BufferedReader", sys.stdin.buffer).peek(1))
    return False


def _as_options(flags: dict[str, Any]) -> list[str]:
    """Write the chat's flags as options of `balcao ask`."""
    options = ["--memory"] if flags.get("mode") else []
    for name in ("engine", "catalogue"):
        options += [f"--{name}", flags[name]] if flags.get(name) else []
    return options


def _full_screen(settings: Settings, typed: str, *, go_on: bool) -> int:
    import asyncio

    from engine.chat.session import Session

    async def start() -> int:
        session = Session(settings)
        await session.begin_loading()
        # Textual takes a second, in which a local model loads in its own process.
        from tui.app import run

        return await run(session, typed, go_on=go_on)

    return asyncio.run(start())


def _plain(flags: dict[str, Any], typed: str = "", *, go_on: bool) -> int:
    settings = _settings(flags)
    from tui.plain.chat import run

    return run(settings, typed, go_on=go_on)


def _settings(flags: dict[str, Any]) -> Settings:
    """Load the settings and set the language, before any module with sentences is imported."""
    from engine.config.settings import load
    from engine.core import i18n

    settings = load(flags=flags)
    i18n.choose(settings.language)
    return settings


if __name__ == "__main__":
    sys.exit(main())
